"""Programs that run side by side, a given number at a time, each after those that it needs.

None outlives this process, and each failure becomes one line.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.runs.progress import Progress

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
_SECONDS_BETWEEN_LOOKS = 0.2
_OURS = "parp: error: "
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception)\b")
_LONGEST = 400


def program_path(name: str) -> str:
    """The path of an installed program, from this environment where it has one.

    Raises UserError: there is none.
    """
    neighbour = Path(sys.executable).with_name(name)
    path = str(neighbour) if neighbour.is_file() else shutil.which(name)
    if path is None:
        raise UserError(
            f"{name} was not found next to {sys.executable}; install this package there"
        )
    return path


def cause(output: str) -> str:
    """Say in one line why a program failed, given all that it printed.

    That is its own one-line error if there is one, else the last exception, else the last line.
    """
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    ours = [line[len(_OURS) :] for line in lines if line.startswith(_OURS)]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    line = (ours or raised or lines or ["no output"])[-1].strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


@dataclass
class Step:
    """A program to run."""

    title: str  # names it in progress and errors
    arguments: Sequence[str]  # its path, or name in this environment, and its arguments
    log: Path  # for its output
    leaves: Path  # the file that it must leave
    work: float  # all of its work, in any unit
    work_done: Callable[[], float] = float  # how much of it is done while it runs
    after: Sequence[Step] = ()  # steps that must be done before
    # Called when the program has ended well; what it returns is printed with `announced`.
    then: Callable[[], str | None] | None = None
    done: bool = False  # whether there is nothing to do
    announced: bool = False  # whether a line says that it is done
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    log_start: int = 0  # where the output of this start begins

    @property
    def exit_code(self) -> int | None:
        """None before it runs and while it does."""
        return None if self.process is None else self.process.poll()

    def start(self, folder: Path, lock: int, environment: Mapping[str, str] | None = None) -> None:
        """Start the program in `folder`, with `environment` besides this process's.

        It inherits the lock's file descriptor, so the folder stays locked while it runs; on Linux
        it is killed when this process dies.
        """
        program, *rest = self.arguments
        command = [program if os.sep in program else program_path(program), *rest]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        guard = []
        if sys.platform == "linux":
            guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
        with self.log.open("ab") as stream:
            stream.write(f"$ {' '.join(command)}\n".encode())
            stream.flush()
            self.log_start = stream.tell()
            self.process = subprocess.Popen(
                [*guard, *command],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                # Ctrl-C reaches only the parent, which then ends its children one after the other.
                start_new_session=True,
            )

    def failure(self) -> str:
        """Say in one line why it failed."""
        code = self.exit_code or 0
        if code < 0:
            return f"it was killed by signal {-code} (9 is what a lack of memory sends)"
        return cause(self.log.read_bytes()[self.log_start :].decode("utf-8", "replace"))

    def progress(self) -> float:
        """How much of its work is done."""
        return self.work if self.done else min(self.work_done(), self.work)

    def finish(self) -> str:
        """Check what the program, which has ended, leaves; return what `then` says of it.

        Raises UserError: it failed, or left nothing; its log is named.
        """
        if self.process is not None and self.exit_code != 0:
            raise UserError(f"{self.title} failed: {self.failure()} (its whole output: {self.log})")
        if not self.leaves.is_file():
            raise UserError(f"{self.title} left no {self.leaves}; its output is {self.log}")
        said = self.then() if self.then is not None else None
        self.done = True
        return f": {said}" if said else ""


def stop(steps: Sequence[Step]) -> None:
    """End what runs of these programs, and wait until they are gone."""
    running = [s.process for s in steps if s.process is not None and s.exit_code is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    jobs: int,
    lock: int,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run what is not done, `jobs` programs at a time; those that come first begin first.

    Each starts in `folder`, inherits the file descriptor `lock` and gets `environment` besides this
    process's. UserError where one failed; the others are ended.
    """
    if all(step.done for step in steps):
        return
    done = sum(step.progress() for step in steps)
    with Progress(sum(step.work for step in steps), done) as progress:
        try:
            while not all(step.done for step in steps):
                _finish_ended(steps, progress)
                running = [step for step in steps if step.process is not None and not step.done]
                for step in steps:
                    ready = all(other.done for other in step.after)
                    if step.process is None and not step.done and ready and len(running) < jobs:
                        step.start(folder, lock, environment)
                        running.append(step)
                progress.show(
                    sum(step.progress() for step in steps),
                    {step.title: (step.progress(), step.work) for step in running},
                )
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            stop(steps)


def _finish_ended(steps: Sequence[Step], progress: Progress) -> None:
    announced = [step for step in steps if step.announced]
    for step in steps:
        if not step.done and step.exit_code is not None:
            said = step.finish()
            if step.announced:
                count = sum(other.done for other in announced)
                progress.say(f"{step.title} is done ({count} of {len(announced)}){said}")
