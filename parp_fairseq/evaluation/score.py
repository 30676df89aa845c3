"""Error rates, and what they are made of."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from parp_fairseq.evaluation.bootstrap import bootstrap_interval
from parp_fairseq.evaluation.edits import EditCounts, edit_counts


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

    @property
    def id(self) -> str:
        """The audio file's name without its ending."""
        name = os.path.basename(self.path)
        # fairseq's "archive.zip:offset:length" has nothing else to tell utterances apart.
        return name if ":" in name else os.path.splitext(name)[0]

    @cached_property
    def words(self) -> EditCounts:
        """Edits between the words, or the phones."""
        return edit_counts(self.reference.split(), self.hypothesis.split())

    @cached_property
    def characters(self) -> EditCounts:
        """Edits between the characters, the spaces between words included."""
        return edit_counts(self.reference.strip(), self.hypothesis.strip())


@dataclass(frozen=True)
class ErrorRate:
    """One metric over a split: WER, CER or PER. `counts` and `lengths` by utterance."""

    metric: str
    counts: tuple[EditCounts, ...] = field(repr=False)
    lengths: tuple[int, ...] = field(repr=False)

    @property
    def length(self) -> int:
        """Words (phones, characters) of all references; an empty one adds none."""
        return sum(self.lengths)

    @property
    def substitutions(self) -> int:
        """Reference words replaced by others."""
        return sum(counts.substitutions for counts in self.counts)

    @property
    def insertions(self) -> int:
        """Hypothesis words that the reference lacks: all of them where it is empty."""
        return sum(counts.insertions for counts in self.counts)

    @property
    def deletions(self) -> int:
        """Reference words that the hypothesis lacks."""
        return sum(counts.deletions for counts in self.counts)

    @property
    def errors(self) -> int:
        """All edits."""
        return sum(counts.errors for counts in self.counts)

    @property
    def rate(self) -> float:
        """Errors per reference word, in percent, in the very arithmetic of fairseq's infer."""
        return self.errors * 100.0 / self.length

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The rate's 95% bootstrap interval over utterances, in percent."""
        return bootstrap_interval([counts.errors for counts in self.counts], self.lengths)


@dataclass(frozen=True)
class Score:
    """A checkpoint's errors on a split.

    Attributes:
        metric: WER or PER.
        utterances: by row.
        weights: what was scored of the checkpoint: `subnetwork` (m⊙θ) or `theta`.
        zeros: share of zeros among its prunable entries, in [0, 1]; None where it has none.
    """

    checkpoint: str
    data: str
    split: str
    labels: str
    metric: str
    utterances: tuple[Utterance, ...] = field(repr=False)
    weights: str = "subnetwork"
    zeros: float | None = None

    @cached_property
    def words(self) -> ErrorRate:
        """The WER, or the PER of phones."""
        return ErrorRate(
            self.metric,
            tuple(utterance.words for utterance in self.utterances),
            tuple(len(utterance.reference.split()) for utterance in self.utterances),
        )

    @cached_property
    def characters(self) -> ErrorRate | None:
        """The CER; None where phones are scored."""
        if self.metric == "PER":
            return None
        return ErrorRate(
            "CER",
            tuple(utterance.characters for utterance in self.utterances),
            tuple(len(utterance.reference.strip()) for utterance in self.utterances),
        )

    @property
    def rate(self) -> float:
        """The WER or PER in percent."""
        return self.words.rate

    def to_json(self) -> dict[str, Any]:
        """Plain types only, the same keys for every metric; rates and their bounds in percent.

        `rate`, `errors` … are the WER's or PER's, `cer`, `cer_errors` … the CER's (None for
        phones).
        """
        return {
            "checkpoint": self.checkpoint,
            "data": self.data,
            "split": self.split,
            "labels": self.labels,
            "metric": self.metric,
            **_numbers(self.words, "rate", ""),
            **_numbers(self.characters, "cer", "cer_"),
            "utterances": len(self.utterances),
            "weights": self.weights,
            "zeros": self.zeros,
        }


def _numbers(rate: ErrorRate | None, name: str, prefix: str) -> dict[str, Any]:
    counts = ("errors", "length", "substitutions", "insertions", "deletions")
    keys = (name, f"{name}_low", f"{name}_high", *(f"{prefix}{count}" for count in counts))
    if rate is None:
        return dict.fromkeys(keys)
    values = (rate.rate, *rate.interval, *(getattr(rate, count) for count in counts))
    return dict(zip(keys, values))
