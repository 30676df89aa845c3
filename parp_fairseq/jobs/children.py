"""Programs that ours starts, none of which outlives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.jobs.failures import cause

# On Linux a child asks to be killed when its parent dies (prctl's PR_SET_PDEATHSIG is 1), then
# becomes the program. Doing so after a fork, in this process's image, would not be safe.
_GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_SECONDS_TO_LEAVE = 5.0


def program(name: str) -> str:
    """The path of an installed program, of this very environment where it has one.

    Raises:
        UserError: there is none.
    """
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.is_file() else shutil.which(name)
    if path is None:
        raise UserError(f"{name} was not found beside {sys.executable}; install this package there")
    return path


@dataclass
class Child:
    """A program that was started; its output goes to the end of `log`."""

    arguments: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    log_start: int = 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def failure(self) -> str:
        """Say in one line why it failed."""
        with self.log.open("rb") as stream:
            stream.seek(self.log_start)
            output = stream.read().decode("utf-8", "replace")
        code = self.exit_code or 0
        if code < 0:
            return f"it was killed by signal {-code} (9 is what a lack of memory sends)"
        return cause(output)


def start(
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    lock: int,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start a program in `folder`.

    It inherits the lock's file descriptor, so that a program of ours that is started while it is
    still there finds the folder locked; on Linux it is killed when this process dies.

    Args:
        arguments: the program's path and its arguments.
        folder: the folder to run in.
        log: a file for all its output; what is there stays.
        lock: a file descriptor to inherit.
        environment: variables to set beside those of this process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guard = []
    if sys.platform == "linux":
        guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
    with log.open("ab") as stream:
        stream.write(f"$ {' '.join(arguments)}\n".encode())
        stream.flush()
        position = stream.tell()
        process = subprocess.Popen(
            [*guard, *arguments],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            # Ctrl-C is for the parent alone, which then ends its children one after the other.
            start_new_session=True,
        )
    return Child(arguments, log, process, position)


def stop(children: Sequence[Child]) -> None:
    """End these programs and wait until they are gone."""
    running = [child.process for child in children if child.exit_code is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
