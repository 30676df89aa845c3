"""The one error that a user of this package is meant to read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

EXIT_CODE = 2

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as a shell gives it."""

# Characters that are shown on either side of one that cannot be written.
_AROUND = 80


class UserError(Exception):
    """Bad input: one line that names the file, key or row and says what to do."""


@contextlib.contextmanager
def options_named(prefix: str, before: str = "") -> Iterator[None]:
    """Name a bad argument of `parp_fairseq.pruning` as the option that a user gave: a UserError.

    `prefix` makes an option's name of an argument's ("task.prune." or "--"); the line begins with
    `before`, such as a file's name and a colon.
    """
    try:
        yield
    except ValueError as error:
        # Not by its class: importing that loads torch.
        problem = getattr(error, "problem", None)
        if problem is None:
            raise
        name = getattr(error, "argument", "")
        name = name.replace("_", "-") if prefix == "--" else name
        raise UserError(
            f"{before}{prefix}{name} {problem}" if name else before + problem
        ) from error


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Print a UserError as one line on standard error and leave with exit code 2.

    A program's entry point uses it; so do the parts that fairseq calls, because fairseq would
    print a traceback and, in training, save a `crash.pt` for any other exception.
    """
    try:
        with options_named(""):
            yield
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"parp: error: {line}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_CODE) from None


def cannot_encode(error: UnicodeEncodeError) -> str:
    """What to say of text that cannot be written, such as a file's name that is not UTF-8."""
    text = error.object[max(0, error.start - _AROUND) : error.end + _AROUND]
    todo = "rename the file if it is the name of one, or set PYTHONUTF8=1"
    return f"{text!r} cannot be written as {error.encoding}; {todo}"
