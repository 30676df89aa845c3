"""Scores as a table for people, as rows for programs, and transcripts to read."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Union

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.score import ErrorRate, Score
from parp_fairseq.files import staged, write_lines
from parp_fairseq.table import aligned

PathLike = Union[str, "os.PathLike[str]"]


def render_scores(scores: Sequence[Score]) -> str:
    """An aligned table, a score a row; the columns of the CER only where there is one."""
    with_characters = any(score.characters is not None for score in scores)
    header = ["checkpoint", "split", "metric", "%", "95% interval"]
    header += ["errors", "of", "sub", "ins", "del"]
    header += ["CER %", "95% interval"] if with_characters else []
    header += ["utts"]
    rows = []
    for score in scores:
        words = score.words
        counts = (words.errors, words.length, words.substitutions, words.insertions)
        row = [score.checkpoint, score.split, score.metric, *_rate(words)]
        row += [f"{count:,}" for count in (*counts, words.deletions)]
        row += _rate(score.characters) if with_characters else []
        row += [f"{len(score.utterances):,}"]
        rows.append(row)
    return aligned(header, rows, left=3)


def _rate(rate: ErrorRate | None) -> list[str]:
    if rate is None:
        return ["", ""]
    low, high = rate.interval
    return [f"{rate.rate:.2f}", f"[{low:.2f}, {high:.2f}]"]


def scores_as_json(scores: Sequence[Score]) -> str:
    """A list with an object a score; `Score.to_json` says its keys."""
    return json.dumps([score.to_json() for score in scores], indent=1)


def scores_as_csv(scores: Sequence[Score]) -> str:
    """The same keys as columns, a row a score; a cell is empty where a score lacks the number."""
    rows = [score.to_json() for score in scores]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")


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
    """Write a TSV with a header: a row an utterance, in the manifest's order.

    Columns: id, reference, hypothesis (what is scored), substitutions, insertions, deletions (of
    words or phones), reference_units, hypothesis_units (the dictionary's symbols). Raises
    UserError when the file cannot be written.
    """
    file = Path(file)
    counts = ("substitutions", "insertions", "deletions")
    texts, units = ("reference", "hypothesis"), ("reference_units", "hypothesis_units")
    lines = ["\t".join(("id", *texts, *counts, *units))]
    for utterance in score.utterances:
        cells = [utterance.id, *(getattr(utterance, text) for text in texts)]
        cells += [str(getattr(utterance.words, count)) for count in counts]
        lines.append("\t".join([*cells, *(getattr(utterance, text) for text in units)]))
    with staged(file.parent) as stage:
        write_lines(stage / file.name, lines)


def check_file(path: PathLike, option: str) -> None:
    """Raise UserError unless the file `path` can be written: asked before the work begins."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}; make it first")
    _check_holds_files(path.parent, f"{option} {path}")


def check_folder(path: PathLike, option: str) -> None:
    """Raise UserError unless the folder `path` can be written, or be made where it is missing."""
    path = Path(path)
    held = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not held.is_dir():
        raise UserError(f"{option} {path}: {held} is a file; name a folder")
    _check_holds_files(held, f"{option} {path}")


def _check_holds_files(folder: Path, what: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{what} cannot be written ({error.strerror or error}); choose another place"
        ) from error
