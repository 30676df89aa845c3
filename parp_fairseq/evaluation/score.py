"""Error rates: what they are made of, and how they are shown and kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from parp_fairseq.manifests.staging import staged
from parp_fairseq.manifests.tsv import write_lines

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class EditCounts:
    """Edits that turn a reference into a hypothesis."""

    substitutions: int
    insertions: int
    deletions: int

    @property
    def errors(self) -> int:
        """The edit distance."""
        return self.substitutions + self.insertions + self.deletions


@dataclass(frozen=True)
class Utterance:
    """One utterance decoded.

    `row` counts the manifest's audio files from 0. `reference` and `hypothesis` are what is
    scored (words, or phones with spaces between); the `_units` are the dictionary's symbols.
    """

    row: int
    path: str
    reference: str
    hypothesis: str
    reference_units: str
    hypothesis_units: str
    counts: EditCounts

    @property
    def id(self) -> str:
        """The audio file's name without its ending."""
        return os.path.basename(self.path).split(".")[0]


@dataclass(frozen=True)
class Score:
    """A checkpoint's errors on a split. `metric` is WER or PER, `utterances` by row."""

    checkpoint: str
    data: str
    split: str
    labels: str
    metric: str
    utterances: tuple[Utterance, ...] = field(repr=False)

    @property
    def length(self) -> int:
        """Words (or phones) of all references."""
        return sum(len(utterance.reference.split()) for utterance in self.utterances)

    @property
    def substitutions(self) -> int:
        """Reference words replaced by others."""
        return sum(utterance.counts.substitutions for utterance in self.utterances)

    @property
    def insertions(self) -> int:
        """Hypothesis words that the reference lacks."""
        return sum(utterance.counts.insertions for utterance in self.utterances)

    @property
    def deletions(self) -> int:
        """Reference words that the hypothesis lacks."""
        return sum(utterance.counts.deletions for utterance in self.utterances)

    @property
    def errors(self) -> int:
        """All edits."""
        return sum(utterance.counts.errors for utterance in self.utterances)

    @property
    def rate(self) -> float:
        """Errors per reference word, in percent, in the very arithmetic of fairseq's infer."""
        return self.errors * 100.0 / self.length

    def to_json(self, *, with_utterances: bool = False) -> dict[str, Any]:
        """Plain types only; `rate` in percent."""
        result: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "data": self.data,
            "split": self.split,
            "labels": self.labels,
            "metric": self.metric,
            "rate": self.rate,
            "errors": self.errors,
            "length": self.length,
            "substitutions": self.substitutions,
            "insertions": self.insertions,
            "deletions": self.deletions,
            "utterances": len(self.utterances),
        }
        if with_utterances:
            result["transcripts"] = [
                {
                    "id": utterance.id,
                    "path": utterance.path,
                    "reference": utterance.reference,
                    "hypothesis": utterance.hypothesis,
                    "errors": utterance.counts.errors,
                }
                for utterance in self.utterances
            ]
        return result


def edit_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> EditCounts:
    """The fewest edits from `reference` to `hypothesis`.

    Where several alignments have as few edits, the one with the most substitutions counts.
    """
    start = 0
    end_r, end_h = len(reference), len(hypothesis)
    while start < min(end_r, end_h) and reference[start] == hypothesis[start]:
        start += 1
    while end_r > start and end_h > start and reference[end_r - 1] == hypothesis[end_h - 1]:
        end_r -= 1
        end_h -= 1
    reference, hypothesis = reference[start:end_r], hypothesis[start:end_h]

    # Costs are pairs (edits, insertions and deletions) in one number, so that the smallest total
    # breaks ties and tells the kinds of edits without walking back through the table.
    edit = len(reference) + len(hypothesis) + 1
    above = [column * (edit + 1) for column in range(len(hypothesis) + 1)]
    for wanted in reference:
        left = above[0] + edit + 1
        row = [left]
        for column, found in enumerate(hypothesis):
            left = min(
                above[column] + (0 if wanted == found else edit),
                above[column + 1] + edit + 1,
                left + edit + 1,
            )
            row.append(left)
        above = row
    errors, moves = divmod(above[-1], edit)
    # Insertions less deletions is what the lengths differ by.
    insertions = (moves + len(hypothesis) - len(reference)) // 2
    return EditCounts(errors - moves, insertions, moves - insertions)


def render_scores(scores: Sequence[Score]) -> str:
    """An aligned table, one score a row."""
    header = ("checkpoint", "split", "metric", "%", "errors", "of", "sub", "ins", "del", "utts")
    rows = [header]
    for score in scores:
        rows.append(
            (
                score.checkpoint,
                score.split,
                score.metric,
                f"{score.rate:.2f}",
                f"{score.errors:,}",
                f"{score.length:,}",
                f"{score.substitutions:,}",
                f"{score.insertions:,}",
                f"{score.deletions:,}",
                f"{len(score.utterances):,}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def write_transcripts(score: Score, folder: PathLike) -> None:
    """Write `hypo.word`, `ref.word`, `hypo.units` and `ref.units`, all or none.

    A line is `text (id)`, the form that sclite reads, in the manifest's order. Raises UserError
    when the folder cannot be written.
    """
    with staged(Path(folder)) as stage:
        for name, attribute in (
            ("hypo.word", "hypothesis"),
            ("ref.word", "reference"),
            ("hypo.units", "hypothesis_units"),
            ("ref.units", "reference_units"),
        ):
            lines = (f"{getattr(u, attribute)} ({u.id})" for u in score.utterances)
            write_lines(stage / name, lines)
