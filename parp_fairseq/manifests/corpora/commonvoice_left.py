"""What a Common Voice build leaves out, by reason."""

from __future__ import annotations

_NAMED = 3


class LeftOut:
    """Counts by reason, with the first few names of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count one thing that was left out."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        names = self.names.setdefault(reason, [])
        if len(names) < _NAMED:
            names.append(name)

    def lines(self) -> list[str]:
        """A line a reason, such as `left out: damaged audio (4): a, b, c, …`."""
        return [
            f"left out: {reason} ({count:,}): {', '.join(self.names[reason])}"
            + (", …" if count > _NAMED else "")
            for reason, count in self.counts.items()
        ]

    def to_json(self) -> dict[str, dict[str, object]]:
        """Reason → count and the first names."""
        return {
            reason: {"count": count, "first": self.names[reason]}
            for reason, count in self.counts.items()
        }
