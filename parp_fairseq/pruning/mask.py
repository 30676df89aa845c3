"""Mask: which entries of which tensors are kept; how masks compare; random masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from parp_fairseq.kernels import bits
from parp_fairseq.kernels.cut import zero_unset
from parp_fairseq.pruning.arguments import PruningError, check_seed, check_sparsity
from parp_fairseq.pruning.scope import canonical_name


class Mask(Mapping[str, Tensor]):
    """A pruning mask: name → bool tensor, True where the entry is kept.

    Takes one bit an entry; `mask[name]` unpacks a tensor. Iterates in the order of names (sorted
    as strings).
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Pack bool tensors, each on its own device. Raises TypeError: a tensor is not bool."""
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise TypeError(f"mask of {name} is {tensor.dtype}, not bool")
        self._bits = {name: bits.pack(tensors[name]) for name in sorted(tensors)}
        self._shapes = {name: tuple(tensors[name].shape) for name in self._bits}
        self._kept: dict[str, int] = {}

    @classmethod
    def from_bits(
        cls,
        packed: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        kept: Mapping[str, int] | None = None,
    ) -> Mask:
        """Make a mask of bits by name, as `packed` gives them; of shapes, and counts kept if known.

        ValueError where names differ or a tensor holds too few or too many bytes.
        """
        if set(packed) != set(shapes):
            raise ValueError("names of packed masks and of shapes differ")
        mask = cls({})
        for name in sorted(shapes):
            mask._shapes[name] = tuple(shapes[name])
            try:
                bits.check(packed[name], math.prod(mask._shapes[name]))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            mask._bits[name] = packed[name]
        mask._kept.update(kept or {})
        return mask

    def __getitem__(self, name: str) -> Tensor:
        return bits.unpack(self._bits[name], self._shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)

    def __repr__(self) -> str:
        return f"Mask({len(self)} tensors, {self.numel:,} entries, sparsity {self.sparsity:.4f})"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape."""
        return dict(self._shapes)

    @property
    def packed(self) -> dict[str, Tensor]:
        """Name → uint8 tensor: eight entries a byte, first entry highest, rest of the last 0."""
        return dict(self._bits)

    @property
    def numel(self) -> int:
        """Number of entries."""
        return sum(math.prod(shape) for shape in self._shapes.values())

    @property
    def kept(self) -> int:
        """Number of entries kept."""
        return sum(self.kept_in(name) for name in self)

    def kept_in(self, name: str) -> int:
        """Number of entries kept of one tensor."""
        if name not in self._kept:
            self._kept[name] = bits.count(self._bits[name])
        return self._kept[name]

    @property
    def sparsity(self) -> float:
        """Share of entries pruned, in [0, 1]; 0.0 for a mask without entries."""
        return 1.0 - self.kept / self.numel if self.numel else 0.0

    def equal(self, other: Mask) -> bool:
        """Whether both hold the same names, shapes and entries."""
        return self._shapes == other._shapes and all(
            torch.equal(data.cpu(), other._bits[name].cpu()) for name, data in self._bits.items()
        )

    def to(self, like: Mapping[str, Tensor]) -> Mask:
        """Return this mask with each tensor on the device of its namesake in `like`."""
        moved = {name: data.to(like[name].device) for name, data in self._bits.items()}
        return Mask.from_bits(moved, self._shapes)

    def zero_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set to zero, in place, what this mask prunes of `tensors`."""
        zero_unset([tensors[name] for name in self], list(self._bits.values()))

    def under(self, names: Mapping[str, str]) -> Mask:
        """Return this mask under other names, old → new.

        Raises ValueError: two names become one.
        """
        if len({names[name] for name in self}) != len(self):
            raise ValueError("a tensor is masked twice")
        return Mask.from_bits(
            {names[name]: data for name, data in self._bits.items()},
            {names[name]: shape for name, shape in self._shapes.items()},
            {names[name]: kept for name, kept in self._kept.items()},
        )

    def canonical(self) -> Mask:
        """Return this mask under canonical names; ValueError where two become one."""
        return self.under({name: canonical_name(name) for name in self})

    def renamed(self, shapes: Mapping[str, tuple[int, ...]], source: str) -> Mask:
        """Return this mask under the names of a model's prunable parameters, name → shape.

        Names with and without the prefixes of a fine-tuned model meet. PruningError, naming the
        mask's file, `source`, where a name is missing or left over, or a shape differs.
        """
        names = {canonical_name(name): name for name in shapes}
        own = self.canonical()
        wanted = {short: tuple(shapes[name]) for short, name in names.items()}
        problem = difference(wanted, own.shapes)
        if problem:
            raise PruningError(
                f"{source}: this mask {problem}, so it does not fit the model's prunable weights; "
                "use a mask of the same model and scope (include, exclude, biases)"
            )
        return own.under(names)


def difference(
    ours: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Say how the tensors of a mask differ from ours, name → shape; None where they agree."""
    missing, surplus = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    if missing:
        return f"has no mask for {missing[0]}"
    if surplus:
        return f"also masks {surplus[0]}"
    for name, shape in ours.items():
        if theirs[name] != shape:
            return f"masks {name} as {theirs[name]} and not as {shape}"
    return None


def kept_by_both(a: Mask, b: Mask, names: Iterable[str] | None = None) -> int:
    """Count the entries that two masks keep, of these tensors (default: all).

    ValueError where the masks cover different tensors; the message says which.
    """
    problem = difference(a.shapes, b.shapes)
    if problem:
        raise ValueError(f"the masks cover different tensors: the second {problem}")
    one, other = a.packed, b.packed
    return sum(
        bits.count_both(one[name], other[name].to(one[name].device))
        for name in (a if names is None else names)
    )


def iou(a: Mask, b: Mask, names: Iterable[str] | None = None) -> float:
    """Return |a and b| / |a or b| over kept entries (paper, equation 1); 1.0 if both keep none.

    Arguments and errors as for `kept_by_both`.
    """
    names = list(a if names is None else names)
    both = kept_by_both(a, b, names)
    either = sum(a.kept_in(name) + b.kept_in(name) for name in names) - both
    return both / either if either else 1.0


def random_mask(tensors: Mapping[str, Tensor], sparsity: float, seed: int) -> Mask:
    """Return a mask that prunes entries drawn at random (RP, paper section 2.3).

    Exactly `round(sparsity * d)` of the d entries are pruned. The draw comes from a generator of
    its own on the CPU, so it is the same on every device and changes no other random numbers. Of
    the tensors only names, shapes and devices count. Raises PruningError: sparsity not in [0, 1],
    or seed not from -2^63 to 2^64 - 1.
    """
    check_sparsity(sparsity)
    check_seed(seed)
    names = sorted(tensors)
    sizes = [tensors[name].numel() for name in names]
    total = sum(sizes)
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.int32 if total < 2**31 else torch.int64
    order = torch.randperm(total, generator=generator, dtype=dtype)
    keep = torch.ones(total, dtype=torch.bool)
    keep[order[: round(sparsity * total)].long()] = False
    return Mask(
        {
            name: part.view(tensors[name].shape).clone().to(tensors[name].device)
            for name, part in zip(names, keep.split(sizes))
        }
    )
