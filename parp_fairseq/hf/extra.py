"""The extra `hf`: transformers, and accelerate under its Trainer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from parp_fairseq.errors import UserError


@contextlib.contextmanager
def needs_transformers(what: str) -> Iterator[None]:
    """Say what to install where an import in the block fails.

    Args:
        what: what needs it, for the error.

    Raises:
        UserError: transformers or accelerate is missing.
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
