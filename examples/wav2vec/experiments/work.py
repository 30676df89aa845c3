"""What the workflow's rules do: train, score, and keep what was found as small JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import commands, gpus, masks
from experiments.plan import HERE, IMP, FineTuning, Plan
from parp_fairseq.demo.work import STAMP
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked, write_json
from parp_fairseq.jobs import children
from parp_fairseq.runs.names import BEST, CHECKPOINTS, LAST, RUN_FILE
from parp_fairseq.runs.reading import read_run

_KEPT = ("split", "metric", "rate", "rate_low", "rate_high", "errors", "length", "utterances")
_INTERVAL_FILE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
# Sums come out alike whatever the number of cores, and runs side by side use them better.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def train(plan: Plan, name: str) -> None:
    """Train a fine-tuning of the plan to its end, going on where it was stopped.

    Raises:
        UserError: it failed; the line says why and names its log.
    """
    ft = plan.trained[name]
    gpus.check_count(plan, name, ft.world.gpus)
    if ft.given_mask is not None:
        masks.read_or_make(plan, ft.given_mask)
    run(plan, ft, commands.training(ft, plan.work), "train")
    if not (plan.work / commands.checkpoints(ft) / LAST).is_file():
        raise UserError(f"{name} left no {LAST}; its log is {_log(plan, ft, 'train')}")


def score(plan: Plan, names: Sequence[str]) -> None:
    """Decode what was trained and write its scores; fine-tunings of one world share a process.

    Raises:
        UserError: decoding failed.
    """
    worlds: dict[str, list[FineTuning]] = {}
    for name in names:
        ft = plan.scored[name]
        worlds.setdefault(ft.world.name, []).append(ft)
    for members in worlds.values():
        files = [(ft, LAST) for ft in members] + [(ft, BEST) for ft in members if ft.trail]
        rows = decode(plan, files, "subnetwork")
        for ft in members:
            scores, trail = [], []
            for label, file in (("last", LAST), ("best", BEST)):
                if (ft.name, file) in rows:
                    update = _updates_of(plan.work / commands.checkpoints(ft) / file)
                    scores += [_plain(row, label, update) for row in rows[ft.name, file]]
            if ft.trail:
                kept, trail = _follow(plan, ft)
                scores += kept
            _write(plan, ft, scores, trail)


def _write(
    plan: Plan, ft: FineTuning, scores: list[dict[str, Any]], trail: list[dict[str, Any]]
) -> None:
    folder = plan.work / commands.checkpoints(ft)
    record = read_run(folder / RUN_FILE).record
    demo = plan.work / commands.run_folder(ft) / STAMP
    write_json(
        plan.scores_file(ft.name),
        {
            "name": ft.name,
            "settings": ft.settings(),
            "command": shlex.join(commands.training(ft, Path())),
            "trained_by": "parp demo" if demo.is_file() else "the workflow",
            "commit": commit(),
            "versions": record.get("versions"),
            "model_sha256": record.get("contents", {}).get("model.w2v_path"),
            "machine": machine(ft.world.gpus),
            "minutes": round(_minutes(plan, ft), 2),
            "trainings": ft.trainings,
            "scores": scores,
            "trail": trail,
        },
    )
    for file in _interval_files(folder).values() if ft.trail else ():
        file.unlink()


def _follow(plan: Plan, ft: FineTuning) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores of θ where its errors on the validation set were fewest, and both views' course.

    That is the file which "validate and keep the best inside an epoch, before the next pruning"
    would have kept; of equals the earliest. The test set has no say in the choice.
    """
    folder = plan.work / commands.checkpoints(ft)
    valid = ft.world.valid
    files = _interval_files(folder)
    first, every = ft.trail or (0, 1)
    wanted = range(first, commands.updates(ft.world) + 1, every)
    missing = [str(update) for update in wanted if update not in files]
    if missing:
        raise UserError(
            f"{folder} keeps no checkpoint of update {', '.join(missing)}, which θ is scored at; "
            "remove its run's folder to train it again"
        )
    log = read_run(folder / RUN_FILE).log.validation.get(valid, ())
    logged = {int(row["num_updates"]): row["wer"] for row in log}
    rows = decode(plan, [(ft, file.name) for file in files.values()], "theta")
    trail = []
    for update, file in files.items():
        row = next(row for row in rows[ft.name, file.name] if row["split"] == valid)
        point = {"update": update, "theta": row["rate"], "zeros": row["zeros"]}
        trail.append({**point, "subnetwork": logged[update]})
    kept = min(trail, key=lambda point: (point["theta"], point["update"]))["update"]
    found = rows[ft.name, files[kept].name]
    return [_plain(row, "kept", kept) for row in found], trail


def _interval_files(folder: Path) -> dict[int, Path]:
    found = {}
    for file in folder.glob("checkpoint_*.pt"):
        match = _INTERVAL_FILE.fullmatch(file.name)
        if match:
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def _updates_of(file: Path) -> int:
    from parp_fairseq.checkpoints.safe_load import load_checkpoint

    return int(load_checkpoint(file)["optimizer_history"][-1]["num_updates"])


def decode(
    plan: Plan, files: Sequence[tuple[FineTuning, str]], weights: str
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What `parp eval --json` says, split by split: (fine-tuning's name, file) → its scores."""
    first = files[0][0]
    splits = first.world.splits
    out = plan.work / "eval" / f"{first.name}.json"
    run(plan, first, commands.scoring(files, splits, weights, str(out), plan.work), "eval")
    rows = json.loads(out.read_text(encoding="utf-8"))
    size = len(splits)
    return {
        (ft.name, file): rows[number * size : (number + 1) * size]
        for number, (ft, file) in enumerate(files)
    }


def _plain(row: Mapping[str, Any], checkpoint: str, update: int) -> dict[str, Any]:
    """A score without paths: which checkpoint, at which update, m⊙θ or θ, and the numbers."""
    told = {"checkpoint": checkpoint, "update": update, "weights": row["weights"]}
    zeros = row["zeros"]
    return {
        **told,
        "zeros": None if zeros is None else round(zeros, 6),
        **{key: row[key] for key in _KEPT},
    }


def run(plan: Plan, ft: FineTuning, arguments: list[str], what: str) -> None:
    """Run a command of a fine-tuning in the work folder, with a log of its own.

    Raises:
        UserError: it failed, or another workflow is at it.
    """
    log = _log(plan, ft, what)
    program, *rest = arguments
    count = ft.world.gpus if what == "train" else min(1, ft.world.gpus)
    # Held by the child too: a workflow that was killed leaves nothing that a second one disturbs.
    with (
        locked(plan.work / "locks" / ft.name, "another workflow") as lock,
        gpus.taken(plan, count) as seen,
    ):
        environment = {**ONE_THREAD, **seen}
        child = children.start(
            [children.program(program), *rest], plan.work, log, lock, environment
        )
        try:
            child.process.wait()
        finally:
            children.stop([child])
    if child.exit_code != 0:
        raise UserError(f"{ft.name} failed: {child.failure()} (its whole output: {log})")


def _log(plan: Plan, ft: FineTuning, what: str) -> Path:
    return plan.work / "logs" / f"{ft.name}.{what}.log"


def _minutes(plan: Plan, ft: FineTuning) -> float:
    """Time spent training and validating, of all starts, the rounds of IMP included."""
    folder = plan.work / commands.run_folder(ft)
    pattern = f"*/{CHECKPOINTS}/{RUN_FILE}" if ft.method == IMP else f"{CHECKPOINTS}/{RUN_FILE}"
    return sum(read_run(record).log.minutes for record in folder.glob(pattern))


def commit() -> str | None:
    """The present commit of this workflow's repository; None outside of one."""
    try:
        found = subprocess.run(
            ["git", "-C", str(HERE), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def machine(gpus: int = 0) -> str:
    """GPUs of a training, processor, cores, and the load now."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        name = found[1].strip() if found else name
    load = os.getloadavg()[0]
    cores = f"{name}, {os.cpu_count()} cores, one thread a training, load {load:.1f} at the end"
    if not gpus:
        return cores
    import torch

    kind = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "not seen when scored"
    return f"{gpus} GPUs ({kind}), {cores}"
