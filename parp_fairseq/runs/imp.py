"""IMP (paper, section 2.3): rounds of fine-tuning and pruning, then the subnetwork is trained."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import LOCK_FILE, locked, replacing, write_json
from parp_fairseq.pruning import Scope, magnitude_mask
from parp_fairseq.pruning.arguments import check_sparsity
from parp_fairseq.runs import children
from parp_fairseq.runs.names import CHECKPOINTS, LAST, LOG_FILE, RUN_FILE, kept_update
from parp_fairseq.runs.progress import Clock, Progress, epochs_done, updates_done

SHARES = ("original", "remaining")
LEAST_STEP = 0.001
FINAL = "final"
SERIES_FILE = "imp.json"
_REWIND = "rewind.pt"
_KEEP = "keep_checkpoints"
_SECONDS_BETWEEN_LOOKS = 0.2
# What this program sets itself.
_OURS = (
    *("task.prune.method", "task.prune.sparsity", "task.prune.mask", "task.prune.initial"),
    *("hydra.run.dir", "checkpoint.save_dir", "checkpoint.finetune_from_model"),
)


def round_sparsities(target: float, step: float = 0.1, of: str = "original") -> list[float]:
    """Return the sparsity after each round; the last one is `target`, whatever the step.

    Args:
        target: the sparsity to reach, above 0 and below 1.
        step: the share of weights that a round prunes, from LEAST_STEP to 1.
        of: "original" (a share of all weights: nine rounds to 90%, as the paper's count of
            fine-tunings says) or "remaining" (a share of what is left, as its section 2.3 says: 22
            rounds).

    Raises:
        UserError: an argument is out of its range.
    """
    with options_named("--"):
        check_sparsity(target)
    if not 0.0 < target < 1.0:
        raise UserError(f"--sparsity must be above 0 and below 1 for IMP (got {target:g})")
    if not LEAST_STEP <= step <= 1.0:
        raise UserError(f"--step must be a share from {LEAST_STEP} to 1 (got {step:g})")
    if of not in SHARES:
        raise UserError(f"--of must be {' or '.join(SHARES)} (got {of!r})")
    sparsities: list[float] = []
    while not sparsities or sparsities[-1] < target:
        rounds = len(sparsities) + 1
        reached = step * rounds if of == "original" else 1.0 - (1.0 - step) ** rounds
        # Sums of tenths are not tenths in binary; files are named by these numbers.
        sparsities.append(min(round(reached, 6), target))
    return sparsities


@dataclass(frozen=True)
class Series:
    """What decides the outcome of a series of rounds.

    Attributes:
        config_name: a yaml file's name, as for fairseq-hydra-train.
        overrides: key=value, for every fine-tuning.
        sparsity: the target.
        step: the share of weights pruned in a round.
        of: what `step` is a share of, "original" or "remaining".
        round_updates: updates in a round; None: as the config says. The last fine-tuning always
            is as the config says.
        rewind_update: rounds after the first begin with the weights that the first, dense one had
            after so many updates, and a fresh optimizer; 0: with the pre-trained ones (θ0).
        config_dir: a folder with the yaml file, where it is not one of this package's.
    """

    config_name: str
    overrides: tuple[str, ...]
    sparsity: float
    step: float = 0.1
    of: str = "original"
    round_updates: int | None = None
    rewind_update: int = 0
    config_dir: str | None = None

    def __post_init__(self) -> None:
        round_sparsities(self.sparsity, self.step, self.of)
        for override in self.overrides:
            key = override.lstrip("+~").split("=")[0]
            if key in _OURS:
                raise UserError(f"parp imp sets {key} itself; leave {override!r} out")
            if "=" not in override and not override.startswith("~"):
                raise UserError(f"{override!r} is no override; write key=value, or ~key")
        if self.round_updates is not None and self.round_updates < 1:
            raise UserError(f"--round-updates must be at least 1 (got {self.round_updates})")
        if self.rewind_update < 0:
            raise UserError(f"--rewind-update must be at least 0 (got {self.rewind_update})")


@dataclass(frozen=True)
class Result:
    """Where the outcome is: the last fine-tuning's folder, and each round's sparsity and mask."""

    final: Path
    masks: tuple[tuple[float, Path], ...]


def run_imp(series: Series, folder: Path, keep_checkpoints: bool = False) -> Result:
    """Run the rounds and the fine-tuning of the subnetwork that they find.

    A round fine-tunes with the static mask of the round before, then prunes the trained weights
    (`checkpoint_last.pt`) further. The same call resumes a series that was stopped.

    Args:
        series: what to run.
        folder: a folder of its own for the rounds, the masks and the final run.
        keep_checkpoints: keep the rounds' checkpoints, which are removed as soon as their mask is
            made; a series that began so does, whatever a later call says.

    Raises:
        UserError: the folder holds another series, or a fine-tuning failed (its log is named).
    """
    folder = folder.resolve()
    check_config(series)
    _check_folder(series, folder)
    rounds = list(enumerate(round_sparsities(series.sparsity, series.step, series.of), start=1))
    masks = [folder / "masks" / f"{number:02d}_{share:g}.safetensors" for number, share in rounds]
    clock = Clock(len(masks) + 1, sum(mask.is_file() for mask in masks))
    with locked(folder, "another parp imp") as lock, Progress(clock) as progress:
        begun = _check_folder(series, folder)
        # Series from before this was recorded do not have the key.
        keep_checkpoints = keep_checkpoints or begun.get(_KEEP) is True
        write_json(folder / SERIES_FILE, {**asdict(series), _KEEP: keep_checkpoints})
        before: tuple[float, Path] | None = None
        for (number, share), mask in zip(rounds, masks):
            run = folder / f"round_{number:02d}"
            if not mask.is_file():
                _train(series, run, before, series.round_updates, lock, progress, number)
                _write_mask(run, share, number, mask)
                progress.say(f"round {number} of {len(masks)}: mask of sparsity {share:g}")
            if not keep_checkpoints:
                for checkpoint in run.glob(f"{CHECKPOINTS}/*.pt"):
                    checkpoint.unlink()
            before = (share, mask)
        _train(series, folder / FINAL, before, None, lock, progress, len(masks) + 1)
        if not keep_checkpoints:
            (folder / _REWIND).unlink(missing_ok=True)
    return Result(folder / FINAL, tuple((share, mask) for (_, share), mask in zip(rounds, masks)))


def check_config(series: Series) -> None:
    """Check what the config tells before anything is trained.

    Raises:
        UserError: there is no such config, or it ends before the update to rewind to.
    """
    if series.config_dir:
        file = Path(series.config_dir, f"{series.config_name}.yaml")
    else:
        file = shipped.path_of(series.config_name)
    if not file.is_file():
        raise UserError(f"{file}: no such config; check --config-dir and --config-name")
    updates = _max_update(file, series.overrides)
    updates = series.round_updates or updates
    if isinstance(updates, int) and 0 < updates <= series.rewind_update:
        raise UserError(
            f"--rewind-update is {series.rewind_update}, and the dense fine-tuning ends at update "
            f"{updates}; give a smaller one"
        )


def _max_update(file: Path, overrides: Sequence[str]) -> Any:
    """`optimization.max_update` as a config and overrides say; None where only Hydra can tell."""
    key = "optimization.max_update"
    given = [one for one in overrides if one.lstrip("+~").partition("=")[0] == key]
    try:
        if given:
            return yaml.safe_load(given[-1].partition("=")[2])
        return yaml.safe_load(file.read_text(encoding="utf-8"))["optimization"]["max_update"]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None


def _check_folder(series: Series, folder: Path) -> dict[str, Any]:
    """Return the record of the same series that has trained in the folder; {} if none has.

    A series that left no checkpoint does not count: the corrected command is another one.

    Raises:
        UserError: the folder holds another series, or something else.
    """
    file = folder / SERIES_FILE
    if not file.is_file():
        if folder.exists() and any(path.name != LOCK_FILE for path in folder.iterdir()):
            raise UserError(f"{folder} holds something else; give a new folder as --out")
        return {}
    now = json.loads(json.dumps(asdict(series)))
    try:
        begun = dict(json.loads(file.read_text(encoding="utf-8")))
        if set(begun) - {_KEEP} != set(now):
            raise ValueError
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} is not a record of IMP; give another folder as --out") from error
    kept = (f"*/{CHECKPOINTS}/*.pt", "masks/*")
    if not any(True for pattern in kept for _ in folder.glob(pattern)):
        return {}
    for key, wanted in now.items():
        if begun[key] != wanted:
            raise UserError(
                f"{folder}: {key} was {begun[key]} when this series began and is now {wanted}; put "
                "it back or give another folder as --out"
            )
    return begun


def _train(
    series: Series,
    run: Path,
    mask: tuple[float, Path] | None,
    updates: int | None,
    lock: int,
    progress: Progress,
    number: int,
) -> None:
    """Fine-tune in the folder `run`; without a mask densely."""
    rewind = run.parent / _REWIND
    arguments = [
        children.program("fairseq-hydra-train"),
        *(("--config-dir", series.config_dir) if series.config_dir else ()),
        *("--config-name", series.config_name, "common.user_dir=parp_fairseq"),
        *series.overrides,
        _assigned("hydra.run.dir", run),
    ]
    if updates is not None:
        arguments.append(f"optimization.max_update={updates}")
    if mask is None:
        arguments.append("task.prune.method=dense")
        if series.rewind_update:
            arguments.append(f"task.keep_update={series.rewind_update}")
    else:
        arguments += ["task.prune.method=mask", f"task.prune.sparsity={mask[0]:g}"]
        arguments.append(_assigned("task.prune.mask", mask[1]))
        if series.rewind_update:
            arguments.append(_assigned("checkpoint.finetune_from_model", rewind))
    child = children.start(arguments, Path.cwd(), run.with_name(f"{run.name}.log"), lock)
    try:
        while child.exit_code is None:
            done, total = _course(run)
            progress.show(number - 1 + done / total, {run.name: (done, total)})
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        children.stop([child])
    if child.exit_code != 0:
        raise UserError(f"{run.name} failed: {child.failure()} (its whole output: {child.log})")
    if not (run / CHECKPOINTS / LAST).is_file():
        raise UserError(
            f"{run.name} left no {CHECKPOINTS}/{LAST}; let checkpoint.no_save and "
            "checkpoint.no_last_checkpoints be false"
        )
    if mask is None and series.rewind_update:
        kept = run / CHECKPOINTS / kept_update(series.rewind_update)
        if not kept.is_file():
            raise UserError(
                f"--rewind-update is {series.rewind_update}, which the dense fine-tuning never "
                "reached; give a smaller one"
            )
        with replacing(rewind) as partial:
            shutil.copyfile(kept, partial)


def _assigned(key: str, path: Path) -> str:
    """An override for Hydra, whose grammar gives blanks, commas and brackets a meaning."""
    quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def _course(run: Path) -> tuple[float, float]:
    """How much of a fine-tuning is done, of how much: in updates, or epochs if they alone decide.

    (0, 1) where its record tells neither.
    """
    try:
        record = json.loads((run / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
        length = record["config"]["optimization"]
        updates, epochs = int(length["max_update"]), int(length["max_epoch"])
    except (OSError, ValueError, KeyError):
        return 0, 1
    if updates > 0:
        return min(updates_done(run / LOG_FILE), updates), updates
    if epochs > 0:
        return min(epochs_done(run / LOG_FILE), epochs), epochs
    return 0, 1


def _write_mask(run: Path, sparsity: float, number: int, file: Path) -> None:
    """Prune what a round has trained; what was pruned before is zero and goes first."""
    record = json.loads((run / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
    prune: dict[str, Any] = record["config"]["task"]["prune"]
    state = load_checkpoint(run / CHECKPOINTS / LAST)["model"]
    scope = Scope(tuple(prune["include"]), tuple(prune["exclude"]), prune["biases"])
    weights = {name: state[name].float() for name in scope.select(state)}
    file.parent.mkdir(exist_ok=True)
    info = {
        "method": "imp",
        "round": number,
        "scope": {key: prune[key] for key in ("include", "exclude", "biases")},
        "granularity": prune["granularity"],
    }
    save_mask(magnitude_mask(weights, sparsity, prune["granularity"]), file, info)
