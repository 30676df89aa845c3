"""The same engine for transformers."""

from parp_fairseq.hf.scopes import prunable_parameters

__all__ = ["prunable_parameters"]
