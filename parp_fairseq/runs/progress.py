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

from tqdm import tqdm

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
        self._begun = self._last_line = time.monotonic()
        self._seen = (self._begun, done)
        self._paces: deque[float] = deque(maxlen=30)
        form = "{percentage:3.0f}%|{bar:36}| {desc}"
        # None: shown on a terminal.
        self._bar = tqdm(total=total, bar_format=form, disable=None, leave=False)

    def __enter__(self) -> Progress:
        """Nothing to do."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Remove the bar."""
        self._bar.close()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        tqdm.write(f"[{duration(time.monotonic() - self._begun)}] {line}", file=sys.stderr)
        sys.stderr.flush()

    def show(self, done: float, running: Mapping[str, tuple[float, float]]) -> None:
        """Show the whole, of which so much is done, and what runs now → how much of how much."""
        parts = ", ".join(f"{name} {100 * a / b:.0f}%" for name, (a, b) in running.items())
        line = "; ".join(filter(None, (parts, self._remaining(done))))
        if not self._bar.disable:
            self._bar.n = done
            self._bar.set_description_str(line)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(line)

    def _remaining(self, done: float) -> str:
        """The time left at the median of the last paces; "" before there is one."""
        now, (before, done_before) = time.monotonic(), self._seen
        if now - before >= _SECONDS_OF_A_PACE and done > done_before:
            self._paces.append((done - done_before) / (now - before))
            self._seen = (now, done)
        if not self._paces:
            return ""
        return f"about {duration((self._bar.total - done) / median_low(self._paces))} left"
