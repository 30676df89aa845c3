"""How `parp` starts and ends: bad input, Ctrl-C and failing streams end in one line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from parp_fairseq.errors import EXIT_CODE, INTERRUPTED, reported

CLOSED_PIPE = 1
"""The exit code when the reader of standard output has left, as `head` does."""

_STANDARD_OUTPUT = "standard output"
# Characters that are shown on either side of one that cannot be written.
_AROUND = 80


def run(program: Callable[[], object]) -> int:
    """Run a program and return its exit code.

    Bad input (UserError), Ctrl-C and what the operating system refuses end in one line on standard
    error. A closed pipe ends it quietly. Any other exception is a bug, and raised.
    """
    with _patient_streams():
        try:
            code = _ended(program)
            if sys.stdout is not None:
                sys.stdout.flush()
        except UnicodeEncodeError as error:
            code = _end(f"parp: error: {_not_encoded(error)}")
        except OSError as error:
            if error.strerror is None:
                raise
            code = _refused(error)
    return code


def _ended(program: Callable[[], object]) -> int:
    """Run a program to its end; return its exit code."""
    try:
        with reported():
            program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return interrupted()
    return 0


def interrupted() -> int:
    """Say that Ctrl-C ended the program; return its exit code."""
    return _end("parp: interrupted", INTERRUPTED)


class _StandardOutput(io.FileIO):
    """Standard output whose errors say that they are its own."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = _STANDARD_OUTPUT
            raise


@contextlib.contextmanager
def _patient_streams() -> Iterator[None]:
    """Streams that write what their encoding lacks as \\u escapes, for ASCII terminals."""
    before = sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_StandardOutput(before.fileno(), "w", closefd=False)),
            encoding=before.encoding,
            errors="backslashreplace",
            line_buffering=bool(before.line_buffering),
        )
    try:
        yield
    finally:
        # One that failed is not asked to write once more.
        with contextlib.suppress(OSError, ValueError):
            if sys.stdout is not before:
                sys.stdout.close()
        sys.stdout = before


def _not_encoded(error: UnicodeEncodeError) -> str:
    """Say what cannot be written and what to do about it."""
    if error.encoding.lower() not in ("utf-8", "utf8"):
        text = error.object[error.start : error.end]
        return f"{text!r} cannot be written as {error.encoding}; set PYTHONUTF8=1"
    # Bytes of a file's name, which Python holds as half surrogate pairs.
    around = error.object[max(0, error.start - _AROUND) : error.end + _AROUND]
    return f"{around!r} cannot be written as UTF-8; rename the file if it is the name of one"


def _refused(error: OSError) -> int:
    """Report what the operating system refused; return the exit code."""
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    if error.filename == _STANDARD_OUTPUT:
        return _end(f"parp: error: {_STANDARD_OUTPUT} cannot be written ({error.strerror})")
    name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return _end(f"parp: error: {name}{error.strerror}")


def _end(line: str, code: int = EXIT_CODE) -> int:
    # Standard error may be on a full disk as well: then only the exit code says it.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    return code
