"""The same engine for transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parp_fairseq.hf.scopes import prunable_parameters

if TYPE_CHECKING:
    from parp_fairseq.hf.callback import PruningCallback

__all__ = ["PruningCallback", "prunable_parameters"]


def __getattr__(name: str) -> Any:
    # When it is first asked for: transformers is an extra.
    if name != "PruningCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from parp_fairseq.hf.extra import needs_transformers

    with needs_transformers("PruningCallback"):
        from parp_fairseq.hf.callback import PruningCallback
    return PruningCallback
