"""The paper in plain torch: tensors and names, no fairseq, no audio."""

from parp_fairseq.pruning.initial import random_mask
from parp_fairseq.pruning.magnitude import magnitude_mask
from parp_fairseq.pruning.mask import Mask, iou
from parp_fairseq.pruning.pruner import Pruner
from parp_fairseq.pruning.schedule import SparsityChain, SparsitySchedule
from parp_fairseq.pruning.scope import Scope

__all__ = [
    "Mask",
    "Pruner",
    "Scope",
    "SparsityChain",
    "SparsitySchedule",
    "iou",
    "magnitude_mask",
    "random_mask",
]
