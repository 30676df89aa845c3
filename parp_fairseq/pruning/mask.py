"""Mask: which entries of which tensors are kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from parp_fairseq.kernels import bits
from parp_fairseq.kernels.cut import zero_unset
from parp_fairseq.pruning.arguments import PruningError
from parp_fairseq.pruning.scope import canonical_name


class Mask(Mapping[str, Tensor]):
    """A pruning mask: name → bool tensor, True where the entry is kept.

    Held at one bit an entry; `mask[name]` unpacks a tensor. Iterates in the order of names (sorted
    as strings).
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Pack bool tensors, each on its own device.

        Raises:
            TypeError: a tensor is not bool.
        """
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
        """Make a mask of packed bits.

        Args:
            packed: name → bits, as the property of that name gives them.
            shapes: name → shape.
            kept: name → number of entries kept, where they were counted already.

        Raises:
            ValueError: names differ or a tensor holds too few or too many bytes.
        """
        if set(packed) != set(shapes):
            raise ValueError("names of packed masks and of shapes differ")
        mask = cls({})
        for name in sorted(shapes):
            shape, data = tuple(shapes[name]), packed[name]
            count = math.prod(shape)
            if data.dtype != torch.uint8 or data.shape != ((count + 7) // 8,):
                raise ValueError(f"{name}: {data.numel()} bytes do not hold a mask of {shape}")
            if count % 8 and int(data[-1]) & (0xFF >> count % 8):
                raise ValueError(f"{name}: bits are set behind the last entry")
            mask._bits[name], mask._shapes[name] = data, shape
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

    def renamed(self, names: Mapping[str, tuple[int, ...]], source: str) -> Mask:
        """Return this mask under the names of a model's parameters.

        Names with and without the prefixes of a fine-tuned model meet.

        Args:
            names: the model's prunable parameters, name → shape.
            source: what to call this mask in an error: its file.

        Raises:
            PruningError: a name is missing or left over, or a shape differs.
        """
        own = {canonical_name(name): name for name in self}
        wanted = {canonical_name(name): name for name in names}
        missing = sorted(set(wanted) - set(own))
        surplus = sorted(set(own) - set(wanted))
        if missing or surplus:
            what = f"has no mask for {missing[0]}" if missing else f"also masks {surplus[0]}"
            raise PruningError(
                f"{source}: this mask {what}, so it does not fit the model's prunable weights; "
                "use a mask of the same model and scope (include, exclude, biases)"
            )
        for short, name in wanted.items():
            shape = self._shapes[own[short]]
            if shape != tuple(names[name]):
                raise PruningError(
                    f"{source}: the mask of {short} has shape {shape} and the "
                    f"model's tensor {tuple(names[name])}; use a mask of the same model"
                )
        return Mask.from_bits(
            {name: self._bits[own[short]] for short, name in wanted.items()},
            {name: self._shapes[own[short]] for short, name in wanted.items()},
        )


def iou(a: Mask, b: Mask) -> float:
    """Return |a and b| / |a or b| over kept entries (paper, equation 1); 1.0 if both keep none.

    Raises:
        ValueError: the masks cover different tensors.
    """
    if a.shapes != b.shapes:
        raise ValueError("the masks cover different tensors")
    both = kept_by_both(a, b)
    either = a.kept + b.kept - both
    return both / either if either else 1.0


def kept_by_both(a: Mask, b: Mask) -> int:
    """Count the entries that two masks over the same tensors keep."""
    packed = b.packed
    return sum(
        bits.count_both(data, packed[name].to(data.device)) for name, data in a.packed.items()
    )
