"""What finished runs leave, as rows of the tables of results."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import locked
from parp_fairseq.grid import command_lines as lines
from parp_fairseq.grid.command_lines import WITHOUT_TRAINING
from parp_fairseq.grid.setups import IMP, Grid, Run, Target
from parp_fairseq.report.tidy import (
    MaskPair,
    Score,
    format_options,
    read_table,
    write_table,
)
from parp_fairseq.runs.names import BEST, CHECKPOINTS, LAST, RUN_FILE
from parp_fairseq.runs.reading import read_run

_PATIENCE_SECONDS = 60.0
_INTERVAL_FILE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
# The batch stays the same on any number of GPUs.
_MODEL = re.compile(r"(model\.w2v_path=).*/")
_OF_MACHINE = ("distributed_training.distributed_world_size=", "optimization.update_freq=")


def rows_of(run: Run, work: Path) -> list[Score]:
    """The scores of a finished run in the work folder.

    Raises:
        UserError: it was trained with other settings than the grid has now, or a file is missing
            or damaged.
    """
    folder = work / lines.folder(run)
    found = read_run(folder / CHECKPOINTS / RUN_FILE)
    versions = found.record.get("versions", {})
    check_command(run, str(folder), found.record.get("command", []))
    records = [folder / CHECKPOINTS / RUN_FILE]
    if run.method == IMP:
        records = list(folder.parent.glob(f"*/{CHECKPOINTS}/{RUN_FILE}"))
    common = {
        "run": run.name,
        "setup": run.setup.name,
        "method": run.method,
        "sparsity": run.sparsity,
        "options": format_options(dict(run.options)),
        "source": run.source_name,
        "seed": run.seed,
        "trainings": run.trainings,
        "minutes": round(sum(read_run(record).log.minutes for record in records), 2),
        "machine": machine(run.setup.gpus),
        "trained_by": "the grid",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": commit(),
        "command": shlex.join(lines.training(run)),
        "model": Path(run.setup.model).name,
        "model_sha256": found.record.get("contents", {}).get("model.w2v_path", ""),
        "data": json.dumps(run.setup.speech or run.setup.corpus or {}),
        "reach": found.log.pruning.get("reach"),
        "mask_iou": found.log.pruning.get("mask_iou"),
    }
    scores = []
    for row in _json(work / lines.scores(run)):
        last = Path(row["checkpoint"]).name == LAST
        update = found.log.updates if last else _updates_of(work / lines.checkpoint(run, BEST))
        level = run.sparsity if row.get("sparsity") is None else row["sparsity"]
        named = {**common, "sparsity": level}
        scores.append(_score(named, row, "last" if last else "best", update))
    return scores + (_kept_rows(run, work, common) if run.checkpoints else [])


def _kept_rows(run: Run, work: Path, common: dict[str, Any]) -> list[Score]:
    """θ where its errors on the validation set were fewest.

    "Validate and keep the best inside an epoch, before the next pruning" would have kept that
    file; of equals the earliest.
    """
    by_update: dict[int, list[dict[str, Any]]] = {}
    for row in _json(work / lines.theta_scores(run)):
        if match := _INTERVAL_FILE.fullmatch(Path(row["checkpoint"]).name):
            by_update.setdefault(int(match[1]), []).append(row)
    first, every = run.checkpoints
    missing = [u for u in range(first, run.setup.updates + 1, every) if u not in by_update]
    if missing:
        raise UserError(
            f"{work / lines.theta_scores(run)} has no score of update {missing[0]}; remove the "
            "run's folder to train it again"
        )
    rates = {
        row["rate"]: update
        for update, rows in sorted(by_update.items(), reverse=True)
        for row in rows
        if row["split"] == run.setup.valid
    }
    kept = rates[min(rates)]
    return [_score(common, row, "kept", kept) for row in by_update[kept]]


def _score(common: dict[str, Any], row: dict[str, Any], checkpoint: str, update: int) -> Score:
    keys = ("split", "weights", "metric", "rate", "rate_low", "rate_high", "errors", "length")
    return Score(
        **common,
        checkpoint=checkpoint,
        update=update,
        zeros=None if row["zeros"] is None else round(row["zeros"], 6),
        **{key: row[key] for key in (*keys, "utterances")},
    )


def check_table(grid: Grid, table: Sequence[Score], file: Path) -> None:
    """Raise UserError if rows were made with other settings, or with two files of one model."""
    models: dict[str, Score] = {}
    for row in table:
        run = grid.runs.get(row.run)
        if run is None:
            continue
        check_command(run, f"{file}: {row.run}", shlex.split(row.command))
        if json.loads(row.data or "{}") != (run.setup.speech or run.setup.corpus or {}):
            raise UserError(f"{file}: {row.run} was made with other data: {row.data}")
        first = models.setdefault(row.model, row)
        if row.model_sha256 and row.model_sha256 != first.model_sha256:
            raise UserError(
                f"{file}: {row.run} and {first.run} have different files of {row.model}; remove "
                "the rows of one of them, and train and score again"
            )


def check_command(run: Run, where: str, before: Sequence[str]) -> None:
    """Raise UserError if a run's command was another, but for GPUs and the model's folder."""
    if run.method == IMP and before[:2] != ["parp", "imp"]:
        # The last fine-tuning of a series, which parp imp itself has compared.
        return
    was, now = (
        [_MODEL.sub(r"\1", one) for one in command[1:] if not one.startswith(_OF_MACHINE)]
        for command in (before, lines.training(run))
    )
    if sorted(was) != sorted(now):
        old = [one for one in was if one not in now] or ["nothing more"]
        new = [one for one in now if one not in was] or ["nothing more"]
        raise UserError(
            f"{where} was made with {', '.join(old)} and the grid now has {', '.join(new)}; put "
            "it back, or remove this run to make it again"
        )


def comparisons(target: Target) -> dict[tuple[str, float], list[Run]]:
    """The masks that a target compares: (model, sparsity) → one run for each different mask."""
    groups: dict[tuple[str, float], dict[Any, Run]] = {}
    for run in target.masks:
        same = groups.setdefault((Path(run.setup.model).stem, run.sparsity), {})
        # MPI's and RP's masks are those of the model, in every setup that shares it.
        key = (run.method, run.seed if run.method == "rp" else 0)
        same.setdefault(key if run.method in ("mpi", "rp") else run.name, run)
    methods = list(dict.fromkeys(run.method for run in target.masks))
    setups = list(dict.fromkeys(run.setup.name for run in target.masks))

    def order(run: Run) -> tuple[int, int, int]:
        return methods.index(run.method), setups.index(run.setup.name), run.seed

    return {key: sorted(runs.values(), key=order) for key, runs in groups.items()}


def compare_masks(target: Target, model: str, sparsity: float, work: Path) -> list[MaskPair]:
    """IOU of every two masks of a comparison."""
    from parp_fairseq.checkpoints.mask_files import load_mask
    from parp_fairseq.pruning import iou

    runs = comparisons(target)[model, sparsity]
    masks = {run.name: load_mask(work / lines.mask_file(run))[0] for run in runs}
    shares = {name: round(mask.sparsity, 6) for name, mask in masks.items()}
    return [
        MaskPair(
            *(target.name, model, sparsity, masks[one].numel, one, other),
            one_sparsity=shares[one],
            other_sparsity=shares[other],
            iou=round(iou(masks[one], masks[other]), 6),
            commit=commit(),
        )
        for one, other in combinations(masks, 2)
    ]


class Tables:
    """scores.csv and masks.csv of a grid: what they lack, and adding it once it is made."""

    def __init__(self, grid: Grid, work: Path, results: Path) -> None:
        """Read the tables in the folder `results`; those that are missing are empty.

        Raises:
            UserError: one is damaged, or its rows were made with other settings than the grid's.
        """
        self.grid, self.work = grid, work
        self.scores_file, self.masks_file = results / "scores.csv", results / "masks.csv"
        self._read()
        check_table(grid, self.scores, self.scores_file)

    def _read(self) -> None:
        scores, masks = self.scores_file, self.masks_file
        self.scores = read_table(scores, Score) if scores.is_file() else []
        self.pairs = read_table(masks, MaskPair) if masks.is_file() else []
        self.scored = {row.run for row in self.scores}

    def missing(self, target: Target) -> list[str]:
        """Files in the work folder that the target's missing rows are made from."""
        files = [lines.scores(run) for run in target.runs if run.name not in self.scored]
        for key in self._not_compared(target):
            # A mask that training leaves is there with the run's scores.
            files += [
                lines.mask_file(run) if run.method in WITHOUT_TRAINING else lines.scores(run)
                for run in comparisons(target)[key]
            ]
        return list(dict.fromkeys(files))

    def _not_compared(self, target: Target) -> list[tuple[str, float]]:
        """Comparisons of the target of which a pair is missing."""
        found = {(row.comparison, row.sparsity, row.one, row.other) for row in self.pairs}
        return [
            key
            for key, runs in comparisons(target).items()
            if any(
                (target.name, key[1], one.name, other.name) not in found
                for one, other in combinations(runs, 2)
            )
        ]

    def add(self, targets: Iterable[Target], finished: bool = False) -> None:
        """Add the missing rows of these targets.

        Args:
            targets: whose runs and masks.
            finished: leave out runs that are not finished, and all masks.

        Raises:
            UserError: a file is missing, or a run was made with other settings.
        """
        self.scores_file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.scores_file.parent, "another workflow", _PATIENCE_SECONDS):
            self._read()
            for target in targets:
                for run in target.runs:
                    left = finished and not (self.work / lines.scores(run)).is_file()
                    if run.name not in self.scored and not left:
                        self.scores += rows_of(run, self.work)
                        self.scored.add(run.name)
                for key in [] if finished else self._not_compared(target):
                    self.pairs = [
                        row
                        for row in self.pairs
                        if (row.comparison, row.model, row.sparsity) != (target.name, *key)
                    ]
                    self.pairs += compare_masks(target, *key, self.work)
            check_table(self.grid, self.scores, self.scores_file)
            write_table(self.scores_file, Score, self.scores)
            write_table(self.masks_file, MaskPair, self.pairs)


def machine(gpus: int = 0) -> str:
    """GPUs of a training, processor, cores, and the load now."""
    import torch

    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    load = os.getloadavg()[0]
    cores = f"{name}, {os.cpu_count()} cores, one thread a training, load {load:.1f} at the end"
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none when scored"
    return f"{gpus} GPUs ({gpu}), {cores}" if gpus else cores


def commit() -> str:
    """The present commit of this checkout; "" outside of one."""
    from parp_fairseq.runs import record

    return str((record.git_state(Path(record.__file__).parent) or {}).get("commit", ""))


def _updates_of(file: Path) -> int:
    from parp_fairseq.checkpoints.safe_load import load_checkpoint

    return int(load_checkpoint(file)["optimizer_history"][-1]["num_updates"])


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); remove it to score again") from error
