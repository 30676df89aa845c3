"""The one error that a user of this package is meant to read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

EXIT_CODE = 2


class UserError(Exception):
    """Bad input, told in one line that names the file, key or row and says what to do."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Print a UserError as one line on standard error and leave with exit code 2.

    A program's outermost frame uses it; so do the parts that fairseq calls, because fairseq would
    print a traceback and, in training, save a `crash.pt` for any other exception.
    """
    try:
        yield
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"parp: error: {line}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_CODE) from None
