"""Exact selection of the smallest magnitudes (UMP, paper section 2.3): bracket, count, cut."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.kernels.cut import Bound, cut
from parp_fairseq.kernels.rank import Bracketed, scan
from parp_fairseq.kernels.words import infinity, value_of, word_of, words
from parp_fairseq.pruning.arguments import GRANULARITIES, PruningError, check_choice, check_sparsity
from parp_fairseq.pruning.mask import Mask

# Below this many entries all are sorted out at once; above, a sample narrows them down first.
_FEW = 1 << 16
# One entry in so many is sampled. A prime: matrices have structure along their rows.
_STRIDE = 257
# How far a threshold moves from one pruning to the next, at most, for a hint to be of use.
_NEAR = 1e-3
# No more than this share of the entries is ever copied.
_COPIED = 0.01
# How many entries are looked through at a time for a position.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Selection:
    """The entries of smallest magnitude, as a bound per tensor (no memory of their size)."""

    bounds: Mapping[str, Bound]  # name → Bound, in the order of names
    threshold: float  # the largest magnitude that is pruned, 0.0 where nothing is

    def mask(self, tensors: Mapping[str, Tensor]) -> Mask:
        """Return the mask of the tensors that were selected from, zeroed or not."""
        return self.cut(tensors)[0]

    def cut(
        self, tensors: Mapping[str, Tensor], *others: Mask, zero: bool = False, pack: bool = True
    ) -> tuple[Mask, list[int]]:
        """Return the mask; with `zero` set the selected entries to zero, in place, in one pass.

        And for each of `others`, at most two masks, how many entries both keep. `tensors` are those
        that were selected from; without `pack` the mask is empty.
        """
        packed = [other.packed for other in others]
        result = cut(
            [tensors[name] for name in self.bounds],
            list(self.bounds.values()),
            zero=zero,
            pack=pack,
            others=[[bits[name] for name in self.bounds] for bits in packed],
        )
        shapes = {name: tuple(tensors[name].shape) for name in self.bounds} if pack else {}
        mask = Mask.from_bits(
            dict(zip(shapes, result.masks)), shapes, dict(zip(shapes, result.kept))
        )
        return mask, result.both


def magnitude_mask(
    tensors: Mapping[str, Tensor], sparsity: float, granularity: str = "global"
) -> Mask:
    """Return the mask that prunes the entries of smallest magnitude.

    Of d entries exactly `round(sparsity * d)` are pruned, counted over all tensors ("global") or
    over each ("tensor"). Entries of equal magnitude are pruned in the order of names (sorted as
    strings), then of positions (row-major), so the result is the same on every device and rank.
    `tensors`, name → floating-point tensor, have any shape, contiguous or not. Raises PruningError:
    sparsity not in [0, 1], unknown granularity, NaN or infinity (named).
    """
    return select_smallest(tensors, sparsity, granularity).mask(tensors)


def select_smallest(
    tensors: Mapping[str, Tensor], sparsity: float, granularity: str = "global", hint: float = 0.0
) -> Selection:
    """Select what `magnitude_mask` prunes; for "tensor" the threshold is the largest one.

    Takes one pass over the entries: the hint or a sample gives a bracket around the threshold, the
    pass counts what is below it and copies the little that is inside. `hint` is a threshold that
    may be near, such as that of the pruning before (0.0: none); the selection does not depend on
    it.
    """
    check_sparsity(sparsity)
    check_choice(granularity, GRANULARITIES, "granularity")
    names = sorted(tensors)
    groups = [names] if granularity == "global" else [[name] for name in names]
    bounds: dict[str, Bound] = {}
    threshold = 0.0
    for group in filter(None, groups):
        count = round(sparsity * sum(tensors[name].numel() for name in group))
        of_group, largest = _select([(n, tensors[n].detach()) for n in group], count, hint)
        bounds.update(zip(group, of_group))
        threshold = max(threshold, largest)
    return Selection(bounds, threshold)


def smallest_kept(
    tensors: Mapping[str, Tensor], mask: Mask, sparsity: float, granularity: str
) -> float:
    """Return the smallest magnitude that a mask keeps; infinite where it keeps nothing.

    0.0 where a magnitude mask of this sparsity would prune fewer entries, so that some must return.
    The tensors are zero where the mask prunes.
    """
    smallest = math.inf
    for group in [list(mask)] if granularity == "global" else [[name] for name in mask]:
        total = sum(tensors[name].numel() for name in group)
        pruned = total - sum(mask.kept_in(name) for name in group)
        if pruned > round(sparsity * total):
            return 0.0
        if pruned < total:
            # As fast as a mask is made; a selection by the mask takes ten times as long.
            _, next_one = _select([(n, tensors[n].detach()) for n in group], pruned + 1, 0.0)
            smallest = min(smallest, next_one)
    return smallest


@dataclass(frozen=True)
class _Cut:
    """Where the order of (magnitude, position) is cut: this entry and all before it are pruned.

    `position` counts over all arrays, -1 where nothing is pruned.
    """

    word: int
    position: int


def _select(
    named: Sequence[tuple[str, Tensor]], count: int, hint: float
) -> tuple[list[Bound], float]:
    """Return a bound per tensor of the `count` smallest, and the largest magnitude of these."""
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for _, tensor in named))
    arrays = [tensor.reshape(-1).to(dtype) for _, tensor in named]
    total = sum(array.numel() for array in arrays)
    last = _Cut(0, -1)
    # The `count`-th smallest word is in [least, end).
    least, end = 0, infinity(dtype) if count else 0
    guesses = _guesses(arrays, count, total, hint)
    for scans in itertools.count():
        # Where hint and sample mislead, or too many entries are alike: halves of what is left.
        low, high = next(guesses, (least, (least + end + 1) // 2))
        near = scan(arrays, low, high, max(_FEW, int(_COPIED * total)))
        if scans == 0:
            _check(near, named)
        below, inside = int(near.below.sum()), int(near.inside.sum())
        if count == 0:
            break
        if count <= below:
            end = min(end, low)
        elif count > below + inside:
            least = max(least, high)
        elif near.complete:
            last = _smallest(near, count - below)
            break
        elif high - low == 1:
            last = _tied(arrays, low, near.inside, count - below)
            break
        else:
            least, end = low, high
    threshold = value_of(last.word, dtype)
    starts = np.cumsum([0, *(array.numel() for array in arrays)])
    return [
        _bound(tensor, threshold, last.position + 1 - int(start))
        for (_, tensor), start in zip(named, starts)
    ], threshold


def _check(near: Bracketed, named: Sequence[tuple[str, Tensor]]) -> None:
    for (name, _), infinite in zip(named, near.infinite):
        if infinite:
            raise PruningError(f"{name} holds NaN or infinity; its magnitudes cannot be ranked")


def _bound(tensor: Tensor, threshold: float, ties: int) -> Bound:
    """The bound of one tensor: in its own type, which may be narrower than all tensors' type."""
    word = word_of(threshold, tensor.dtype)
    exact = value_of(word, tensor.dtype) == threshold
    return Bound(word, min(max(ties, 0), tensor.numel()) if exact else tensor.numel())


def _guesses(
    arrays: Sequence[Tensor], count: int, total: int, hint: float
) -> Iterator[tuple[int, int]]:
    """Words [low, high) between which the `count`-th smallest probably is."""
    dtype = arrays[0].dtype
    if total <= _FEW or count == 0:
        yield 0, infinity(dtype) if count else 0
        return
    if hint > 0.0:
        yield word_of(hint * (1 - _NEAR), dtype) + 1, word_of(hint * (1 + _NEAR), dtype) + 1
    yield _sampled(arrays, count / total)


def _sampled(arrays: Sequence[Tensor], share: float) -> tuple[int, int]:
    """Words [low, high) between which, a sample says, the smallest `share` ends."""
    parts = [words(array[::_STRIDE].contiguous()).cpu().numpy() for array in arrays]
    sample = np.concatenate(parts)
    spread = 3 * np.sqrt(share * (1 - share) * sample.size) + 2
    ranks = [int(share * sample.size - spread), int(share * sample.size + spread)]
    inside = [rank for rank in ranks if 0 <= rank < sample.size]
    sample = np.partition(sample, inside) if inside else sample
    low = int(sample[ranks[0]]) + 1 if ranks[0] >= 0 else 0
    return low, int(sample[ranks[1]]) + 1 if ranks[1] < sample.size else infinity(arrays[0].dtype)


def _smallest(near: Bracketed, rank: int) -> _Cut:
    """The `rank`-th smallest, from 1, of what a scan collected."""
    word = np.partition(near.words, rank - 1)[rank - 1]
    rank -= int(np.count_nonzero(near.words < word))
    ties = near.positions[near.words == word]
    return _Cut(int(word), int(np.partition(ties, rank - 1)[rank - 1]))


def _tied(arrays: Sequence[Tensor], word: int, counts: np.ndarray, rank: int) -> _Cut:
    """The `rank`-th, from 1, of the entries that equal `word`; `counts`: how many in each array."""
    reached = np.cumsum(counts)
    index = int(np.searchsorted(reached, rank))
    rank -= int(reached[index] - counts[index])
    start = sum(array.numel() for array in arrays[:index])
    for block in arrays[index].split(_BLOCK):
        ties = (words(block) == word).nonzero().view(-1)
        if rank <= ties.numel():
            return _Cut(word, start + int(ties[rank - 1]))
        rank -= ties.numel()
        start += block.numel()
    raise AssertionError("fewer ties than were counted")


def nested(
    mask: Mask, before: Mask, tensors: Mapping[str, Tensor], granularity: str = "global"
) -> Mask:
    """Return `mask`, the magnitude mask of `tensors`, with what `before` pruned going first.

    What the pruning before took is zero, and zeros are the smallest magnitudes: a magnitude mask
    prunes them again. But entries that are kept may be zero too, and come before pruned ones in the
    order of names and positions. Counts stay as they are, over all ("global") or in each
    ("tensor").
    """
    groups = [list(mask)] if granularity == "global" else [[name] for name in mask]
    keep: dict[str, Tensor] = {}
    for group in groups:
        if any(bool((mask[name] & ~before[name]).any()) for name in group):
            # Something regrew, so there are more zeros than are pruned.
            keep.update(_first_zeros_pruned(group, mask, before, tensors))
    return Mask({name: keep.get(name, mask[name]) for name in mask}) if keep else mask


def _first_zeros_pruned(
    group: Sequence[str], mask: Mask, before: Mask, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    left = sum(tensors[name].numel() - mask.kept_in(name) for name in group)
    keep = {name: torch.ones_like(mask[name]) for name in group}
    for kept_before in (False, True):
        for name in group:
            zeros = (tensors[name].detach() == 0) & (before[name] == kept_before)
            taken = zeros & (zeros.flatten().cumsum(0).view(zeros.shape) <= left)
            keep[name] &= ~taken
            left -= int(taken.sum())
    return keep
