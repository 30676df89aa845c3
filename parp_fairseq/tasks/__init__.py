"""Task `parp`."""

from parp_fairseq.tasks.parp import ParpTask, ParpTaskConfig

__all__ = ["ParpTask", "ParpTaskConfig"]
