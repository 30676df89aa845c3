"""Programs that run side by side, a given number at a time, each after those that it needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.runs import children
from parp_fairseq.runs.progress import Progress

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass
class Step:
    """A program to run.

    Attributes:
        title: names it in progress and errors.
        arguments: its path, or name in this environment, and its arguments.
        log: for its output.
        leaves: the file that it must leave.
        work: all of its work, in any unit.
        work_done: how much of it is done while it runs.
        after: steps that must be done before.
        then: called when the program has ended well; what it returns is told with `announced`.
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
    then: Callable[[], str | None] | None = None
    done: bool = False
    announced: bool = False
    child: children.Child | None = None

    def progress(self) -> float:
        """How much of its work is done."""
        return self.work if self.done else min(self.work_done(), self.work)

    def finish(self) -> str:
        """Check what the program, which has ended, leaves; return what `then` says of it.

        Raises:
            UserError: it failed, or left nothing; its log is named.
        """
        if self.child is not None and self.child.exit_code != 0:
            reason = self.child.failure()
            raise UserError(f"{self.title} failed: {reason} (its whole output: {self.log})")
        if not self.leaves.is_file():
            raise UserError(f"{self.title} left no {self.leaves}; its output is {self.log}")
        said = self.then() if self.then is not None else None
        self.done = True
        return f": {said}" if said else ""


def run_steps(
    steps: Sequence[Step],
    folder: Path,
    jobs: int,
    lock: int,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run what is not done, `jobs` programs at a time.

    Args:
        steps: those that come first begin first.
        folder: where the programs start.
        jobs: at least 1.
        lock: a file descriptor that each program inherits.
        environment: variables to add to those of this process.

    Raises:
        UserError: one failed; the others are ended.
    """
    if all(step.done for step in steps):
        return
    done = sum(step.progress() for step in steps)
    with Progress(sum(step.work for step in steps), done) as progress:
        try:
            while not all(step.done for step in steps):
                _finish_ended(steps, progress)
                running = [step for step in steps if step.child is not None and not step.done]
                for step in steps:
                    ready = all(other.done for other in step.after)
                    if step.child is None and not step.done and ready and len(running) < jobs:
                        program, *rest = step.arguments
                        path = program if os.sep in program else children.program(program)
                        step.child = children.start(
                            [path, *rest], folder, step.log, lock, environment
                        )
                        running.append(step)
                progress.show(
                    sum(step.progress() for step in steps),
                    {step.title: (step.progress(), step.work) for step in running},
                )
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            children.stop([step.child for step in steps if step.child is not None])


def _finish_ended(steps: Sequence[Step], progress: Progress) -> None:
    announced = [step for step in steps if step.announced]
    for step in steps:
        if step.child is not None and not step.done and step.child.exit_code is not None:
            said = step.finish()
            if step.announced:
                count = sum(other.done for other in announced)
                progress.say(f"{step.title} is done ({count} of {len(announced)}){said}")
