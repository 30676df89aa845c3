"""What a builder wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.table import aligned


@dataclass(frozen=True)
class SplitSummary:
    """One split: where it lies below the output folder, and how much it holds."""

    folder: str
    split: str
    utterances: int
    samples: int
    words: int

    @property
    def hours(self) -> float:
        """Length at 16 kHz, in hours."""
        return self.samples / SAMPLE_RATE / 3600


@dataclass(frozen=True)
class BuildSummary:
    """All splits that a builder wrote, and what it left out and why."""

    out: Path
    splits: tuple[SplitSummary, ...]
    missing_parts: tuple[str, ...] = ()
    transcripts_without_audio: int = 0
    overrides: tuple[str, ...] = ()
    """For each folder with a training split, what to add to fairseq-hydra-train's command."""
    warnings: tuple[str, ...] = ()
    """What training will refuse, a line each."""

    def render(self) -> str:
        """An aligned table, one split a row, and a line for each thing left out."""
        rows = [
            (s.folder, s.split, f"{s.utterances:,}", f"{s.hours:.2f}", f"{s.words:,}")
            for s in self.splits
        ]
        lines = [aligned(("folder", "split", "utterances", "hours", "words"), rows, left=2)]
        lines += [f"left out: {part} (not found)" for part in self.missing_parts]
        if self.transcripts_without_audio:
            lines.append(f"left out: {self.transcripts_without_audio:,} transcripts without audio")
        lines += [f"warning: {line}" for line in self.warnings]
        lines += [f"train with: {line}" for line in self.overrides]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "out": str(self.out),
            "splits": [{**asdict(split), "hours": split.hours} for split in self.splits],
            "missing_parts": list(self.missing_parts),
            "transcripts_without_audio": self.transcripts_without_audio,
            "overrides": list(self.overrides),
            "warnings": list(self.warnings),
        }
