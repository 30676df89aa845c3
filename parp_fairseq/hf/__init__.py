"""The same engine for transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError
from parp_fairseq.hf.parameters import prunable_parameters

if TYPE_CHECKING:
    from parp_fairseq.hf.callback import PruningCallback

__all__ = ["PruningCallback", "prunable_parameters"]


def __getattr__(name: str) -> Any:
    # Imported when first used: transformers, and accelerate under its Trainer, are an extra.
    if name != "PruningCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import accelerate  # noqa: F401

        from parp_fairseq.hf.callback import PruningCallback
    except ImportError as error:
        if error.name not in ("transformers", "accelerate"):
            raise
        raise UserError(
            f"{name} needs {error.name}, which is not installed; in the clone of parp-fairseq: "
            "pip install '.[hf]'"
        ) from error
    return PruningCallback
