"""What lies in the work folder, and under which settings it was made: a small JSON file each.

Snakemake asks only whether a file is there. These say of what it was made, so that a changed yaml
is told of, and not recorded as the settings of an older training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import commands, overlaps
from experiments.plan import FineTuning, Plan, World
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_json
from parp_fairseq.runs.names import LAST

TRAINED, PREPARED = "trained", "prepared"


def trained(plan: Plan, ft: FineTuning) -> Path:
    """The file that says a fine-tuning is trained."""
    return plan.work / TRAINED / ft.name


def training_settings(ft: FineTuning) -> dict[str, Any]:
    """What decides the weights, as plain values; which sets are decoded has no say."""
    return {key: value for key, value in ft.settings().items() if key != "splits"}


def data_settings(world: World) -> dict[str, Any]:
    """What decides a world's data."""
    return {"speech": world.speech, "corpus": world.corpus}


def language_settings(world: World) -> dict[str, Any]:
    """What decides how a language is spoken, in all worlds that hear it."""
    speech = world.speech or {}
    return {"speech": {key: value for key, value in speech.items() if "language" not in key}}


def mask_source(plan: Plan, ft: FineTuning) -> FineTuning | None:
    """The dense fine-tuning that must be trained before `ft`; None where its mask lies there."""
    mask = ft.given_mask
    there = mask is not None and (plan.work / commands.mask_file(mask)).is_file()
    return None if there else ft.needs


def note(file: Path, settings: Mapping[str, Any]) -> None:
    """Write that something is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, dict(settings))


def check(plan: Plan, file: Path, settings: Mapping[str, Any], also: str) -> None:
    """See that what is made was made under these settings; where nothing is, all is well.

    Args:
        plan: says which yaml.
        file: what `note` wrote.
        settings: what they are now.
        also: what must be removed beside `file` to make it again.

    Raises:
        UserError: they were others, or the file does not say.
    """
    if not file.is_file():
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(
            f"{file} does not say under which settings it was made; remove it and {also}, and it "
            "is made again"
        ) from None
    now = json.loads(json.dumps(settings))
    for key in {**now, **before}:
        if before.get(key) != now.get(key):
            raise UserError(
                f"{file}: {key} was {before.get(key)} when it was made and is {now.get(key)} in "
                f"{plan.scale}.yaml; put it back, or remove it and {also} to make it again"
            )


def check_trained(plan: Plan, ft: FineTuning) -> None:
    """See that a fine-tuning that is said to be trained is this one, and its checkpoint there.

    Raises:
        UserError: it was trained under other settings, or the checkpoint is gone and is needed.
    """
    file = trained(plan, ft)
    check(plan, file, training_settings(ft), str(plan.work / commands.run_folder(ft)))
    last = plan.work / commands.checkpoints(ft) / LAST
    if file.is_file() and not last.is_file() and _is_needed(plan, ft):
        raise UserError(f"{last} is gone; remove {file} to train it again")


def _is_needed(plan: Plan, ft: FineTuning) -> bool:
    """Whether scores, another training or a comparison of masks is still to be made of it."""
    if ft.name in plan.scored and not plan.scores_file(ft.name).is_file():
        return True
    for one in plan.trained.values():
        source = mask_source(plan, one)
        if source is not None and source.name == ft.name and not trained(plan, one).is_file():
            return True
    return any(
        ft.name in {one.name for one in overlaps.missing_masks(plan, comparison)}
        for comparison in overlaps.all_comparisons(plan).values()
        if not plan.scores_file(comparison.name).is_file()
    )
