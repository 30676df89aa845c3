"""How far a long piece of work is: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_UPDATES = re.compile(rb'"num_updates": "?(\d+)')
_EPOCHS = re.compile(rb'"update": (\d+(?:\.\d+)?)')
_TAIL_BYTES = 16_384
_SECONDS_BETWEEN_LINES = 30.0


def updates_done(log: Path) -> int:
    """The last number of updates in a run's JSON log; 0 if there is none."""
    return int(_last(_UPDATES, log))


def epochs_done(log: Path) -> float:
    """The last number of epochs, with parts of them, in a run's JSON log; 0 if there is none."""
    return float(_last(_EPOCHS, log))


def _last(number: re.Pattern[bytes], log: Path) -> bytes:
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            numbers = number.findall(stream.read())
    except OSError:
        return b"0"
    return numbers[-1] if numbers else b"0"


def duration(seconds: float) -> str:
    """Seconds as "3:05" minutes."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


class Clock:
    """Estimates the time left from the work that was done while it was watched."""

    def __init__(self, total: float, done: float) -> None:
        """Begin: `total` work, in any unit, of which `done` was done before."""
        self.total = total
        self._first = done
        self._begun = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._begun

    def left(self, done: float) -> float | None:
        """Seconds to the end at the pace so far; None before there is one."""
        gained = done - self._first
        if gained <= 0 or self.elapsed < 1:
            return None
        return (self.total - done) * self.elapsed / gained


class Progress:
    """Shows what runs; it has no thread of its own, since its users start processes."""

    def __init__(self, clock: Clock) -> None:
        """Begin to show, on standard error."""
        self.clock = clock
        self._last_line = time.monotonic()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        if sys.stderr.isatty():
            self._bars = self._make_bars()

    def _make_bars(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=36),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[note]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        bars.start()
        return bars

    def __enter__(self) -> Progress:
        """Nothing to do."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        text = f"[{duration(self.clock.elapsed)}] {line}"
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def show(self, done: float, running: Mapping[str, tuple[float, float]]) -> None:
        """Show the whole and its parts.

        Args:
            done: work done, in the clock's unit.
            running: what runs now → how much of it is done, of how much.
        """
        left = self.clock.left(done)
        remaining = "" if left is None else f"about {duration(left)} left"
        if self._bars is None:
            if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
                self._last_line = time.monotonic()
                parts = ", ".join(f"{name} {100 * a / b:.0f}%" for name, (a, b) in running.items())
                self.say(f"{parts}{'; ' if remaining else ''}{remaining}")
            return
        wanted = {"all": (done, self.clock.total), **running}
        for name in [name for name in self._tasks if name not in wanted]:
            self._bars.remove_task(self._tasks.pop(name))
        for name, (part, whole) in wanted.items():
            note = remaining if name == "all" else ""
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=whole, note=note)
            self._bars.update(self._tasks[name], completed=part, note=note)
        self._bars.refresh()
