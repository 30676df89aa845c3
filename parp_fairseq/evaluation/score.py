"""Error rates of transcripts: edits, bootstrap intervals; as a table, as JSON, as transcripts."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from parp_fairseq.files import PNG, Kind, PathLike, begins_with, check_output, write_lines
from parp_fairseq.table import aligned

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
    """The 95% interval of an error rate, in percent, from utterances' errors and lengths.

    The percentile bootstrap (M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in
    ASR performance evaluation", ICASSP 2004): utterances are drawn with replacement; a drawn set's
    rate is the sum of its errors over the sum of its lengths. The interval reaches from the 2.5th
    to the 97.5th percentile of these rates; sets without any reference word do not count, and not
    all lengths are 0. It is a function of the arguments: the draws are seeded, and the same for as
    many utterances.
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
    """A checkpoint's errors on a split."""

    checkpoint: str
    data: str
    split: str
    labels: str
    metric: str  # WER or PER
    utterances: tuple[Utterance, ...] = field(repr=False)  # by row
    weights: str = "subnetwork"  # what was scored of the checkpoint: `subnetwork` (m⊙θ) or `theta`
    # Share of zeros among its prunable entries, in [0, 1]; None where it has none.
    zeros: float | None = None
    language: LanguageModel | None = None  # the language model that was searched with
    sparsity: float | None = None  # what the checkpoint was pruned to first; None: as it is

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


KINDS = {
    "--json": Kind("a file of scores", begins_with(b'[\n {\n  "checkpoint":')),
    "--png": PNG,
    "--transcripts": Kind("a file of transcripts", begins_with(b"id\treference\thypothesis")),
}
"""What each option of `parp eval` writes."""


def render_scores(scores: Sequence[Score]) -> str:
    """An aligned table, a score a row; columns of CER, weights and an LM where they differ."""
    with_characters = any(score.characters is not None for score in scores)
    others = any(s.weights != "subnetwork" or s.sparsity is not None for s in scores)
    header = ["checkpoint", "split", "metric", "%", "95% interval"]
    header += ["errors", "of", "sub", "ins", "del"]
    header += ["CER %", "95% interval"] if with_characters else []
    header += ["utts"] + (["weights", "zeros %"] if others else [])
    searched = any(score.language is not None for score in scores)
    header += ["LM weight", "word score"] if searched else []
    rows = []
    for score in scores:
        words, edits = score.words, score.words.total
        counts = (edits.errors, words.length, *vars(edits).values())
        row = [score.checkpoint, score.split, score.metric, *_rate(words)]
        row += [f"{count:,}" for count in counts]
        row += _rate(score.characters) if with_characters else []
        row += [f"{len(score.utterances):,}"]
        if others:
            row += [score.weights, "" if score.zeros is None else f"{100 * score.zeros:.2f}"]
        if score.language is not None:
            row += [f"{score.language.lm_weight:g}", f"{score.language.word_score:g}"]
        rows.append(row)
    return aligned(header, rows, left=3)


def _rate(rate: ErrorRate | None) -> list[str]:
    if rate is None:
        return ["", ""]
    low, high = rate.interval
    return [f"{rate.rate:.2f}", f"[{low:.2f}, {high:.2f}]"]


def scores_as_json(scores: Sequence[Score]) -> str:
    """A list with an object a score; `Score.to_json` describes its keys."""
    return json.dumps([score.to_json() for score in scores], indent=1)


def transcript_files(
    folder: PathLike, checkpoints: Sequence[PathLike], splits: Sequence[str]
) -> dict[tuple[str, str], Path]:
    """Where transcripts go: (checkpoint, split) → `folder/CHECKPOINT/SPLIT.tsv`.

    CHECKPOINT is the checkpoint's path below the innermost folder that holds all of them.
    """
    whole = [os.path.abspath(checkpoint) for checkpoint in checkpoints]
    shared = os.path.commonpath([os.path.dirname(path) for path in whole])
    return {
        (os.fspath(checkpoint), split): Path(folder, os.path.relpath(path, shared), f"{split}.tsv")
        for checkpoint, path in zip(checkpoints, whole)
        for split in splits
    }


def write_transcripts(score: Score, file: PathLike) -> None:
    """Write a TSV with a header (`docs/evaluation.md`): a row an utterance, in their order."""
    counts = ("substitutions", "insertions", "deletions")
    texts, units = ("reference", "hypothesis"), ("reference_units", "hypothesis_units")
    lines = ["\t".join(("id", *texts, *counts, *units))]
    for utterance in score.utterances:
        cells = [utterance.id, *(" ".join(getattr(utterance, text).split()) for text in texts)]
        cells += [str(getattr(utterance.words, count)) for count in counts]
        lines.append("\t".join([*cells, *(getattr(utterance, text) for text in units)]))
    write_lines(file, lines)


def check_outputs(
    outputs: Mapping[str, Iterable[PathLike]],
    models: Iterable[PathLike],
    data: PathLike,
    splits: Sequence[str],
    force: bool,
) -> None:
    """Check, before the work begins, that scores and transcripts may be written.

    `outputs` are files by option of KINDS; `models`, and the `splits` in the folder `data`, are
    read. UserError where a file is an input, already exists (without `force`), is of another kind,
    or cannot be written.
    """
    inputs = list(map(Path, models))
    for pattern in ("dict.*.txt", *(f"{glob.escape(split)}.*" for split in splits)):
        inputs += Path(data).glob(pattern)
    for option, files in outputs.items():
        for file in files:
            check_output(file, KINDS[option], inputs=inputs, force=force, option=option)
