"""The `parp` command: bad input, Ctrl-C and failing streams end it in one line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable

from parp_fairseq.errors import EXIT_CODE, INTERRUPTED, cannot_encode, reported

CLOSED_PIPE = 1
"""The exit code when the reader of standard output has left, as `head` does."""


def main() -> None:
    """Run the command; bad input ends in one line and exit code 2."""
    sys.exit(run(_commands))


def _commands() -> None:
    # Imported here, so that Ctrl-C has one answer as early as can be.
    from parp_fairseq.cli.commands import app

    app()


def run(program: Callable[[], object]) -> int:
    """Run a program and return its exit code.

    Bad input (UserError), Ctrl-C and what the operating system refuses end in one line on standard
    error. A closed pipe ends it quietly. Any other exception is a bug, and raised.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An ASCII terminal gets \u escapes of what it cannot show.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _exit_code(program)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UnicodeEncodeError as error:
        code = _end(f"parp: error: {cannot_encode(error)}")
    except OSError as error:
        if error.strerror is None:
            raise
        _drop_output()
        if isinstance(error, BrokenPipeError):
            return CLOSED_PIPE
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        code = _end(f"parp: error: {name}{error.strerror}")
    return code


def _exit_code(program: Callable[[], object]) -> int:
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


def _drop_output() -> None:
    """Where standard output failed, let Python not write the rest of it once more at its exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(line: str, code: int = EXIT_CODE) -> int:
    # Standard error may be on a full disk as well: then only the exit code says it.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    return code
