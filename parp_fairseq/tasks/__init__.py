"""Task `parp`."""

from parp_fairseq.fairseq_patches import read_utf8
from parp_fairseq.tasks.config import ParpTaskConfig
from parp_fairseq.tasks.parp import ParpTask

# Here, since any task of a program with this user dir may read labels.
read_utf8()

__all__ = ["ParpTask", "ParpTaskConfig"]
