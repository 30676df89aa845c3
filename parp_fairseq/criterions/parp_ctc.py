"""Criterion `parp_ctc`: CTC that scores the subnetwork outside of training."""

from __future__ import annotations

from fairseq.criterions import register_criterion
from fairseq.criterions.ctc import CtcCriterion, CtcCriterionConfig


@register_criterion("parp_ctc", dataclass=CtcCriterionConfig)
class ParpCtcCriterion(CtcCriterion):
    """fairseq's CTC criterion; in evaluation mode the weights hold m⊙θ, in training mode θ."""

    def train(self, mode: bool = True) -> ParpCtcCriterion:
        """Switch mode, and the weights with it (the Trainer does so before every step)."""
        pruner = getattr(self.task, "pruner", None)
        if pruner is not None:
            if mode:
                pruner.restore_weights()
            else:
                pruner.apply_mask()
        return super().train(mode)
