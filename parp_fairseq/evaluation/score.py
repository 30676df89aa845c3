"""Error rates of transcripts: the edits they are made of, and their bootstrap intervals."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from parp_fairseq.inference.beam_search import LanguageModel

RESAMPLES = 10_000
"""Test sets drawn for an interval; each has as many utterances as the real one."""

SEED = 1
_AT_ONCE = 1_000_000  # Utterances drawn in one array: about 24 MB.


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


def edit_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> EditCounts:
    """The fewest edits from `reference` to `hypothesis`, words or the characters of a string.

    Where several alignments have as few edits, the one with the most substitutions counts.
    """
    # rapidfuzz breaks such ties in its own way. So costs are pairs (edits, insertions and
    # deletions) in one number: the smallest total leaves no choice and gives the kinds of edits.
    substitution = len(reference) + len(hypothesis) + 1
    move = substitution + 1
    sides: list[Sequence[Hashable]] = [reference, hypothesis]
    if not isinstance(reference, str):
        # rapidfuzz compares words by their hashes, which may collide.
        numbers: dict[str, int] = {}
        sides = [[numbers.setdefault(word, len(numbers)) for word in words] for words in sides]
    cost = Levenshtein.distance(*sides, weights=(move, move, substitution))
    errors, moves = divmod(cost, substitution)
    # Insertions less deletions is what the lengths differ by.
    insertions = (moves + len(hypothesis) - len(reference)) // 2
    return EditCounts(errors - moves, insertions, moves - insertions)


def bootstrap_interval(errors: Sequence[int], lengths: Sequence[int]) -> tuple[float, float]:
    """The 95% interval of an error rate, in percent.

    The percentile bootstrap over utterances (M. Bisani and H. Ney, "Bootstrap estimates for
    confidence intervals in ASR performance evaluation", ICASSP 2004): utterances are drawn with
    replacement; a drawn set's rate is the sum of its errors over the sum of its lengths. The
    interval reaches from the 2.5th to the 97.5th percentile of these rates (sets without any
    reference word have no rate and do not count). It is a function of the arguments: the draws
    are seeded, and the same for as many utterances.

    Args:
        errors: edits, an utterance each.
        lengths: words (or phones, or characters) of the references; not all of them 0.
    """
    utterances = np.array([errors, lengths], dtype=np.int64)
    count = utterances.shape[1]
    random = np.random.default_rng(SEED)
    sums = np.empty((2, RESAMPLES), dtype=np.int64)
    rows = max(1, _AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(count, size=(min(rows, RESAMPLES - start), count))
        for total, values in zip(sums, utterances):
            total[start : start + rows] = values[drawn].sum(axis=1)
    wrong, length = sums[:, sums[1] > 0]
    low, high = np.percentile(wrong * 100.0 / length, (2.5, 97.5))
    return float(low), float(high)


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
        # In fairseq's "archive.zip:offset:length" only the numbers differ.
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

    @cached_property
    def total(self) -> EditCounts:
        """The edits of all utterances; one with an empty reference has only insertions."""
        kinds = ("substitutions", "insertions", "deletions")
        return EditCounts(*(sum(getattr(each, kind) for each in self.counts) for kind in kinds))

    @property
    def errors(self) -> int:
        """All edits."""
        return self.total.errors

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
        language: the language model that was searched with.
        sparsity: what the checkpoint was pruned to first; None: as it is.
    """

    checkpoint: str
    data: str
    split: str
    labels: str
    metric: str
    utterances: tuple[Utterance, ...] = field(repr=False)
    weights: str = "subnetwork"
    zeros: float | None = None
    language: LanguageModel | None = None
    sparsity: float | None = None

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
            "sparsity": self.sparsity,
            **{
                key: os.fspath(value) if isinstance(value, os.PathLike) else value
                for key in ("lm", "lexicon", "beam", "lm_weight", "word_score")
                for value in [getattr(self.language, key, None)]
            },
        }


def _numbers(rate: ErrorRate | None, name: str, prefix: str) -> dict[str, Any]:
    kinds = ("substitutions", "insertions", "deletions")
    counts = (f"{prefix}{count}" for count in ("errors", "length", *kinds))
    keys = (name, f"{name}_low", f"{name}_high", *counts)
    if rate is None:
        return dict.fromkeys(keys)
    edits = (getattr(rate.total, kind) for kind in kinds)
    return dict(zip(keys, (rate.rate, *rate.interval, rate.errors, rate.length, *edits)))
