"""Child processes: none outlives this one, and each failure becomes one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parp_fairseq.errors import UserError

# Runs share a machine better with one thread each, and sums come out alike on any number of cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

# On Linux a child asks to be killed when its parent dies (prctl's PR_SET_PDEATHSIG is 1), then
# becomes the program. Doing so after a fork, in this process's image, would not be safe.
_GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_SECONDS_TO_LEAVE = 5.0
_OURS = "parp: error: "
_TRACEBACK = "Traceback (most recent call last):"
# Hydra ends with this line; the paragraph before it says what is wrong.
_HYDRA_HINT = "Set the environment variable HYDRA_FULL_ERROR=1"
_HYDRA_NOISE = re.compile(r"(Config s|S)earch path:|\tprovider=")
_LINK = re.compile(r"See https?://\S+( for \w+)?")
_LONGEST = 400


def program(name: str) -> str:
    """The path of an installed program, from this environment where it has one.

    Raises:
        UserError: there is none.
    """
    neighbour = Path(sys.executable).with_name(name)
    path = str(neighbour) if neighbour.is_file() else shutil.which(name)
    if path is None:
        raise UserError(
            f"{name} was not found next to {sys.executable}; install this package there"
        )
    return path


@dataclass
class Child:
    """A program that was started; its output is appended to `log`."""

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

    It inherits the lock's file descriptor, so the folder stays locked while it runs; on Linux it is
    killed when this process dies.

    Args:
        arguments: the program's path and its arguments.
        folder: the folder to run in.
        log: a file for all its output; what is there stays.
        lock: a file descriptor to inherit.
        environment: variables to add to those of this process.
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
            # Ctrl-C reaches only the parent, which then ends its children one after the other.
            start_new_session=True,
        )
    return Child(log, process, position)


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


def cause(output: str) -> str:
    """Say in one line why a program failed, given all that it printed.

    That is its own one-line error if there is one, else the exception of the last traceback, else
    what Hydra says, else the last line.
    """
    lines = output.splitlines()
    ours = [line for line in lines if line.startswith(_OURS)]
    if ours:
        return ours[-1][len(_OURS) :]
    message = _raised(lines) or _refused_by_hydra(lines)
    if not message:
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    line = " ".join(_LINK.sub("", " ".join(message)).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _raised(lines: Sequence[str]) -> Sequence[str]:
    """All lines of the exception below the last traceback."""
    starts = [number for number, line in enumerate(lines) if line.endswith(_TRACEBACK)]
    first = starts[-1] + 1 if starts else len(lines)
    while first < len(lines) and (lines[first].startswith(" ") or not lines[first].strip()):
        first += 1
    last = first
    while last < len(lines) and lines[last].strip():
        last += 1
    return lines[first:last]


def _refused_by_hydra(lines: Sequence[str]) -> Sequence[str]:
    """The last paragraph before Hydra's hint; a search path says nothing."""
    hints = [number for number, line in enumerate(lines) if line.startswith(_HYDRA_HINT)]
    said = [line for line in lines[: hints[-1] if hints else 0] if not _HYDRA_NOISE.match(line)]
    while said and not said[-1].strip():
        said.pop()
    blank = [number for number, line in enumerate(said) if not line.strip()]
    return said[blank[-1] + 1 if blank else 0 :]
