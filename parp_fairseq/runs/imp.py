"""IMP (paper, section 2.3): rounds of fine-tuning and pruning, then the subnetwork is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import LOCK_FILE, locked, replacing, write_json
from parp_fairseq.pruning import Scope, magnitude_mask
from parp_fairseq.pruning.arguments import check_sparsity
from parp_fairseq.runs.names import CHECKPOINTS, LAST, LOG_FILE, RUN_FILE, kept_update
from parp_fairseq.runs.progress import updates_done
from parp_fairseq.runs.side_by_side import Step, run_steps

SHARES = ("original", "remaining")
LEAST_STEP = 0.001
FINAL = "final"
SERIES_FILE = "imp.json"
_REWIND = "rewind.pt"
_KEEP = "keep_checkpoints"
# What this program sets itself.
_OURS = (
    *("task.prune.method", "task.prune.sparsity", "task.prune.mask", "task.prune.initial"),
    *("hydra.run.dir", "checkpoint.save_dir", "checkpoint.finetune_from_model"),
)


def round_sparsities(target: float, step: float = 0.1, of: str = "original") -> list[float]:
    """Return the sparsity after each round; the last one is `target`, whatever the step.

    `step` is the share of weights that a round prunes, from LEAST_STEP to 1, of the "original" ones
    (nine rounds to 90%, as the paper's count of fine-tunings says) or of those "remaining" (as its
    section 2.3 says: 22 rounds). Raises UserError: an argument is out of its range.
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
    """What decides the outcome of a series of rounds."""

    config_name: str  # a yaml file's name, as for fairseq-hydra-train
    overrides: tuple[str, ...]  # key=value, for every fine-tuning
    sparsity: float  # the target
    step: float = 0.1  # the share of weights pruned in a round
    of: str = "original"  # what `step` is a share of, "original" or "remaining"
    # Updates in a round; None: as the config says. The last fine-tuning always is as the config
    # says.
    round_updates: int | None = None
    # Rounds after the first begin with the weights that the first, dense one had after so many
    # updates, and a fresh optimizer; 0: with the pre-trained ones (θ0).
    rewind_update: int = 0
    # A folder with the yaml file, where it is not one of this package's.
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
    """Run the rounds in a folder, and the fine-tuning of the subnetwork that they find.

    A round fine-tunes with the static mask of the round before, then prunes the trained weights
    (`checkpoint_last.pt`) further. The same call resumes a series that was stopped. The rounds'
    checkpoints are removed as soon as their mask is made, unless the series began with
    `keep_checkpoints`. UserError where the folder holds another series, or a fine-tuning failed
    (its log is named).
    """
    folder = folder.resolve()
    if not series.config_dir:
        shipped.path_of(series.config_name)
    _check_folder(series, folder)
    with locked(folder, "another parp imp") as lock:
        begun = _check_folder(series, folder)
        # Series from before this was recorded do not have the key.
        keep_checkpoints = keep_checkpoints or begun.get(_KEEP) is True
        write_json(folder / SERIES_FILE, {**asdict(series), _KEEP: keep_checkpoints})
        shares = round_sparsities(series.sparsity, series.step, series.of)
        rounds = [
            _Round(number, share, folder / f"round_{number:02d}", series, keep_checkpoints)
            for number, share in enumerate(shares, start=1)
        ]
        steps: list[Step] = []
        before: tuple[float, Path] | None = None
        for one in rounds:
            done = one.mask.is_file()
            if done:
                one.remove_checkpoints()
            steps.append(_step(series, one.run, before, series.round_updates, steps[-1:]))
            steps[-1].then, steps[-1].done = one.finish, done
            before = (one.share, one.mask)
        steps.append(_step(series, folder / FINAL, before, None, steps[-1:]))
        run_steps(steps, Path.cwd(), 1, lock)
        if not keep_checkpoints:
            (folder / _REWIND).unlink(missing_ok=True)
    return Result(folder / FINAL, tuple((one.share, one.mask) for one in rounds))


def _check_folder(series: Series, folder: Path) -> dict[str, Any]:
    """Return the record of the same series that has trained in the folder; {} if none has.

    A series that left no checkpoint does not count: the corrected command is another one. Raises
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
    if not any(path for pattern in kept for path in folder.glob(pattern)):
        return {}
    for key, wanted in now.items():
        if begun[key] != wanted:
            raise UserError(
                f"{folder}: {key} was {begun[key]} when this series began and is now {wanted}; put "
                "it back or give another folder as --out"
            )
    return begun


@dataclass(frozen=True)
class _Round:
    """A fine-tuning in the folder `run`, whose weights become the mask of sparsity `share`."""

    number: int
    share: float
    run: Path
    series: Series
    keep_checkpoints: bool

    @property
    def mask(self) -> Path:
        return self.run.parent / "masks" / f"{self.number:02d}_{self.share:g}.safetensors"

    def finish(self) -> None:
        """Write what the next fine-tunings begin with: the mask, and the weights to rewind to."""
        if self.number == 1 and self.series.rewind_update:
            kept = self.run / CHECKPOINTS / kept_update(self.series.rewind_update)
            with replacing(self.run.parent / _REWIND) as partial:
                shutil.copyfile(kept, partial)
        _write_mask(self.run, self.share, self.number, self.mask)
        self.remove_checkpoints()

    def remove_checkpoints(self) -> None:
        if not self.keep_checkpoints:
            for checkpoint in self.run.glob(f"{CHECKPOINTS}/*.pt"):
                checkpoint.unlink()


def _step(
    series: Series,
    run: Path,
    mask: tuple[float, Path] | None,
    updates: int | None,
    after: Sequence[Step],
) -> Step:
    """A fine-tuning in the folder `run`; without a mask a dense one."""
    arguments = [
        "fairseq-hydra-train",
        *(("--config-dir", series.config_dir) if series.config_dir else ()),
        *("--config-name", series.config_name, "common.user_dir=parp_fairseq"),
        *series.overrides,
        shipped.override("hydra.run.dir", run),
    ]
    if updates is not None:
        arguments.append(f"optimization.max_update={updates}")
    if mask is None:
        arguments.append("task.prune.method=dense")
        if series.rewind_update:
            arguments.append(f"task.keep_update={series.rewind_update}")
    else:
        arguments += ["task.prune.method=mask", f"task.prune.sparsity={mask[0]:g}"]
        arguments.append(shipped.override("task.prune.mask", mask[1]))
        if series.rewind_update:
            rewind = run.parent / _REWIND
            arguments.append(shipped.override("checkpoint.finetune_from_model", rewind))
    return Step(
        *(run.name, arguments, run.with_name(f"{run.name}.log"), run / CHECKPOINTS / LAST, 1.0),
        work_done=lambda: _share_done(run),
        after=after,
        announced=True,
    )


def _share_done(run: Path) -> float:
    """The share of a fine-tuning's updates that is done; 0 where its record does not tell."""
    try:
        record = json.loads((run / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
        updates = int(record["config"]["optimization"]["max_update"])
    except (OSError, ValueError, KeyError):
        return 0.0
    return updates_done(run / LOG_FILE) / updates if updates > 0 else 0.0


def _write_mask(run: Path, sparsity: float, number: int, file: Path) -> None:
    """Prune what a round has trained; what was pruned before is zero and goes first."""
    record = json.loads((run / CHECKPOINTS / RUN_FILE).read_text(encoding="utf-8"))
    prune: dict[str, Any] = record["config"]["task"]["prune"]
    state = load_checkpoint(run / CHECKPOINTS / LAST)["model"]
    weights = {name: state[name].float() for name in Scope.of_run(prune).select(state)}
    file.parent.mkdir(exist_ok=True)
    info = {
        "method": "imp",
        "round": number,
        "scope": {key: prune[key] for key in ("include", "exclude", "biases")},
        "granularity": prune["granularity"],
    }
    save_mask(magnitude_mask(weights, sparsity, prune["granularity"]), file, info)
