"""Progress of long work: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median_low
from typing import Any

_UPDATES = re.compile(rb'"num_updates": "?(\d+)')
_TAIL_BYTES = 16_384
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_OF_A_PACE = 10.0


def updates_done(log: Path) -> int:
    """The last number of updates in a run's JSON log; 0 if there is none."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL_BYTES))
            numbers = _UPDATES.findall(stream.read())
    except OSError:
        return 0
    return int(numbers[-1]) if numbers else 0


def duration(seconds: float) -> str:
    """Seconds as "3:05" minutes."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


class Progress:
    """Shows on standard error what runs; without a thread, since its users start processes."""

    def __init__(self, total: float, done: float) -> None:
        """Begin: `total` work, in any unit, of which `done` was done before."""
        self._total = total
        self._begun = self._last_line = time.monotonic()
        self._seen = (self._begun, done)
        self._paces: deque[float] = deque(maxlen=30)
        self._bars: Any = self._make_bars() if sys.stderr.isatty() else None
        self._tasks: dict[str, Any] = {}

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
        """Remove the bars."""
        if self._bars is not None:
            self._bars.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        text = f"[{duration(time.monotonic() - self._begun)}] {line}"
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def show(self, done: float, running: Mapping[str, tuple[float, float]]) -> None:
        """Show the whole and its parts.

        Args:
            done: work done, in the unit of the total.
            running: what runs now → how much of it is done, of how much.
        """
        remaining = self._remaining(done)
        if self._bars is None:
            if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
                self._last_line = time.monotonic()
                parts = ", ".join(f"{name} {100 * a / b:.0f}%" for name, (a, b) in running.items())
                self.say(f"{parts}{'; ' if remaining else ''}{remaining}")
            return
        wanted = {"all": (done, self._total), **running}
        for name in set(self._tasks) - set(wanted):
            self._bars.remove_task(self._tasks.pop(name))
        for name, (part, whole) in wanted.items():
            note = remaining if name == "all" else ""
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=whole, note=note)
            self._bars.update(self._tasks[name], completed=part, note=note)
        self._bars.refresh()

    def _remaining(self, done: float) -> str:
        """The time left at the median of the last paces; "" before there is one."""
        now, (before, done_before) = time.monotonic(), self._seen
        if now - before >= _SECONDS_OF_A_PACE and done > done_before:
            self._paces.append((done - done_before) / (now - before))
            self._seen = (now, done)
        if not self._paces:
            return ""
        return f"about {duration((self._total - done) / median_low(self._paces))} left"
