"""How far a weight can move between two prunings, and so whether a pruned weight can come back.

Right after a pruning with threshold t a pruned weight is 0 and a kept one is at least t. Adam moves
a weight by at most c·lr in an update, so by at most the *reach* r = c·Σlr until the next pruning. A
pruned weight can then be at most r and a kept one at least t - r: where r < t/2 none can pass
another, and at constant sparsity the mask cannot change. PARP then keeps the mask that it began
with, as MPI does, until training has brought the smallest kept weights, and with them t, near zero.

c follows from Adam's update m̂/√v̂ by Cauchy and Schwarz. It is reached by gradients that grow in
the right proportion; under a steady gradient an update is about 1·lr.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.pruning.arguments import PruningError
from parp_fairseq.pruning.magnitude import select_smallest

if TYPE_CHECKING:
    from parp_fairseq.pruning.pruner import Pruner

_ADAMS = ("Adam", "AdamW", "FusedAdam", "FusedAdamV1", "FusedAdamV2")


def adam_bound(beta1: float = 0.9, beta2: float = 0.98) -> float:
    """Return c, the most that Adam moves a weight in one update, in learning rates.

    (1 - β1) / √((1 - β2)(1 - β1²/β2)), 1.70 for (0.9, 0.98); with bias correction it is less in the
    first updates. Without weight decay. Raises PruningError: β1² is not below β2, so that there is
    no bound; or a β outside [0, 1).
    """
    if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0 and beta1**2 < beta2):
        raise PruningError(f"are ({beta1}, {beta2}): Adam's steps have no bound", "betas")
    return (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1**2 / beta2))


def reach(learning_rates: Iterable[float], bound: float | None = None) -> float:
    """Return r, the most that a weight can move during updates with these learning rates.

    `bound` is c of the optimizer (default: that of Adam with (0.9, 0.98)).
    """
    return (adam_bound() if bound is None else bound) * math.fsum(learning_rates)


def relative_reach(moved: float, threshold: float) -> float:
    """Return r over half the threshold: below 1 no pruned weight can pass a kept one.

    Infinite where nothing is pruned that is not zero.
    """
    return 2 * moved / threshold if threshold > 0.0 else math.inf


def interval_to_reach(threshold: float, learning_rate: float, bound: float | None = None) -> int:
    """Return the n from which on a pruned weight can come back at this learning rate."""
    step = (adam_bound() if bound is None else bound) * learning_rate
    if not 0.0 < step < math.inf:
        raise PruningError(f"must be above 0 (got {learning_rate})", "lr")
    return max(1, math.ceil(threshold / (2 * step)))


def thresholds(
    tensors: Mapping[str, Tensor], sparsities: Sequence[float], granularity: str = "global"
) -> list[float]:
    """Return the largest magnitude pruned at each sparsity in [0, 1], 0.0 where nothing is.

    For the granularity "tensor" the largest of all tensors.
    """
    return [select_smallest(tensors, one, granularity).threshold for one in sparsities]


class Motion(NamedTuple):
    """How far an optimizer moves a weight in one update."""

    bound: float = math.inf  # c, in learning rates; infinite where it is not known
    decay: float = 0.0  # weight decay, by which a kept weight comes nearer to zero

    def relative(self, rates: float, kept_from: float) -> float:
        """Return the reach over half of what separates pruned and kept weights after a pruning.

        Below 1 no pruned weight can pass a kept one. `rates` is the sum of the learning rates since
        then, `kept_from` the smallest magnitude kept then; of magnitude masks the threshold.
        """
        if rates <= 0.0:
            return 0.0
        # Of (1 - decay lr) for every update the product is at least this.
        return relative_reach(self.bound * rates, kept_from * max(0.0, 1.0 - self.decay * rates))


def motion_of(optimizer: torch.optim.Optimizer) -> Motion:
    """Return how far an optimizer of torch, fairseq or accelerate moves a weight.

    Known for Adam and AdamW on fp32 weights: half-precision ones are also moved by rounding.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    groups = optimizer.param_groups
    half = any(p.dtype in (torch.float16, torch.bfloat16) for g in groups for p in g["params"])
    if half or type(optimizer).__name__ not in _ADAMS:
        return Motion()
    try:
        bound = max(adam_bound(*group["betas"]) for group in groups)
    except PruningError:
        return Motion()
    return Motion(bound, max(group.get("weight_decay", 0.0) for group in groups))


@dataclass(frozen=True)
class Outlook:
    """What can happen in a training, said before it."""

    line: str  # one for the user
    regrows: bool | None  # whether a pruned weight can come back at any pruning; None: not known


def look_ahead(
    pruner: Pruner, rates: Sequence[float], epoch_ends: Sequence[int] = (), option: str = "interval"
) -> Outlook | None:
    """Say whether pruned weights can regrow in a training; None where none can by definition.

    `pruner` is started or restored, with its `motion` set; `rates` are the learning rates of the
    updates still to come, at least one; `epoch_ends` the updates made from now to the end of each
    epoch, where prunings go by epochs and that is known; `option` is what the caller calls the
    interval.
    """
    mask, motion = pruner.mask, pruner.motion
    if pruner.static or mask.kept == mask.numel:
        return None
    if not math.isfinite(motion.bound):
        return Outlook(
            "how far this optimizer moves a weight in an update has no known bound; whether pruned "
            "weights regrow is in the meter revived",
            None,
        )
    sums = np.concatenate(([0.0], np.cumsum(np.asarray(rates, dtype=np.float64))))
    of_epochs = pruner.unit == "epoch"
    needed = _interval_needed(motion, sums, pruner.kept_from)
    least = f"the threshold at {pruner.sparsity:.0%} is {pruner.kept_from:.2g}"
    if of_epochs and not epoch_ends:
        way = f"about {needed:,} updates between prunings" if needed else "a higher learning rate"
        return Outlook(
            f"a pruned weight can move by at most {motion.bound * max(rates):.2g} in an update; "
            f"{least}: it takes {way} for any to regrow, and how many updates an epoch has is not "
            "known yet",
            None if needed else False,
        )
    ends = epoch_ends[pruner.interval - 1 :: pruner.interval] if of_epochs else _ends(pruner, rates)
    ends = sorted({0, *(end for end in ends if end < len(rates)), len(rates)})
    spans = [float(sums[end] - sums[begin]) for begin, end in zip(ends, ends[1:])]
    regrows = sum(motion.relative(one, pruner.kept_from) >= 1.0 for one in spans)
    span = max(end - begin for begin, end in zip(ends, ends[1:]))
    most, final = motion.bound * max(spans), motion.bound * span * rates[-1]
    line = (
        f"between two prunings ({span:,} updates) a pruned weight can move by at most {most:.2g} "
        f"({final:.2g} at the final learning rate {rates[-1]:.2g}); {least}: "
    )
    if regrows:
        of = "every pruning" if regrows == len(spans) else f"{regrows:,} of {len(spans):,} prunings"
        return Outlook(f"{line}some can regrow at {of}", True)
    if of_epochs:
        needed = math.ceil(needed * len(epoch_ends) / epoch_ends[-1])
    keeps = "only loses entries, as with gmp" if pruner.schedule.ramps else "stays, as with mpi"
    way = f"{option}={needed} or more" if needed else "a higher learning rate"
    return Outlook(
        f"{line}until training has brought a kept weight below {2 * most:.2g} none can regrow, and "
        f"the initial mask {keeps}; it takes {way} for any to regrow before",
        False,
    )


def _ends(pruner: Pruner, rates: Sequence[float]) -> range:
    """Updates from now to each pruning that goes by updates."""
    return range(pruner.interval - pruner.updates % pruner.interval, len(rates), pruner.interval)


def _interval_needed(motion: Motion, sums: np.ndarray, kept_from: float) -> int:
    """The least n such that some weight could regrow in n updates on end; 0: not in the run."""

    def enough(n: int) -> bool:
        return motion.relative(float((sums[n:] - sums[:-n]).max()), kept_from) >= 1.0

    low, high = 1, len(sums) - 1
    if not enough(high):
        return 0
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
