"""Task `parp`."""

from parp_fairseq.tasks.config import ParpTaskConfig
from parp_fairseq.tasks.parp import ParpTask

__all__ = ["ParpTask", "ParpTaskConfig"]
