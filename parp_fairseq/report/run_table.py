"""The table: a row for every setting, over the seeds that it was run with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report.experiments import Setting, differing, settings_of, title_of
from parp_fairseq.report.rendering import csv_lines, percent
from parp_fairseq.report.statistics import Spread
from parp_fairseq.runs.reading import Run, cost
from parp_fairseq.table import aligned

CSV_START = ("method", "title", "sparsity", "seeds")


@dataclass(frozen=True)
class TableRow:
    """One setting."""

    method: str  # `task.prune.method`
    title: str  # the method as people call it, with what else distinguishes it
    sparsity: float  # in [0, 1]
    rates: Mapping[str, Spread]  # split → percent errors
    fine_tunings: int  # how many the result takes, its own included
    minutes: Spread  # training time of all of these
    runs: tuple[Run, ...] = field(repr=False)  # its runs, by seed

    @property
    def label(self) -> str:
        """Title and sparsity."""
        return self.title if self.method == "dense" else f"{self.title} {percent(self.sparsity)}"


@dataclass(frozen=True)
class Table:
    """All settings, and what the reader of their numbers must know."""

    rows: tuple[TableRow, ...]
    metric: str
    valid_splits: tuple[str, ...]
    test_splits: tuple[str, ...]
    unfinished: tuple[Run, ...]
    notes: tuple[str, ...]

    def split_title(self, split: str) -> str:
        """A column's title: "WER valid" where there is one validation set, else its name."""
        for name, splits in (("valid", self.valid_splits), ("test", self.test_splits)):
            if splits == (split,):
                return f"{self.metric} {name}"
        return f"{self.metric} {split}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Validation sets, then test sets."""
        return self.valid_splits + self.test_splits

    @property
    def header(self) -> tuple[str, ...]:
        """The columns' titles."""
        rates = (self.split_title(split) for split in self.splits)
        return ("method", "sparsity", *rates, "fine-tunings", "minutes")

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text."""
        return [
            (
                row.title,
                percent(row.sparsity),
                *(row.rates[s].shown() if s in row.rates else "–" for s in self.splits),  # noqa: RUF001
                str(row.fine_tunings),
                f"{row.minutes.mean:.1f}",
            )
            for row in self.rows
        ]

    def render(self) -> str:
        """As text, notes included."""
        lines = list(self.notes) if self.rows else []
        for run in self.unfinished:
            of = f" of {run.total_updates:,}" if run.total_updates else ""
            lines.append(f"unfinished: {run.folder}: {run.log.updates:,}{of} updates")
        if self.rows:
            lines = [aligned(self.header, self.cells(), left=1), "", *lines]
        return "\n".join(lines)

    def csv(self) -> str:
        """Numbers without rounding; columns ending in `_low` and `_high` hold the range."""
        metric = self.metric.lower().replace(" ", "_")
        rates = [f"{metric}_{split}{end}" for split in self.splits for end in ("", "_low", "_high")]
        lines: list[Sequence[Any]] = [(*CSV_START, *rates, "fine_tunings", "minutes")]
        for row in self.rows:
            found = [row.rates.get(split) for split in self.splits]
            cells = [("", "", "") if s is None else (s.mean, s.low, s.high) for s in found]
            start = (row.method, row.title, row.sparsity, len(row.runs))
            lines.append((*start, *chain(*cells), row.fine_tunings, row.minutes.mean))
        return csv_lines(lines)


def build_table(runs: Sequence[Run]) -> Table:
    """Group runs that differ in nothing but their seed, and count their errors.

    Errors on a validation set are those of `parp eval` where every finished run has them, else
    those that training logged after its last update. Unfinished runs are listed separately.
    """
    finished = [run for run in runs if run.finished]
    valid = tuple(dict.fromkeys(split for run in finished for split in run.valid_splits))
    tests = {split for run in finished for split in run.scores} - set(valid)
    notes = []
    rates: dict[str, dict[int, float | None]] = {}
    for split in valid:
        scored = all(split in run.scores for run in finished)
        rates[split] = {
            id(run): run.scores[split]["rate"] if scored else run.valid_rate(split)
            for run in finished
        }
        if finished and not scored:
            notes.append(f"{split}: as training logged it, not decoded again")
    for split in sorted(tests):
        rates[split] = {id(run): run.scores.get(split, {}).get("rate") for run in finished}

    experiments = {id(run): settings_of(run) for run in finished}
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in finished:
        values = tuple(sorted((key, one.value) for key, one in experiments[id(run)].items()))
        groups.setdefault(values, []).append(run)
    alike: dict[tuple[str, float], list[Mapping[str, Setting]]] = {}
    for first, *_ in groups.values():
        alike.setdefault((first.method, first.sparsity), []).append(experiments[id(first)])
    rows = []
    for members in groups.values():
        first = members[0]
        others = alike[first.method, first.sparsity]
        members = sorted(members, key=lambda run: (run.seed, str(run.folder)))
        costs = [cost(run) for run in members]
        spreads = {
            split: Spread.over(by_run[id(r)] for r in members) for split, by_run in rates.items()
        }
        row = TableRow(
            method=first.method,
            title=title_of(first, experiments[id(first)], others),
            sparsity=first.sparsity,
            rates={split: spread for split, spread in spreads.items() if spread is not None},
            fine_tunings=max(c.fine_tunings for c in costs),
            minutes=Spread.over(c.minutes for c in costs),
            runs=tuple(members),
        )
        rows.append(row)
        if not all(c.complete for c in costs):
            notes.append(
                f"{row.label}: the run that its mask comes from is missing, so its minutes are not "
                "counted"
            )
    places = {method: place for place, method in enumerate(METHODS)}
    rows = _with_distinct_titles(rows)
    rows.sort(key=lambda row: (row.sparsity, places.get(row.method, len(places)), row.title))
    metrics = {run.metric for run in finished}
    table = Table(
        rows=tuple(rows),
        metric=metrics.pop() if len(metrics) == 1 else "error rate",
        valid_splits=valid,
        test_splits=tuple(sorted(tests)),
        unfinished=tuple(run for run in runs if not run.finished),
        notes=(),
    )
    different = differing([experiments[id(members[0])] for members in groups.values()])
    return replace(table, notes=(*notes, *_notes(table, different)))


def _with_distinct_titles(rows: Sequence[TableRow]) -> list[TableRow]:
    """Name the folder of the first run where rows would have the same title and sparsity."""
    distinct = []
    for row in rows:
        alike = [one for one in rows if (one.title, one.sparsity) == (row.title, row.sparsity)]
        if len(alike) > 1:
            # Absolute: what a report is made of may be named in both ways.
            folders = [os.path.abspath(other.runs[0].folder) for other in alike]
            folder = os.path.relpath(row.runs[0].folder, os.path.commonpath(folders))
            row = replace(row, title=f"{row.title} [{folder}]")
        distinct.append(row)
    return distinct


def _notes(table: Table, different: Sequence[str]) -> list[str]:
    """What the reader of the numbers must know."""
    splits = {"valid": table.valid_splits, "test": table.test_splits}
    notes = [f"{name} is {names[0]}" for name, names in splits.items() if len(names) == 1]
    scores = [score for row in table.rows for run in row.runs for score in run.scores.values()]
    decoded = {str(score["checkpoint"]).rsplit("/", 1)[-1] for score in scores}
    if decoded:
        notes.append(f"decoded: {', '.join(sorted(decoded))}")
    if any(len(row.runs) > 1 for row in table.rows):
        notes.append("mean over seeds, the smallest and the largest in brackets")
    if any(row.fine_tunings > 1 for row in table.rows):
        notes.append("minutes: training time of all fine-tunings that a row takes")
    other = [
        key for key in different if not key.startswith("task.prune.") and not key.endswith(" of")
    ]
    if other:
        notes.append(f"rows also differ in {', '.join(other)}")
    return notes
