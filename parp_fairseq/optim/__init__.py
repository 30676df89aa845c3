"""Optimizer `parp`."""

from parp_fairseq.optim.parp import ParpOptimizer, ParpOptimizerConfig

__all__ = ["ParpOptimizer", "ParpOptimizerConfig"]
