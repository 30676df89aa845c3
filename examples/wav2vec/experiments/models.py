"""Pre-trained models that the workflow makes where they are missing, by tools/tiny_model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from experiments.plan import HERE, Plan
from experiments.work import ONE_THREAD
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked
from parp_fairseq.jobs import children

MAKE = HERE.parents[1] / "tools" / "tiny_model" / "make.py"


def recipes(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """`model.w2v_path` → its recipe, of all that the plan's worlds have one for."""
    return {world.model: world.recipe for world in plan.worlds.values() if world.recipe is not None}


def making(model: str, recipe: Mapping[str, Any]) -> list[str]:
    """The program and its arguments, started in the work folder.

    Args:
        model: where it goes, seen from the work folder.
        recipe: `languages`, and `speakers`, `rounds` (updates of each) and `seed` where they are
            not the tool's.
    """
    arguments = [sys.executable, str(MAKE), "--languages", ",".join(recipe["languages"])]
    if "speakers" in recipe:
        arguments += ["--speakers", str(recipe["speakers"])]
    if "rounds" in recipe:
        arguments += ["--rounds", ",".join(map(str, recipe["rounds"]))]
    if "seed" in recipe:
        arguments += ["--seed", str(recipe["seed"])]
    return [*arguments, "--work", f"pretraining/{model}", "--out", model]


def make_model(plan: Plan, model: str) -> None:
    """Pre-train a model to its end, going on where it was stopped.

    Raises:
        UserError: it failed; the line says why and names its log.
    """
    log = plan.work / "logs" / f"{model}.pretrain.log"
    with locked(plan.work / "locks" / model, "another workflow") as lock:
        arguments = making(model, recipes(plan)[model])
        child = children.start(arguments, plan.work, log, lock, ONE_THREAD)
        try:
            child.process.wait()
        finally:
            children.stop([child])
    if child.exit_code != 0:
        raise UserError(f"{model} failed: {child.failure()} (its whole output: {log})")
