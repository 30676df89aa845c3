"""Which layers of a subnetwork run sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

DENSE, SPARSE, AUTO = "dense", "sparse", "auto"
ENGINES = (AUTO, DENSE, SPARSE)
"""auto: layers sparse enough to win clearly run sparse, without a measurement; dense: none; sparse:
those that a measurement of about a second finds faster."""

CLEAR = 0.75
"""Sparsity from which layers win clearly (twice as fast at 70% with AVX2 or AVX-512, three times at
80%: `docs/engine.md`)."""


def run_sparse(model: nn.Module, engine: str) -> int:
    """Replace layers of `model`, in place, by those that leave zeros out.

    Args:
        model: in evaluation mode.
        engine: one of ENGINES.

    Returns:
        How many groups of layers run sparse.
    """
    if engine == DENSE:
        return 0
    from parp_fairseq.engine import accelerate
    from parp_fairseq.kernels import native

    # What is clear with vectors is not without: there it is measured too.
    clear = CLEAR if engine == AUTO and native.level() in ("avx2", "avx512") else None
    return accelerate(model, clear=clear).replaced
