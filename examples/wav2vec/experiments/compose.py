"""Every fine-tuning of a plan composed and checked by fairseq's own config, nothing trained."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments import commands
from experiments.plan import IMP, FineTuning, Plan
from parp_fairseq.errors import UserError
from parp_fairseq.jobs.imp_plan import Plan as Series
from parp_fairseq.jobs.imp_plan import check_config


def composed(ft: FineTuning, work: Path = Path()) -> dict[str, Any]:
    """Compose a fine-tuning's command as fairseq-hydra-train does, and check its options.

    Of a series of IMP it is the last fine-tuning.

    Returns:
        The run's configuration as plain values, resolved.

    Raises:
        UserError: an option is unknown, of the wrong type, or goes with another method.
    """
    from fairseq.dataclass.initialize import hydra_init
    from fairseq.dataclass.utils import omegaconf_no_object_check
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    import parp_fairseq.tasks.parp  # noqa: F401  # registers task, criterion and optimizer
    from parp_fairseq.config import shipped
    from parp_fairseq.tasks import config as prune_config
    from parp_fairseq.tasks.options import check_options

    arguments = commands.training(ft, work)
    name = arguments[arguments.index("--config-name") + 1]
    overrides = [one for one in arguments if "=" in one]
    if ft.method == IMP:
        series = Series(name, tuple(overrides), ft.sparsity, **dict(commands.series(ft)))
        overrides += ["task.prune.method=mask", "task.prune.mask=found.safetensors"]
        overrides += [f"task.prune.sparsity={ft.sparsity:g}"]
    hydra_init(name)
    GlobalHydra.instance().clear()
    try:
        if ft.method == IMP:
            check_config(series)
        with _quiet(), initialize_config_dir(str(shipped.FOLDER)):
            cfg = compose(name, overrides)
            # What Hydra itself fills in when it runs.
            cfg.task.folder = str(work)
        with omegaconf_no_object_check():
            plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        check_options(plain)
        prune = OmegaConf.create(plain["task"]["prune"])
        prune_config.check(prune)
        prune_config.make_pruner(prune, plain["optimization"]["max_update"])
    except (HydraException, OmegaConfBaseException, UserError) as error:
        raise UserError(f"{ft.name}: {' '.join(str(error).split())[:300]}") from error
    return plain


def compose_all(plan: Plan, fine_tunings: Iterable[FineTuning] | None = None) -> int:
    """Compose all fine-tunings of a plan, or these; return how many trainings they are.

    Raises:
        UserError: the first that does not compose.
    """
    chosen = list(plan.trained.values() if fine_tunings is None else fine_tunings)
    for ft in chosen:
        composed(ft, plan.work)
    return sum(ft.trainings for ft in chosen)


class _quiet(warnings.catch_warnings):
    """Without Hydra's remarks to fairseq's developers."""

    def __enter__(self) -> Any:
        found = super().__enter__()
        warnings.simplefilter("ignore")
        logging.getLogger("hydra").setLevel(logging.WARNING)
        return found
