"""Run folders: finding them, and reading what training and decoding left in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.runs.log import TrainingLog, read_log
from parp_fairseq.runs.names import CHECKPOINTS, LOG_FILE, RUN_FILE, SCORES_FOLDER, SPARSITY_FILE
from parp_fairseq.runs.settings import is_path


@dataclass(frozen=True)
class Run:
    """One fine-tuning."""

    folder: Path  # the run's folder
    # What `run.json` holds: command, versions, resolved config.
    record: Mapping[str, Any] = field(repr=False)
    log: TrainingLog = field(repr=False)  # the meters
    # What `sparsity.json` holds; None for a dense run.
    sparsity_report: Mapping[str, Any] | None = field(repr=False)
    # Split → the subnetwork's score by `parp eval --json`, of the last checkpoint where several
    # are.
    scores: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def option(self, key: str, default: Any = None) -> Any:
        """A value of the resolved config by its full key, such as `task.prune.method`."""
        return lookup(self.record["config"], key, default)

    @property
    def method(self) -> str:
        """`task.prune.method`; "dense" for a run of another task."""
        return str(self.option("task.prune.method", "dense"))

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights that are zero at the end, in [0, 1], to four decimals."""
        if self.method == "dense":
            return 0.0
        if self.finished and self.sparsity_report is not None:
            return round(float(self.sparsity_report["sparsity"]), 4)
        return float(self.option("task.prune.sparsity", 0.0))

    @property
    def seed(self) -> int:
        """`common.seed`."""
        return int(self.option("common.seed", 0))

    @property
    def total_updates(self) -> int:
        """`optimization.max_update`; 0 where epochs decide."""
        return int(self.option("optimization.max_update", 0))

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        if self.total_updates > 0:
            return self.log.updates >= self.total_updates
        return self.log.ended

    @property
    def valid_splits(self) -> tuple[str, ...]:
        """The sets that training validated on."""
        names = str(self.option("dataset.valid_subset", "valid")).split(",")
        return tuple(name.strip() for name in names)

    @property
    def metric(self) -> str:
        """WER, or PER where symbols are not joined into words."""
        for score in self.scores.values():
            return str(score["metric"])
        phones = self.option("task.labels") == "phn"
        return "PER" if phones or self.option("criterion.post_process") == "none" else "WER"

    def valid_rate(self, split: str) -> float | None:
        """Percent errors on a validation set after the last update, as training logged it."""
        row = self.log.validation.get(split)
        last = row is not None and row["num_updates"] >= self.log.updates
        return row.get("wer") if row is not None and last else None


def lookup(config: Any, key: str, default: Any = None) -> Any:
    """A value in nested mappings by its dotted key; `default` where there is none."""
    node = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def find_runs(folders: Iterable[PathLike]) -> list[Run]:
    """Read every run in these folders and below them, in the order of their paths.

    Raises UserError: a folder is missing, none of them holds a run, or a run's record is damaged.
    """
    runs: dict[Path, Run] = {}
    roots = list(map(Path, folders))
    for folder in roots:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give one that holds runs")
        for record in sorted(folder.rglob(RUN_FILE)):
            place = record.resolve().parent.parent
            if place not in runs:
                runs[place] = read_run(record)
    if not runs:
        raise UserError(
            f"no run in {', '.join(map(str, roots))}: a run's folder holds "
            f"{CHECKPOINTS}/{RUN_FILE}, which task=parp writes when training begins"
        )
    return list(runs.values())


def read_run(record_file: PathLike) -> Run:
    """Read a run, given its `checkpoints/run.json`.

    Raises UserError: that file, the sparsity report or a score is damaged.
    """
    checkpoints = Path(record_file).parent
    folder, report = checkpoints.parent, checkpoints / SPARSITY_FILE
    record = _json(Path(record_file))
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise UserError(f"{record_file} is not a record of a run: it has no config; remove it")
    log_file = lookup(record["config"], "common.log_file")
    logs = [folder / LOG_FILE, *([folder / log_file] if log_file else [])]
    sparsity_report = _json(report) if report.is_file() else None
    return Run(folder, record, read_log(logs), sparsity_report, _scores(folder / SCORES_FOLDER))


def _scores(folder: Path) -> dict[str, Mapping[str, Any]]:
    scores: dict[str, Mapping[str, Any]] = {}
    for file in sorted(folder.glob("*.json")):
        content = _json(file)
        for score in content if isinstance(content, list) else [content]:
            try:
                split, is_last = score["split"], "checkpoint_last" in score["checkpoint"]
                float(score["rate"]), str(score["metric"])
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{file} is not a score: write it with parp eval --json") from error
            # θ's are not the subnetwork's, nor are a language model's; old scores do not say which.
            if score.get("weights", "subnetwork") != "subnetwork" or any(
                score.get(key) is not None for key in ("lm", "sparsity")
            ):
                continue
            if split not in scores or is_last:
                scores[split] = score
    return scores


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); check its rights") from error
    except ValueError as error:
        raise UserError(f"{file} is damaged (not JSON); remove it or run again") from error


SOURCES = {
    "task.prune.mask": "mask",
    "task.prune.initial": "mask",
    "checkpoint.finetune_from_model": "weights",
}
"""Options that may name a file that another run left, and what to call it."""


class Source(NamedTuple):
    """A file that a run builds on, and the run that left it, if that is there."""

    path: Path
    run: Run | None


def sources_of(run: Run) -> dict[str, Source]:
    """The files that the options in `SOURCES` name, by option."""
    found = {}
    for key in SOURCES:
        path = run.option(key)
        if path and (key != "task.prune.initial" or is_path(path)):
            # Relative paths are resolved against the folder of the command; the runs may have
            # moved together since.
            folders = [Path(run.option("task.folder") or "."), *run.folder.resolve().parents]
            records = ((folder / path).parent / RUN_FILE for folder in folders)
            record = next((record for record in records if record.is_file()), None)
            found[key] = Source(Path(path), read_run(record) if record else None)
    return found


class Cost(NamedTuple):
    """What a result took: its own fine-tuning and those that it builds on.

    `complete` is False where the run that left a mask is no longer there: OMP still counts 2, but
    the minutes are its own.
    """

    fine_tunings: int
    minutes: float
    complete: bool


def cost(run: Run, above: frozenset[Path] = frozenset()) -> Cost:
    """Count the fine-tunings behind a run, which the runs in the folders `above` build on."""
    fine_tunings, minutes, complete = 1, run.log.minutes, True
    seen = above | {run.folder.resolve()}
    behind: dict[Path, Run] = {}
    for key, source in sources_of(run).items():
        if source.run is not None:
            behind[source.run.folder.resolve()] = source.run
        elif key == "task.prune.mask" and run.method in METHODS:
            known = METHODS[run.method].fine_tunings or 1
            fine_tunings, complete = max(fine_tunings, known), complete and known == 1
    for below in (cost(behind[folder], seen) for folder in behind if folder not in seen):
        fine_tunings += below.fine_tunings
        minutes += below.minutes
        complete = complete and below.complete
    return Cost(fine_tunings, minutes, complete)
