"""The paper in plain torch: tensors and names, no fairseq, no audio."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parp_fairseq.pruning.arguments import PruningError
    from parp_fairseq.pruning.magnitude import magnitude_mask
    from parp_fairseq.pruning.mask import Mask, iou, random_mask
    from parp_fairseq.pruning.pruner import Pruner
    from parp_fairseq.pruning.schedule import SparsitySchedule, StagedSchedule
    from parp_fairseq.pruning.scope import Scope
    from parp_fairseq.pruning.spec import PruningSpec

__all__ = [
    "Mask",
    "Pruner",
    "PruningError",
    "PruningSpec",
    "Scope",
    "SparsitySchedule",
    "StagedSchedule",
    "iou",
    "magnitude_mask",
    "random_mask",
]

_HOMES = {
    "Mask": "mask",
    "Pruner": "pruner",
    "PruningError": "arguments",
    "PruningSpec": "spec",
    "Scope": "scope",
    "SparsitySchedule": "schedule",
    "StagedSchedule": "schedule",
    "iou": "mask",
    "magnitude_mask": "magnitude",
    "random_mask": "mask",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: commands check their options before they load torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
