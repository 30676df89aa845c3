"""How sparse each round of IMP leaves the model."""

from __future__ import annotations

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning.arguments import check_sparsity

SHARES = ("original", "remaining")
LEAST_STEP = 0.001


def round_sparsities(target: float, step: float = 0.1, of: str = "original") -> list[float]:
    """Return the sparsity after each round; the last one is `target`, whatever the step.

    Args:
        target: the sparsity to reach, above 0 and below 1.
        step: the share of weights that a round prunes, from LEAST_STEP to 1.
        of: "original" (a share of all weights: nine rounds to 90%, as the paper's count of
            fine-tunings says) or "remaining" (a share of what is left, as its section 2.3 says: 22
            rounds).

    Raises:
        UserError: an argument is out of its range.
    """
    with options_named("--"):
        check_sparsity(target)
    if not 0.0 < target < 1.0:
        raise UserError(
            f"--sparsity is {target:g}; rounds of pruning need more than 0, less than 1"
        )
    if not LEAST_STEP <= step <= 1.0:
        raise UserError(f"--step is {step:g}; it is a share of {LEAST_STEP} to 1 (10% is 0.1)")
    if of not in SHARES:
        raise UserError(f"--of is {of!r}; use {' or '.join(SHARES)}")
    sparsities: list[float] = []
    while not sparsities or sparsities[-1] < target:
        rounds = len(sparsities) + 1
        reached = step * rounds if of == "original" else 1.0 - (1.0 - step) ** rounds
        # Sums of tenths are not tenths in binary; files are named by these numbers.
        sparsities.append(min(round(reached, 6), target))
    return sparsities
