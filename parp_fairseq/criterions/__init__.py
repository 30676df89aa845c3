"""Criterion `parp_ctc`."""

from parp_fairseq.criterions.parp_ctc import ParpCtcCriterion

__all__ = ["ParpCtcCriterion"]
