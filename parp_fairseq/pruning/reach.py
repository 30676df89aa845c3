"""How far a weight can move between two prunings, and so whether a pruned weight can come back.

Right after a pruning with threshold t a pruned weight is 0 and a kept one is at least t. Adam moves
a weight by at most c·lr in an update, so by at most the *reach* r = c·Σlr until the next pruning. A
pruned weight can then be at most r and a kept one at least t - r: where r < t/2 none can pass
another, and at constant sparsity the mask cannot change. PARP then keeps the mask that it began
with, as MPI does.

c follows from Adam's update m̂/√v̂ by Cauchy and Schwarz. It is reached by gradients that grow in
the right proportion; under a steady gradient an update is about 1·lr.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from parp_fairseq.pruning.arguments import PruningError
from parp_fairseq.pruning.magnitude import select_smallest


def adam_bound(beta1: float = 0.9, beta2: float = 0.98) -> float:
    """Return c, the most that Adam moves a weight in one update, in learning rates.

    (1 - β1) / √((1 - β2)(1 - β1²/β2)), 1.70 for (0.9, 0.98); with bias correction it is less in the
    first updates. Without weight decay.

    Raises:
        PruningError: β1² is not below β2, so that there is no bound; or a β outside [0, 1).
    """
    if not (0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0 and beta1**2 < beta2):
        raise PruningError(f"are ({beta1}, {beta2}): Adam's steps have no bound", "betas")
    return (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1**2 / beta2))


def reach(learning_rates: Iterable[float], bound: float | None = None) -> float:
    """Return r, the most that a weight can move during these updates.

    Args:
        learning_rates: of each update between two prunings.
        bound: c of the optimizer (default: that of Adam with (0.9, 0.98)).
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
    """Return the largest magnitude pruned at each sparsity, 0.0 where nothing is.

    Args:
        tensors: name → prunable weights.
        sparsities: in [0, 1].
        granularity: "global", or "tensor": then the largest of all tensors.
    """
    return [select_smallest(tensors, one, granularity).threshold for one in sparsities]
