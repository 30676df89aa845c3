"""The mask that a fine-tuning ends with, as a small file that outlives its checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import commands
from experiments.commands import mask_file
from experiments.plan import FineTuning, Plan
from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import LAST

if TYPE_CHECKING:
    from parp_fairseq.pruning import Mask
    from parp_fairseq.report.mask_overlap import NamedMask

# Made of the pre-trained model alone: neither data nor training has a say.
_OF_MODEL = ("mpi", "rp")


def mask_settings(ft: FineTuning) -> dict[str, Any]:
    """What decides the mask, as plain values; a mask under other settings is stale."""
    settings = ft.settings()
    for key in ("splits", "trail"):
        del settings[key]
    if ft.method in _OF_MODEL:
        for key in ("world", "config", "speech"):
            del settings[key]
        told = [one for one in settings["overrides"] if one.startswith("task.prune.")]
        settings["overrides"] = told
    if ft.method == "mpi":
        del settings["seed"]
    settings = {key: value for key, value in settings.items() if value is not None}
    return json.loads(json.dumps(settings))  # type: ignore[no-any-return]


def read_or_make(plan: Plan, ft: FineTuning) -> NamedMask:
    """Return the mask, read from its file; make the file from a checkpoint where it is missing.

    OMP's is the magnitude mask of the dense fine-tuning, MPI's that of the pre-trained model, RP's
    is drawn; another method's is the one that its last checkpoint holds.

    Args:
        plan: says where the work folder is.
        ft: whose mask. What `gives_mask` names must be trained, unless the file is there.

    Raises:
        UserError: the checkpoint is missing or unreadable, or the file was made under other
            settings than the plan has now.
    """
    from parp_fairseq.masks.files import read_mask, save_mask
    from parp_fairseq.report.mask_overlap import NamedMask

    file, settings = plan.work / mask_file(ft), mask_settings(ft)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        save_mask(_made(plan, ft), file, {"method": ft.method, "settings": settings})
    mask, info = read_mask(file)
    if info.get("settings") != settings:
        raise UserError(
            f"{file} was made with other settings than {plan.scale}.yaml has now; remove it"
        )
    return NamedMask(ft.name, file, mask, info)


def _made(plan: Plan, ft: FineTuning) -> Mask:
    from parp_fairseq.checkpoints.shipped import TINY, named_checkpoint
    from parp_fairseq.masks.making import make_mask
    from parp_fairseq.pruning import Scope
    from parp_fairseq.report.mask_overlap import read_masks

    source = ft.gives_mask
    if source is None:
        model = named_checkpoint(ft.world.model)
        file = model if ft.world.model == TINY else plan.work / model
    else:
        file = plan.work / commands.checkpoints(source) / LAST
    if not file.is_file():
        raise UserError(f"{file} is missing; it gives the mask of {ft.name}")
    if source is ft:
        return read_masks([file])[0].mask
    prune = _prune_options(plan, ft)
    return make_mask(
        file,
        ft.sparsity,
        method=ft.option("initial", "random") if ft.method == "rp" else "magnitude",
        granularity=prune["granularity"],
        scope=Scope(tuple(prune["include"]), tuple(prune["exclude"]), prune["biases"]),
        seed=prune["seed"],
    )[0]


def _prune_options(plan: Plan, ft: FineTuning) -> dict[str, Any]:
    """Its `task.prune`, as fairseq composes it."""
    from experiments.compose import composed

    options: dict[str, Any] = composed(ft, Path(plan.work))["task"]["prune"]
    return options
