"""The tidy tables of committed results: one row for each score, one for each pair of masks."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_bytes
from parp_fairseq.report.rendering import csv_lines

SUBNETWORK, THETA = "subnetwork", "theta"
"""What was scored: m⊙θ, or the θ that moves freely between two prunings."""


@dataclass(frozen=True)
class Score:
    """Errors of one checkpoint of one run on one split."""

    run: str  # its name: setup, method, sparsity, options, source and seed
    setup: str  # name of the pre-trained model and data
    method: str  # task.prune.method, or "imp"
    sparsity: float  # target, in [0, 1]
    options: str  # further keys of task.prune, as "key=value key=value"
    source: str  # setup whose OMP mask it starts from, with "-seedN" if of another seed
    seed: int  # common.seed
    split: str  # the set that was decoded
    checkpoint: str  # "last", "best", "kept" (by the paper's scripts); "update N" is made no more
    update: int  # of the checkpoint
    weights: str  # SUBNETWORK or THETA
    zeros: float | None  # share of zeros in the weights that were scored
    metric: str  # "WER" or "PER"
    rate: float  # errors in percent
    rate_low: float | None  # ends of its 95% bootstrap interval over utterances
    rate_high: float | None
    errors: int | None  # wrong words or phones
    length: int | None  # of all references, in words or phones
    utterances: int | None
    trainings: int  # fine-tunings that the run itself took; IMP takes several
    minutes: float  # of training
    machine: str  # where it was trained
    trained_by: str  # the program that trained it
    versions: str  # of the packages, as "name version, name version"
    commit: str  # of this repository when it was scored
    command: str  # that trained it
    model: str  # file of the pre-trained model
    model_sha256: str
    data: str  # how the data was made, as JSON
    # Of the prunings; empty where training did not log it, or no pruned weight could regrow
    reach: float | None  # the most (`pruning.reach`) over half the threshold, both at the start
    mask_iou: float | None  # of the last mask with the initial one

    @cached_property
    def option_values(self) -> dict[str, Any]:
        """`options` as values by key."""
        return parse_options(self.options)

    @property
    def setting(self) -> str:
        """What runs of several seeds share, such as "parp_p 0.7 initial_sparsity=0.4".

        A run that kept checkpoints on its way to be scored ends in "trail".
        """
        parts = [self.method] if self.method == "dense" else [self.method, f"{self.sparsity:g}"]
        parts += [self.options] if self.options else []
        if self.source:
            another = self.source.rpartition("-seed")[0] == self.setup
            parts.append("from another seed" if another else f"from {self.source}")
        if self.run.endswith("_trail"):
            parts.append("trail")
        return " ".join(parts)


@dataclass(frozen=True)
class MaskPair:
    """Intersection over union of the weights that two masks keep."""

    comparison: str  # name of the set of masks that were compared with each other
    model: str  # the pre-trained model's file, without its ending
    sparsity: float  # target of both masks, in [0, 1]
    entries: int  # number of prunable weights
    one: str  # run that gives the one mask
    other: str  # run that gives the other mask
    one_sparsity: float  # as measured
    other_sparsity: float
    iou: float  # in [0, 1]
    commit: str  # of this repository when they were compared


Row = TypeVar("Row", Score, MaskPair)

_KEYS: dict[type, tuple[str, ...]] = {
    Score: ("run", "sparsity", "split", "checkpoint", "weights"),
    MaskPair: ("comparison", "sparsity", "one", "other"),
}


def format_options(options: Mapping[str, Any]) -> str:
    """Options as text, such as "initial_sparsity=0.4 stages=[0.8]"."""
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"
        for key, value in options.items()
    )


def parse_options(text: str) -> dict[str, Any]:
    """The inverse of `format_options`."""
    found: dict[str, Any] = {}
    for part in text.split():
        key, _, value = part.partition("=")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def read_table(file: PathLike, kind: type[Row]) -> list[Row]:
    """Read scores.csv or masks.csv.

    Raises:
        UserError: the file is missing, has other columns, or a row (named) has a bad value or is a
            duplicate.
    """
    try:
        with Path(file).open(encoding="utf-8", newline="") as stream:
            header, *lines = csv.reader(stream, strict=True)
    except FileNotFoundError:
        raise UserError(f"{file}: no such table") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as a table ({error}); restore it") from error
    types = {field.name: str(field.type) for field in fields(kind)}
    if header != list(types):
        raise UserError(f"{file}: the columns must be {','.join(types)}")
    rows = []
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise UserError(f"{file}, row {number}: {len(cells)} cells instead of {len(header)}")
        try:
            rows.append(kind(*map(_value, cells, types.values())))
        except ValueError as error:
            raise UserError(f"{file}, row {number}: {error}") from None
    _check(file, rows)
    return rows


def write_table(file: PathLike, kind: type[Row], rows: Sequence[Row]) -> None:
    """Write scores.csv or masks.csv, all or nothing; floats keep every digit.

    Raises:
        UserError: two rows are of the same thing, a number is not finite, or the file cannot be
            written.
    """
    _check(file, rows)
    header = [field.name for field in fields(kind)]
    cells = (["" if cell is None else cell for cell in astuple(row)] for row in rows)
    write_bytes(file, csv_lines([header, *cells]).encode("utf-8"))


def _value(text: str, kind: str) -> Any:
    if kind == "str":
        return text
    if not text and kind.endswith("| None"):
        return None
    return int(text) if kind.startswith("int") else float(text)


def _check(file: PathLike, rows: Sequence[Row]) -> None:
    """Raise UserError for a duplicate, or a number that is not finite."""
    seen = set()
    for row in rows:
        key = tuple(getattr(row, name) for name in _KEYS[type(row)])
        named = f"row {', '.join(map(str, key))}"
        if key in seen:
            raise UserError(f"{file}: duplicate {named}; remove one")
        if any(isinstance(cell, float) and not math.isfinite(cell) for cell in astuple(row)):
            raise UserError(f"{file}, {named}: a number is not finite")
        seen.add(key)
