"""The same engine for transformers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError
from parp_fairseq.hf.parameters import prunable_parameters

if TYPE_CHECKING:
    from parp_fairseq.hf.callback import PruningCallback

__all__ = ["PruningCallback", "needs_transformers", "prunable_parameters"]


@contextlib.contextmanager
def needs_transformers(what: str) -> Iterator[None]:
    """Say what to install where an import in the block fails.

    Args:
        what: what needs it, for the error.

    Raises:
        UserError: transformers, or accelerate under its Trainer, is missing.
    """
    try:
        yield
        import accelerate  # noqa: F401
    except ImportError as error:
        if error.name not in ("transformers", "accelerate"):
            raise
        raise UserError(
            f"{what} needs {error.name}, which is not installed; in the clone of parp-fairseq: "
            "pip install '.[hf]'"
        ) from error


def __getattr__(name: str) -> Any:
    # Imported when first used: transformers is an extra.
    if name != "PruningCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needs_transformers(name):
        from parp_fairseq.hf.callback import PruningCallback
    return PruningCallback
