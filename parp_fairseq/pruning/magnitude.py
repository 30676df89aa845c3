"""Exact selection of the smallest magnitudes (UMP, paper section 2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.pruning import bits
from parp_fairseq.pruning.blocks import BLOCK, Block, each_block
from parp_fairseq.pruning.checks import check_granularity, check_sparsity
from parp_fairseq.pruning.errors import PruningError
from parp_fairseq.pruning.mask import Mask

# Below this many entries all are sorted out at once; above, a sample narrows them down first.
_FEW = 1 << 16
# One entry in so many is sampled. A prime: matrices have structure along their rows.
_STRIDE = 521
# How far a threshold moves from one pruning to the next, at most, for a hint to be of use.
_NEAR = 1e-3
# No more than this share of the entries is ever copied.
_COPIED = 0.05


class Cut(NamedTuple):
    """What is pruned of one tensor.

    Every magnitude below `threshold`, and of those equal to it the ones at flat (row-major)
    positions below `ties`.
    """

    threshold: float
    ties: int


@dataclass(frozen=True)
class Selection:
    """The entries of smallest magnitude, told by a cut per tensor (no memory of their size).

    Attributes:
        cuts: name → Cut, in the order of names.
        threshold: the largest magnitude that is pruned, 0.0 where nothing is.
    """

    cuts: Mapping[str, Cut]
    threshold: float

    def mask(self, tensors: Mapping[str, Tensor]) -> Mask:
        """Return the mask of the tensors that were selected from, before or after `zero_`."""
        bits = _kept_bits([tensors[name] for name in self.cuts], list(self.cuts.values()))
        shapes = {name: tuple(tensors[name].shape) for name in self.cuts}
        return Mask.from_bits(dict(zip(self.cuts, bits)), shapes)

    def zero_(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the selected entries to zero, in place."""
        for name, cut in self.cuts.items():
            _zero(tensors[name].detach(), cut)


def magnitude_mask(
    tensors: Mapping[str, Tensor], sparsity: float, granularity: str = "global"
) -> Mask:
    """Return the mask that prunes the entries of smallest magnitude.

    Of d entries exactly `round(sparsity * d)` are pruned, counted over all tensors ("global") or
    over each ("tensor"). Entries of equal magnitude are pruned in the order of names (sorted as
    strings), then of positions (row-major), so the result is the same on every device and rank.

    Args:
        tensors: name → floating-point tensor of any shape, contiguous or not, on any device.
        sparsity: share of entries to prune, in [0, 1].
        granularity: "global" or "tensor".

    Raises:
        PruningError: sparsity out of range, unknown granularity, NaN or infinity (named).
    """
    return select_smallest(tensors, sparsity, granularity).mask(tensors)


def select_smallest(
    tensors: Mapping[str, Tensor],
    sparsity: float,
    granularity: str = "global",
    hint: float = 0.0,
) -> Selection:
    """Select what `magnitude_mask` prunes; for "tensor" the threshold is the largest one.

    Takes one pass over the entries: the hint or a sample gives a bracket around the threshold, the
    pass counts what lies below it and copies the little that lies inside.

    Args:
        tensors: as for `magnitude_mask`.
        sparsity: as for `magnitude_mask`.
        granularity: as for `magnitude_mask`.
        hint: a threshold that may be near, such as that of the pruning before; 0.0: none. What is
            selected does not depend on it.
    """
    check_sparsity(sparsity)
    check_granularity(granularity)
    names = sorted(tensors)
    groups = [names] if granularity == "global" else [[name] for name in names]
    cuts: dict[str, Cut] = {}
    for group in groups:
        arrays = _Arrays({name: tensors[name].detach() for name in group})
        cuts.update(zip(group, _cut(arrays, sparsity, hint)))
    return Selection(cuts, max((cut.threshold for cut in cuts.values()), default=0.0))


class _Arrays:
    """Magnitudes of tensors as numpy arrays of one type, a block at a time."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.names = list(tensors)
        self.flat = [tensor.reshape(-1) for tensor in tensors.values()]
        self.sizes = [flat.numel() for flat in self.flat]
        double = any(flat.dtype == torch.float64 for flat in self.flat)
        # float32 holds every half-precision number, so nothing is rounded here.
        self.dtype = np.float64 if double else np.float32
        self._plain = [_as_numpy(flat, self.dtype) for flat in self.flat]

    def block(self, block: Block, out: np.ndarray) -> np.ndarray:
        """Return the magnitudes of a block; `out` may hold them."""
        index, start, stop = block
        plain = self._plain[index]
        if plain is not None:
            return np.abs(plain[start:stop], out=out[: stop - start])
        return _converted(self.flat[index][start:stop].abs(), self.dtype)

    def sample(self) -> np.ndarray:
        """Return one magnitude in `_STRIDE`."""
        parts = [_converted(flat[::_STRIDE].abs(), self.dtype) for flat in self.flat]
        return np.concatenate(parts)


def _as_numpy(flat: Tensor, dtype: type) -> np.ndarray | None:
    if flat.device.type != "cpu" or flat.dtype not in (torch.float32, torch.float64):
        return None
    array = flat.numpy()
    return array if array.dtype == dtype else None


def _is_remote(flat: Tensor) -> bool:
    return flat.device.type != "cpu"


def _torch_dtype(dtype: type) -> torch.dtype:
    return torch.float64 if dtype is np.float64 else torch.float32


def _converted(magnitudes: Tensor, dtype: type) -> np.ndarray:
    return magnitudes.to("cpu", _torch_dtype(dtype)).numpy()


def _cut(arrays: _Arrays, sparsity: float, hint: float) -> list[Cut]:
    """Return a cut per tensor that together prune round(sparsity * d) entries."""
    total = sum(arrays.sizes)
    count = round(sparsity * total)
    found = None
    if hint > 0.0 and total > _FEW:
        found = _in_bracket(arrays, count, hint * (1 - _NEAR), hint * (1 + _NEAR))
    if found is None:
        found = _in_bracket(arrays, count, *_bracket(arrays, count, total))
    if count == 0:
        return [Cut(0.0, 0) for _ in arrays.names]
    # Otherwise hint and sample misled, or too many entries are alike.
    threshold, surplus = found or _by_digits(arrays, count)
    if surplus == 0:
        return [Cut(float(threshold), size) for size in arrays.sizes]
    return _cut_ties(arrays, threshold, surplus)


def _in_bracket(
    arrays: _Arrays, count: int, low: float, high: float
) -> tuple[np.floating, int] | None:
    """Return the `count`-th smallest magnitude and how many of its equals are to be kept.

    None if it does not lie in (low, high], or too many others do.
    """
    found = _scan(arrays, low, high, max(_FEW, int(_COPIED * sum(arrays.sizes))))
    if found is None:
        return None
    below, inside = found
    if low == 0.0 and count <= below:
        return arrays.dtype(0.0), below - count
    if not below < count <= below + inside.size:
        return None
    rank = count - below - 1
    threshold = np.partition(inside, rank)[rank]
    return threshold, below + int(np.count_nonzero(inside <= threshold)) - count


def _bracket(arrays: _Arrays, count: int, total: int) -> tuple[float, float]:
    """Return magnitudes (low, high] between which the `count`-th smallest most probably lies."""
    if total <= _FEW:
        return -1.0, np.inf
    sample = arrays.sample()
    # A NaN would be sorted to the end and shift nothing: the scan finds it.
    share = count / total
    spread = 4 * np.sqrt(share * (1 - share) * sample.size) + 2
    first = int(share * sample.size - spread)
    last = int(share * sample.size + spread)
    ranks = [rank for rank in (first, last) if 0 <= rank < sample.size]
    sample = np.partition(sample, ranks) if ranks else sample
    return (
        float(sample[first]) if first >= 0 else -1.0,
        float(sample[last]) if last < sample.size else np.inf,
    )


def _scan(arrays: _Arrays, low: float, high: float, limit: int) -> tuple[int, np.ndarray] | None:
    """Count the magnitudes up to `low` and collect those in (low, high].

    Returns:
        The count and the collected ones; None if they are more than `limit`.

    Raises:
        PruningError: NaN or infinity, with the tensor's name.
    """
    dtype = arrays.dtype
    low, high = dtype(low), dtype(high)
    copied: list[int] = []

    def check(index: int, largest: float) -> None:
        # The largest one is NaN if any is.
        if not np.isfinite(largest):
            raise PruningError(
                f"{arrays.names[index]} holds NaN or infinity; its magnitudes cannot be ranked"
            )

    def scan(blocks: list[Block]) -> tuple[int, list[np.ndarray]]:
        magnitudes = np.empty(BLOCK, dtype)
        small, near = np.empty(BLOCK, np.bool_), np.empty(BLOCK, np.bool_)
        below, inside = 0, []
        for block in blocks:
            found = arrays.block(block, magnitudes)
            check(block[0], found.max())
            is_small = np.less_equal(found, low, out=small[: found.size])
            is_near = np.less_equal(found, high, out=near[: found.size])
            below += int(np.count_nonzero(is_small))
            if sum(copied) <= limit:
                # Those that are small are near too.
                np.bitwise_xor(is_small, is_near, out=is_near)
                inside.append(found[is_near])
                copied.append(inside[-1].size)
        return below, inside

    remote = [_is_remote(flat) for flat in arrays.flat]
    results = each_block([0 if r else n for n, r in zip(arrays.sizes, remote)], scan)
    for index, flat in enumerate(arrays.flat):
        if remote[index] and flat.numel():
            # There, so that only what lies inside has to travel.
            found = flat.abs().to(_torch_dtype(dtype))
            check(index, float(found.max()))
            below = int((found <= float(low)).sum())
            within = found[(found > float(low)) & (found <= float(high))]
            copied.append(within.numel())
            if sum(copied) > limit:
                break
            results.append((below, [within.cpu().numpy()]))
    if sum(copied) > limit:
        return None
    inside = [array for _, part in results for array in part]
    below = sum(count for count, _ in results)
    return below, np.concatenate(inside) if inside else np.empty(0, dtype)


def _by_digits(arrays: _Arrays, count: int) -> tuple[np.floating, int]:
    """Return the `count`-th smallest magnitude and how many of its equals are to be kept.

    Looks at the bits of the floating-point numbers, which order as the numbers do, sixteen at a
    time. Slower than a bracket, without memory, whatever the numbers are.
    """
    words = np.uint64 if arrays.dtype is np.float64 else np.uint32
    width = np.dtype(words).itemsize * 8
    prefix, below, equal = 0, 0, 0
    for shift in range(width - 16, -1, -16):

        def digits(blocks: list[Block], shift: int = shift, prefix: int = prefix) -> np.ndarray:
            magnitudes = np.empty(BLOCK, arrays.dtype)
            counts = np.zeros(1 << 16, np.int64)
            for block in blocks:
                word = arrays.block(block, magnitudes).view(words)
                if shift + 16 < width:
                    word = word[word >> words(shift + 16) == words(prefix)]
                digit = (word >> words(shift)) & words(0xFFFF)
                counts += np.bincount(digit.astype(np.int64), minlength=1 << 16)
            return counts

        counts = np.sum(each_block(arrays.sizes, digits), axis=0)
        reached = below + np.cumsum(counts)
        digit = int(np.searchsorted(reached, count))
        below = int(reached[digit] - counts[digit])
        equal = int(counts[digit])
        prefix = prefix << 16 | digit
    threshold = np.array([prefix], words).view(arrays.dtype)[0]
    return threshold, below + equal - count


def _cut_ties(arrays: _Arrays, threshold: np.floating, surplus: int) -> list[Cut]:
    """Return cuts where the last `surplus` of the entries at the threshold are kept."""
    ties = list(arrays.sizes)
    # From the end: the fewest tensors are looked at when few are kept.
    for index in reversed(range(len(arrays.names))):
        at = []
        for start in range(0, arrays.sizes[index], BLOCK):
            stop = min(start + BLOCK, arrays.sizes[index])
            found = arrays.block((index, start, stop), np.empty(BLOCK, arrays.dtype))
            at.append(np.flatnonzero(found == threshold) + start)
        positions = np.concatenate(at) if at else np.empty(0, np.int64)
        if positions.size >= surplus:
            if surplus:
                ties[index] = int(positions[positions.size - surplus])
            break
        ties[index] = 0
        surplus -= positions.size
    return [Cut(float(threshold), end) for end in ties]


def _kept_bits(tensors: Sequence[Tensor], cuts: Sequence[Cut]) -> list[Tensor]:
    """Return the packed bits of what the cuts keep, each on its tensor's device."""
    flats = [tensor.detach().reshape(-1) for tensor in tensors]
    plain = [_as_numpy(flat, np.float32) for flat in flats]
    plain = [
        array if array is not None and float(np.float32(cut.threshold)) == cut.threshold else None
        for array, cut in zip(plain, cuts)
    ]
    packed = [np.empty(0 if array is None else (array.size + 7) // 8, np.uint8) for array in plain]

    def work(blocks: list[Block]) -> None:
        magnitudes, keep = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.bool_)
        for index, start, stop in blocks:
            cut = cuts[index]
            found = np.abs(plain[index][start:stop], out=magnitudes[: stop - start])
            kept = np.greater(found, np.float32(cut.threshold), out=keep[: stop - start])
            if cut.ties < stop:
                first = max(0, cut.ties - start)
                kept[first:] |= found[first:] == np.float32(cut.threshold)
            packed[index][start // 8 : (stop + 7) // 8] = np.packbits(kept)

    each_block([0 if array is None else array.size for array in plain], work)
    return [
        torch.from_numpy(found) if array is not None else bits.pack(_keep(flat, cut))
        for found, array, flat, cut in zip(packed, plain, flats, cuts)
    ]


def _keep(flat: Tensor, cut: Cut) -> Tensor:
    magnitudes = flat.abs().to(torch.float64 if flat.dtype == torch.float64 else torch.float32)
    keep = magnitudes > cut.threshold
    keep[cut.ties :] |= magnitudes[cut.ties :] == cut.threshold
    return keep


def _zero(tensor: Tensor, cut: Cut) -> None:
    if cut.ties == 0 and cut.threshold == 0.0:
        return
    plain = tensor.device.type == "cpu" and tensor.is_contiguous()
    if plain and tensor.dtype == torch.float32 and np.float32(cut.threshold) == cut.threshold:
        flat = tensor.view(-1)
        _shrink(flat[: cut.ties], cut.threshold)
        if cut.ties < flat.numel() and cut.threshold > 0.0:
            below = np.nextafter(np.float32(cut.threshold), np.float32(0))
            _shrink(flat[cut.ties :], float(below))
    else:
        flat = tensor.reshape(-1)
        tensor.masked_fill_(~_keep(flat, cut).view(tensor.shape), 0)


def _shrink(flat: Tensor, bound: float) -> None:
    # x where |x| > bound, else 0: one read and one write, no mask in between.
    torch.ops.aten.hardshrink.out(flat, bound, out=flat)
