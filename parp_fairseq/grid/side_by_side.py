"""Programs side by side, as many as asked for, each once those before it are done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.runs import children
from parp_fairseq.runs.progress import Clock, Progress

_SECONDS_BETWEEN_LOOKS = 0.25


@dataclass
class Step:
    """A program to run.

    Attributes:
        title: names it in progress and errors.
        arguments: its path and arguments.
        log: for its output.
        leaves: the file that it must leave.
        work: all of its work, in any unit.
        work_done: how much of it is done while it runs.
        after: steps that must be done before.
        done: whether there is nothing to do.
        announced: whether a line says that it is done.
    """

    title: str
    arguments: Sequence[str]
    log: Path
    leaves: Path
    work: float
    work_done: Callable[[], float] = float
    after: Sequence[Step] = ()
    done: bool = False
    announced: bool = False
    child: children.Child | None = None

    def progress(self) -> float:
        """How much of its work is done."""
        return self.work if self.done else min(self.work_done(), self.work)

    def finish(self) -> None:
        """See that the program, which has ended, did its work.

        Raises:
            UserError: it failed, or did not leave its file; the line names its log.
        """
        if self.child is not None and self.child.exit_code != 0:
            reason = self.child.failure()
            raise UserError(f"{self.title} failed: {reason} (its whole output: {self.log})")
        if not self.leaves.is_file():
            raise UserError(f"{self.title} left no {self.leaves}; its output is {self.log}")
        self.done = True


def run_steps(steps: Sequence[Step], folder: Path, jobs: int, lock: int) -> None:
    """Run in `folder` what is not done, `jobs` programs at a time, each with one thread.

    Args:
        steps: those that come first begin first.
        folder: where the programs start.
        jobs: at least 1.
        lock: a file descriptor that each program inherits.

    Raises:
        UserError: one failed; the others are ended.
    """
    if all(step.done for step in steps):
        return
    clock = Clock(sum(step.work for step in steps), sum(step.progress() for step in steps))
    with Progress(clock) as progress:
        try:
            while not all(step.done for step in steps):
                _look(steps, folder, jobs, lock, progress)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            children.stop([step.child for step in steps if step.child is not None])


def _look(steps: Sequence[Step], folder: Path, jobs: int, lock: int, progress: Progress) -> None:
    """Finish what has ended, start what can be started, show how far all is."""
    announced = [step for step in steps if step.announced]
    for step in steps:
        if step.child is not None and not step.done and step.child.exit_code is not None:
            step.finish()
            if step.announced:
                count = sum(other.done for other in announced)
                progress.say(f"{step.title} is done ({count} of {len(announced)})")
    running = [step for step in steps if step.child is not None and not step.done]
    for step in steps:
        ready = step.child is None and not step.done and all(other.done for other in step.after)
        if ready and len(running) < jobs:
            program = step.arguments[0]
            path = program if os.sep in program else children.program(program)
            arguments = [path, *step.arguments[1:]]
            step.child = children.start(arguments, folder, step.log, lock, children.ONE_THREAD)
            running.append(step)
    progress.show(
        sum(step.progress() for step in steps),
        {step.title: (step.progress(), step.work) for step in running},
    )
