"""What a series of IMP is to be, and whether it can begin in a folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from parp_fairseq.config import shipped
from parp_fairseq.errors import UserError
from parp_fairseq.files import LOCK_FILE
from parp_fairseq.jobs.imp_rounds import round_sparsities

PLAN_FILE = "imp.json"
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
            if "=" not in override:
                raise UserError(f"{override!r} is no override; write key=value")
        if self.round_updates is not None and self.round_updates < 1:
            raise UserError(f"--round-updates is {self.round_updates}; it counts from 1")
        if self.rewind_update < 0:
            raise UserError(f"--rewind-update is {self.rewind_update}; it counts from 0")

    @property
    def sparsities(self) -> list[float]:
        """The sparsity after each round."""
        return round_sparsities(self.sparsity, self.step, self.of)


def check_config(plan: Plan) -> None:
    """Raise UserError where there is no such config, or it ends before the update to rewind to."""
    if plan.config_dir:
        file = Path(plan.config_dir, f"{plan.config_name}.yaml")
    else:
        file = shipped.path_of(plan.config_name)
    if not file.is_file():
        raise UserError(f"{file}: no such config; check --config-dir and --config-name")
    if not plan.rewind_update:
        return
    updates = plan.round_updates or _max_update(plan, file)
    if 0 < updates <= plan.rewind_update:
        raise UserError(
            f"--rewind-update is {plan.rewind_update}, and the dense fine-tuning ends at update "
            f"{updates}; give a smaller one"
        )


def _max_update(plan: Plan, file: Path) -> int:
    """`optimization.max_update` of a whole fine-tuning; 0 where it cannot be told beforehand."""
    for override in reversed(plan.overrides):
        key, _, value = override.lstrip("+").partition("=")
        if key == "optimization.max_update":
            return int(value) if value.isdigit() else 0
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return int(config["optimization"]["max_update"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        # Composed of other files, or wrong: Hydra knows.
        return 0


def check_folder(plan: Plan, folder: Path) -> None:
    """See that the folder is empty or this very series' own."""
    file = folder / PLAN_FILE
    wanted = json.loads(json.dumps(asdict(plan)))
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        for key in wanted:
            if found.get(key) != wanted[key]:
                raise UserError(
                    f"{folder}: {key} was {found.get(key)} when this series began and is now "
                    f"{wanted[key]}; put it back or give another folder as --out"
                )
        return
    # A first call that failed before anything was trained leaves its lock and its log.
    left = {LOCK_FILE, "round_01", "round_01.log"}
    if folder.exists() and any(path.name not in left for path in folder.iterdir()):
        raise UserError(f"{folder} holds something else; give a new folder as --out")
