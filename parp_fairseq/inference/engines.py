"""Which layers of a subnetwork run sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

DENSE, SPARSE, AUTO = "dense", "sparse", "auto"
ENGINES = (AUTO, DENSE, SPARSE)
"""auto: layers sparse enough to win everywhere run sparse, without a measurement; dense: none;
sparse: those that a measurement of a second or more finds faster."""

CLEAR = 0.75
"""Sparsity from which layers of this kind win clearly on every level of the kernels (at 70% twice
on AVX2 and AVX-512, at 80% three times; `docs/engine.md`)."""


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

    if engine == SPARSE:
        return accelerate(model).replaced
    from parp_fairseq.engine.acceleration import LEAST_ENTRIES
    from parp_fairseq.engine.groups import find_groups
    from parp_fairseq.kernels import library

    choice = {}
    for group in find_groups(model):
        entries = sum(linear.weight.numel() for linear in group.linears)
        kept = sum(int(linear.weight.count_nonzero()) for linear in group.linears)
        choice[group.key] = entries >= LEAST_ENTRIES and kept <= (1 - CLEAR) * entries
    if not any(choice.values()) or library.level() not in ("avx2", "avx512"):
        return 0
    return accelerate(model, choice).replaced
