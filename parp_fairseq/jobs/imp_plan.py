"""What a series of IMP is to be, and whether it can begin in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError
from parp_fairseq.files import LOCK_FILE
from parp_fairseq.jobs.imp_rounds import round_sparsities
from parp_fairseq.runs.names import CHECKPOINTS
from parp_fairseq.runs.settings import flat

PLAN_FILE = "imp.json"
KEEP = "keep_checkpoints"
"""What stands there beside the plan: it decides no outcome."""
# What this program decides itself.
_OURS = (
    "task.prune.method",
    "task.prune.sparsity",
    "task.prune.mask",
    "task.prune.initial",
    "hydra.run.dir",
    "checkpoint.save_dir",
    "checkpoint.finetune_from_model",
)
# What ends a fine-tuning beside optimization.max_update.
_OTHER_ENDS = (
    "optimization.max_epoch",
    "optimization.stop_time_hours",
    "optimization.stop_min_lr",
    "checkpoint.patience",
)


@dataclass(frozen=True)
class Plan:
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
                raise UserError(f"{key} is what parp imp sets itself; leave {override!r} out")
            if "=" not in override and not override.startswith("~"):
                raise UserError(f"{override!r} is no override; write key=value, or ~key")
        if self.round_updates is not None and self.round_updates < 1:
            raise UserError(f"--round-updates is {self.round_updates}; it counts from 1")
        if self.rewind_update < 0:
            raise UserError(f"--rewind-update is {self.rewind_update}; it counts from 0")

    @property
    def sparsities(self) -> list[float]:
        """The sparsity after each round."""
        return round_sparsities(self.sparsity, self.step, self.of)


def check_config(plan: Plan) -> None:
    """Check what can be told of the config before anything is trained.

    Raises:
        UserError: there is no such config, nothing in it ends a fine-tuning, or it ends before the
            update to rewind to.
    """
    if plan.config_dir:
        file = Path(plan.config_dir, f"{plan.config_name}.yaml")
    else:
        file = shipped.path_of(plan.config_name)
    if not file.is_file():
        raise UserError(f"{file}: no such config; check --config-dir and --config-name")
    settings = _settings(file, plan.overrides)
    if settings is None:
        # Composed of other files, or wrong: Hydra knows.
        return
    updates = settings.get("optimization.max_update")
    if updates == 0 and not any(_may_end(settings.get(key)) for key in _OTHER_ENDS):
        raise UserError(
            "optimization.max_update is 0 and nothing else ends a fine-tuning; set it, or "
            "optimization.max_epoch"
        )
    updates = plan.round_updates or updates
    if isinstance(updates, int) and 0 < updates <= plan.rewind_update:
        raise UserError(
            f"--rewind-update is {plan.rewind_update}, and the dense fine-tuning ends at update "
            f"{updates}; give a smaller one"
        )


def _settings(file: Path, overrides: Sequence[str]) -> dict[str, Any] | None:
    """The options that a config and overrides give, by full key; None where only Hydra can tell."""
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or "defaults" in config:
            return None
        settings = flat(config)
        for override in overrides:
            key, _, value = override.lstrip("+~").partition("=")
            settings[key] = None if override.startswith("~") else yaml.safe_load(value)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return settings


def _may_end(value: Any) -> bool:
    """Whether an option's value, which may be one that only Hydra resolves, ends a fine-tuning."""
    return isinstance(value, str) or (value is not None and value > 0)


def check_folder(plan: Plan, folder: Path) -> None:
    """Check that a series can begin in a folder, or go on there.

    A series that never came to a checkpoint binds nobody: the corrected command is another one.

    Raises:
        UserError: the folder holds another series, or something else.
    """
    file = folder / PLAN_FILE
    if file.is_file():
        begun = _begun(file)
        if _has_trained(folder):
            _check_same(plan, begun, folder)
        elif set(begun) - {KEEP} != set(asdict(plan)):
            raise UserError(f"{file} is no series of IMP; give a new folder as --out")
        return
    # What is there before the plan is written.
    if folder.exists() and any(path.name != LOCK_FILE for path in folder.iterdir()):
        raise UserError(f"{folder} holds something else; give a new folder as --out")


def begun_keeping(folder: Path) -> bool:
    """Whether a series that has trained was to keep its rounds' checkpoints.

    Raises:
        UserError: its record cannot be read.
    """
    file = folder / PLAN_FILE
    # A series of before this was noted has no such key.
    return file.is_file() and _has_trained(folder) and _begun(file).get(KEEP) is True


def _has_trained(folder: Path) -> bool:
    kept = (f"*/{CHECKPOINTS}/*.pt", "masks/*")
    return any(True for pattern in kept for _ in folder.glob(pattern))


def _begun(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} cannot be read, so nothing tells which series this folder holds; give another "
            "folder as --out"
        ) from error


def _check_same(plan: Plan, begun: Mapping[str, Any], folder: Path) -> None:
    for key, wanted in json.loads(json.dumps(asdict(plan))).items():
        if begun.get(key) != wanted:
            raise UserError(
                f"{folder}: {key} was {begun.get(key)} when this series began and is now "
                f"{wanted}; put it back or give another folder as --out"
            )
