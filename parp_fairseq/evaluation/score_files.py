"""Scores as a table for people, as rows for programs, and transcripts to read."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from parp_fairseq.evaluation.score import ErrorRate, Score
from parp_fairseq.files import PNG, Kind, PathLike, begins_with, check_output, write_lines
from parp_fairseq.table import aligned

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

    Args:
        outputs: option of KINDS → the files that it names.
        models: the files of weights that are read.
        data: the folder of the `splits`, which are read too.
        force: replace files of the same kinds.

    Raises:
        UserError: a file is an input, already exists (without `force`), is of another kind, or
            cannot be written.
    """
    inputs = list(map(Path, models))
    for pattern in ("dict.*.txt", *(f"{glob.escape(split)}.*" for split in splits)):
        inputs += Path(data).glob(pattern)
    for option, files in outputs.items():
        for file in files:
            check_output(file, KINDS[option], inputs=inputs, force=force, option=option)
