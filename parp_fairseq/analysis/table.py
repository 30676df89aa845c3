"""The table: a row for every setting, over the seeds that it was run with."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.errors import UserError
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.runs.reading import Run, cost, read_run, source_record
from parp_fairseq.runs.settings import flat, is_path
from parp_fairseq.table import aligned

FORMATS = ("text", "markdown", "csv", "json")

# What may differ between two runs of one setting: the seed, where things lie, what is shown.
_NOT_COMPARED = (
    "checkpoint.",
    "common.log_",
    "common.seed",
    "common.tensorboard_logdir",
    "common.user_dir",
    "common_eval.",
    "dataset.num_workers",
    "distributed_training.distributed_init_method",
    "distributed_training.distributed_port",
    "job_logging_cfg.",
    "model.data",
    "model.w2v_args",
    "task.folder",
    "task.prune.mask",
    "task.prune.seed",
    "task.seed",
)
_ALWAYS_SHOWN = ("task.prune.method", "task.prune.sparsity")
# Files that other runs may have left → what to call them.
_SOURCES = {
    "task.prune.mask": "mask",
    "task.prune.initial": "mask",
    "checkpoint.finetune_from_model": "weights",
}


@dataclass(frozen=True)
class Spread:
    """A number over seeds."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """Mean, smallest and largest; None where a value is missing or there are none."""
        numbers = list(values)
        if not numbers or any(number is None for number in numbers):
            return None
        return cls(sum(numbers) / len(numbers), min(numbers), max(numbers), len(numbers))

    def shown(self) -> str:
        """With one decimal; the range in brackets where there are several."""
        if self.count == 1:
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} ({self.low:.1f}–{self.high:.1f})"  # noqa: RUF001


@dataclass(frozen=True)
class TableRow:
    """One setting.

    Attributes:
        method: `task.prune.method`.
        title: the method as people call it, with what else tells it from its neighbours.
        sparsity: in [0, 1].
        rates: split → percent errors.
        fine_tunings: how many the result takes, its own included.
        minutes: training time of all of these.
        runs: its runs, by seed.
    """

    method: str
    title: str
    sparsity: float
    rates: Mapping[str, Spread]
    fine_tunings: int
    minutes: Spread
    runs: tuple[Run, ...] = field(repr=False)

    @property
    def label(self) -> str:
        """Title and sparsity."""
        return self.title if self.method == "dense" else f"{self.title} {percent(self.sparsity)}"


class Source(NamedTuple):
    """Where a file that a run builds on comes from.

    Attributes:
        experiment: of a file that another run left that run's experiment, whatever its seed; of
            any other its path, numbers behind "seed" apart. Empty where there is no file.
        name: a short name.
    """

    experiment: str
    name: str


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


def percent(share: float) -> str:
    """0.9 as "90%"."""
    return f"{round(100 * share, 2):g}%"


def build_table(runs: Sequence[Run]) -> Table:
    """Group runs that differ in nothing but their seed, and count their errors.

    Errors on a validation set are those of `parp eval` where every finished run has them, else
    those that training logged after its last update. Runs under way are set apart.
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

    sources = {id(run): _sources(run) for run in finished}
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in finished:
        groups.setdefault(_setting(run, sources[id(run)]), []).append(run)
    shared = _differing([members[0] for members in groups.values()])
    rows = []
    for members in groups.values():
        members = sorted(members, key=lambda run: (run.seed, str(run.folder)))
        costs = [cost(run) for run in members]
        first = members[0]
        spreads = {
            split: Spread.over(by_run[id(r)] for r in members) for split, by_run in rates.items()
        }
        rows.append(
            TableRow(
                method=first.method,
                title=_title(first, [g[0] for g in groups.values()], sources),
                sparsity=first.sparsity,
                rates={split: spread for split, spread in spreads.items() if spread is not None},
                fine_tunings=max(c.fine_tunings for c in costs),
                minutes=Spread.over(c.minutes for c in costs),
                runs=tuple(members),
            )
        )
        if not all(c.complete for c in costs):
            notes.append(
                f"{rows[-1].label}: the run that its mask comes from is not there, so its minutes "
                "are not counted"
            )
    rows = _with_distinct_titles(rows)
    methods = list(METHODS)
    rows.sort(
        key=lambda row: (
            row.sparsity,
            methods.index(row.method) if row.method in methods else len(methods),
            row.title,
        )
    )
    metrics = {run.metric for run in finished}
    notes += _notes(finished, rows, valid, sorted(tests), shared)
    return Table(
        rows=tuple(rows),
        metric=metrics.pop() if len(metrics) == 1 else "error rate",
        valid_splits=valid,
        test_splits=tuple(sorted(tests)),
        unfinished=tuple(run for run in runs if not run.finished),
        notes=tuple(notes),
    )


def _with_distinct_titles(rows: Sequence[TableRow]) -> list[TableRow]:
    """Name the folder of the first run where rows would have the same title and sparsity."""
    distinct = []
    for row in rows:
        alike = [
            other for other in rows if (other.title, other.sparsity) == (row.title, row.sparsity)
        ]
        if len(alike) > 1:
            # Absolute: what a report is made of may be named in both ways.
            folders = [os.path.abspath(other.runs[0].folder) for other in alike]
            folder = os.path.relpath(row.runs[0].folder, os.path.commonpath(folders))
            row = replace(row, title=f"{row.title} [{folder}]")
        distinct.append(row)
    return distinct


def _notes(
    runs: Sequence[Run],
    rows: Sequence[TableRow],
    valid: Sequence[str],
    tests: Sequence[str],
    differing: Sequence[str],
) -> list[str]:
    notes = []
    for name, splits in (("valid", valid), ("test", tests)):
        if len(splits) == 1:
            notes.append(f"{name} is {splits[0]}")
    scored = {
        str(score["checkpoint"]).rsplit("/", 1)[-1] for run in runs for score in run.scores.values()
    }
    if scored:
        notes.append(f"decoded: {', '.join(sorted(scored))}")
    if any(len(row.runs) > 1 for row in rows):
        notes.append("mean over seeds, the smallest and the largest in brackets")
    if any(row.fine_tunings > 1 for row in rows):
        notes.append("minutes: training time of all fine-tunings that a row takes")
    other = [
        key for key in differing if key not in _ALWAYS_SHOWN and not key.startswith("task.prune.")
    ]
    if other:
        notes.append(f"rows also differ in {', '.join(other)}")
    return notes


def _settings(run: Run) -> dict[str, Any]:
    return {
        key: value
        for key, value in flat(run.record["config"]).items()
        if not key.startswith(_NOT_COMPARED) and not _names_file(key, value)
    }


def _setting(run: Run, sources: Mapping[str, Source]) -> tuple[Any, ...]:
    """What runs must share to be one experiment under several seeds.

    That is their settings but for the seed, what their data held, and the experiments that their
    masks and first weights come from.
    """
    settings = _settings(run)
    if run.method == "dense":
        settings = {k: v for k, v in settings.items() if not k.startswith("task.prune.")}
    described = (settings, _data(run), [source.experiment for source in sources.values()])
    return (run.method, *(json.dumps(part, sort_keys=True, default=str) for part in described))


def _names_file(key: str, value: Any) -> bool:
    return key == "task.prune.initial" and is_path(value)


def _data(run: Run) -> dict[str, str]:
    """Digests of the data that a run was trained and validated on."""
    contents = run.record.get("contents", {})
    return {name: digest for name, digest in contents.items() if name.startswith("the ")}


def _sources(run: Run, above: tuple[Path, ...] = ()) -> dict[str, Source]:
    """Where the files that each of _SOURCES names come from; `above`: the runs that build on it."""
    return {key: _source(run, key, above) for key in _SOURCES}


def _source(run: Run, key: str, above: tuple[Path, ...]) -> Source:
    path = run.option(key)
    if not path or (key == "task.prune.initial" and not is_path(path)):
        return Source("", "")
    record = source_record(run, Path(path))
    here = run.folder.resolve()
    if record is not None and record.resolve().parent.parent not in (*above, here):
        source = read_run(record)
        name = f"{source.method} on {Path(str(source.option('task.data'))).name}"
        return Source(json.dumps(_setting(source, _sources(source, (*above, here)))), name)
    return Source(re.sub(r"(?<=seed)\d+", "*", str(path)), Path(str(path)).name)


def _differing(runs: Sequence[Run]) -> list[str]:
    """Keys whose values are not the same in all of these runs, in the config's order."""
    settings = [_settings(run) for run in runs]
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({json.dumps(s.get(key), default=str) for s in settings}) > 1]


def _title(run: Run, groups: Sequence[Run], sources: Mapping[int, Mapping[str, Source]]) -> str:
    title = METHODS[run.method].title if run.method in METHODS else run.method
    alike = [g for g in groups if (g.method, g.sparsity) == (run.method, run.sparsity)]
    varied = [key for key in _differing(alike) if key not in _ALWAYS_SHOWN]
    values = [f"{key.rsplit('.', 1)[-1]}={run.option(key)}" for key in varied]
    for key, kind in _SOURCES.items():
        source = sources[id(run)][key]
        if source.experiment and len({sources[id(o)][key].experiment for o in alike}) > 1:
            values.append(f"{kind} of {source.name}")
    if not values:
        return title
    return f"{title} ({', '.join(values)})"


def check_format(form: str) -> None:
    """Raise UserError unless `form` is one of FORMATS."""
    if form not in FORMATS:
        raise UserError(f"no format {form!r}; choose from {', '.join(FORMATS)}")


def render(table: Table, form: str = "text") -> str:
    """The table in one of FORMATS: aligned text, Markdown, CSV or JSON, notes included.

    CSV has numbers without rounding; columns ending in `_low` and `_high` hold the range.

    Raises:
        UserError: another format.
    """
    check_format(form)
    if form == "json":
        return json.dumps(to_json(table), indent=1)
    if form == "csv":
        return _csv(table)
    if form == "markdown":
        return _markdown(table)
    lines = [aligned(table.header, table.cells()), "", *table.notes] if table.rows else []
    lines += [_unfinished(run) for run in table.unfinished]
    return "\n".join(lines)


def _unfinished(run: Run) -> str:
    of = f" of {run.total_updates:,}" if run.total_updates else ""
    return f"unfinished: {run.folder}: {run.log.updates:,}{of} updates"


def _markdown(table: Table) -> str:
    lines = []
    if table.rows:
        right = ["---"] + ["---:"] * (len(table.header) - 1)
        lines = [_md(table.header), _md(right), *(_md(cells) for cells in table.cells())]
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join([*lines, *(f"- {_unfinished(run)}" for run in table.unfinished)])


def _md(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = ["method", "title", "sparsity", "seeds"]
    for split in table.splits:
        name = f"{table.metric.lower().replace(' ', '_')}_{split}"
        header += [name, f"{name}_low", f"{name}_high"]
    writer.writerow([*header, "fine_tunings", "minutes"])
    for row in table.rows:
        cells: list[Any] = [row.method, row.title, row.sparsity, len(row.runs)]
        for split in table.splits:
            spread = row.rates.get(split)
            cells += ["", "", ""] if spread is None else [spread.mean, spread.low, spread.high]
        writer.writerow([*cells, row.fine_tunings, row.minutes.mean])
    return stream.getvalue().rstrip("\n")


def to_json(table: Table) -> dict[str, Any]:
    """The table as plain types, every run with its own numbers."""
    return {
        "metric": table.metric,
        "valid_splits": list(table.valid_splits),
        "test_splits": list(table.test_splits),
        "rows": [
            {
                "method": row.method,
                "title": row.title,
                "sparsity": row.sparsity,
                "rates": {split: asdict(spread) for split, spread in row.rates.items()},
                "fine_tunings": row.fine_tunings,
                "minutes": asdict(row.minutes),
                "runs": [
                    {
                        "folder": str(run.folder),
                        "seed": run.seed,
                        "minutes": run.log.minutes,
                        "command": run.record.get("command"),
                        "scores": {name: score["rate"] for name, score in run.scores.items()},
                    }
                    for run in row.runs
                ],
            }
            for row in table.rows
        ],
        "unfinished": [
            {"folder": str(r.folder), "updates": r.log.updates, "of": r.total_updates}
            for r in table.unfinished
        ],
        "notes": list(table.notes),
    }
