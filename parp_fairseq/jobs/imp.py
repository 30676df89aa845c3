"""Rounds of IMP (paper, section 2.3), each a fine-tuning by fairseq, then the subnetwork's own."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked, replacing, write_json
from parp_fairseq.jobs import children
from parp_fairseq.jobs.imp_plan import (
    KEEP,
    PLAN_FILE,
    Plan,
    begun_keeping,
    check_config,
    check_folder,
)
from parp_fairseq.jobs.progress import Clock, Progress, epochs_done, updates_done
from parp_fairseq.pruning import Mask, Scope, magnitude_mask
from parp_fairseq.runs.names import CHECKPOINTS, LAST, LOG_FILE, RUN_FILE, kept_update

FINAL = "final"
REWIND = "rewind.pt"
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Result:
    """Where the outcome lies: the last fine-tuning's folder, and each round's sparsity and mask."""

    final: Path
    masks: tuple[tuple[float, Path], ...]


def run_imp(plan: Plan, folder: Path, keep_checkpoints: bool = False) -> Result:
    """Run the rounds and the fine-tuning of the subnetwork that they find.

    A round fine-tunes with the mask of the round before held, then prunes the trained weights
    (`checkpoint_last.pt`) further. The same call goes on where an earlier one was stopped.

    Args:
        plan: what to run.
        folder: a folder of its own; rounds, masks and the final run go there.
        keep_checkpoints: keep the rounds' checkpoints, which are removed as soon as their mask is
            made; a series that began so does, whatever a later call says.

    Raises:
        UserError: the folder is another series', or a fine-tuning failed (its log is named).
    """
    folder = folder.resolve()
    check_config(plan)
    check_folder(plan, folder)
    sparsities = plan.sparsities
    masks = [
        folder / "masks" / f"{number:02d}_{s:g}.safetensors" for number, s in _count(sparsities)
    ]
    clock = Clock(len(masks) + 1, sum(mask.is_file() for mask in masks))
    with locked(folder, "another parp imp") as lock, Progress(clock) as progress:
        check_folder(plan, folder)
        keep_checkpoints = keep_checkpoints or begun_keeping(folder)
        write_json(folder / PLAN_FILE, {**asdict(plan), KEEP: keep_checkpoints})
        run = _Fairseq(plan, folder, lock, progress, len(masks) + 1)
        for number, sparsity in _count(sparsities):
            mask = masks[number - 1]
            if not mask.is_file():
                before = (sparsities[number - 2], masks[number - 2]) if number > 1 else None
                work = folder / f"round_{number:02d}"
                run.train(work, number, before, plan.round_updates)
                _write_mask(work, sparsity, number, mask)
                progress.say(f"round {number} of {len(masks)}: mask of sparsity {sparsity:g}")
            if not keep_checkpoints:
                for checkpoint in (folder / f"round_{number:02d}").glob("checkpoints/*.pt"):
                    checkpoint.unlink()
        final = folder / FINAL
        run.train(final, len(masks) + 1, (sparsities[-1], masks[-1]), None)
        if not keep_checkpoints:
            (folder / REWIND).unlink(missing_ok=True)
    return Result(final, tuple(zip(sparsities, masks)))


def _count(sparsities: Sequence[float]) -> list[tuple[int, float]]:
    return list(enumerate(sparsities, start=1))


class _Fairseq:
    """Starts fairseq-hydra-train and waits for it."""

    def __init__(
        self, plan: Plan, folder: Path, lock: int, progress: Progress, trainings: int
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.lock = lock
        self.progress = progress
        self.trainings = trainings
        self.program = children.program("fairseq-hydra-train")

    def train(
        self,
        work: Path,
        number: int,
        mask: tuple[float, Path] | None,
        updates: int | None,
    ) -> None:
        """Fine-tune in the folder `work`; without a mask densely."""
        plan, rewind = self.plan, self.folder / REWIND
        arguments = [
            self.program,
            *(("--config-dir", plan.config_dir) if plan.config_dir else ()),
            *("--config-name", plan.config_name, "common.user_dir=parp_fairseq"),
            *plan.overrides,
            _assigned("hydra.run.dir", work),
        ]
        if updates is not None:
            arguments.append(f"optimization.max_update={updates}")
        if mask is None:
            arguments.append("task.prune.method=dense")
            if plan.rewind_update:
                arguments.append(f"task.keep_update={plan.rewind_update}")
        else:
            arguments += [
                "task.prune.method=mask",
                f"task.prune.sparsity={mask[0]:g}",
                _assigned("task.prune.mask", mask[1]),
            ]
            if plan.rewind_update:
                arguments.append(_assigned("checkpoint.finetune_from_model", rewind))
        log = work.with_name(f"{work.name}.log")
        child = children.start(arguments, Path.cwd(), log, self.lock)
        try:
            while child.exit_code is None:
                self._show(work, number)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            children.stop([child])
        if child.exit_code != 0:
            raise UserError(
                f"{work.name} failed: {child.failure()} (its whole output: {child.log})"
            )
        if not (work / CHECKPOINTS / LAST).is_file():
            raise UserError(
                f"{work.name} left no {CHECKPOINTS}/{LAST}; let checkpoint.no_save and "
                "checkpoint.no_last_checkpoints be false"
            )
        if mask is None and plan.rewind_update:
            kept = work / CHECKPOINTS / kept_update(plan.rewind_update)
            if not kept.is_file():
                raise UserError(
                    f"--rewind-update is {plan.rewind_update}, which the dense fine-tuning never "
                    "reached; give a smaller one"
                )
            with replacing(rewind) as partial:
                shutil.copyfile(kept, partial)

    def _show(self, work: Path, number: int) -> None:
        done, total = _course(work)
        self.progress.show(number - 1 + done / total, {work.name: (done, total)})


def _assigned(key: str, path: Path) -> str:
    """An override for Hydra, whose grammar gives blanks, commas and brackets a meaning."""
    quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def _course(work: Path) -> tuple[float, float]:
    """How much of a fine-tuning is done, and all of it, as the run itself resolved its length.

    That is in updates, or where epochs alone decide in epochs; (0, 1) where neither tells.
    """
    try:
        run = json.loads((work / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
        length = run["config"]["optimization"]
        updates, epochs = int(length["max_update"]), int(length["max_epoch"])
    except (OSError, ValueError, KeyError):
        return 0, 1
    if updates > 0:
        return min(updates_done(work / LOG_FILE), updates), updates
    if epochs > 0:
        return min(epochs_done(work / LOG_FILE), epochs), epochs
    return 0, 1


def _write_mask(work: Path, sparsity: float, number: int, file: Path) -> None:
    """Prune what a round has trained; what was pruned before is zero and goes first."""
    run = json.loads((work / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
    prune: dict[str, Any] = run["config"]["task"]["prune"]
    state = load_checkpoint(work / CHECKPOINTS / LAST)["model"]
    scope = Scope(tuple(prune["include"]), tuple(prune["exclude"]), prune["biases"])
    weights = {name: state[name].float() for name in scope.select(state)}
    mask: Mask = magnitude_mask(weights, sparsity, prune["granularity"])
    file.parent.mkdir(exist_ok=True)
    info = {
        "method": "imp",
        "round": number,
        "scope": {key: prune[key] for key in ("include", "exclude", "biases")},
        "granularity": prune["granularity"],
    }
    save_mask(mask, file, info)


def say_stopped() -> None:
    """Tell that a stopped series can go on."""
    print("stopped; the same command goes on from here", file=sys.stderr, flush=True)
