"""Pre-trained models that the workflow makes where they are missing, by tools/tiny_model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.corpora import clone_of
from experiments.plan import HERE, Plan
from experiments.work import ONE_THREAD
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked
from parp_fairseq.jobs import children

MAKE = HERE.parents[1] / "tools" / "tiny_model" / "make.py"


def recipes(plan: Plan) -> dict[str, Mapping[str, Any]]:
    """`model.w2v_path` → its recipe, of all that the plan's worlds have one for."""
    return {world.model: world.recipe for world in plan.worlds.values() if world.recipe is not None}


def audio_folders(recipe: Mapping[str, Any], corpora: Path | None) -> list[Path]:
    """Where a recipe's recordings lie: CORPUS/FOLDER in the folder of the clones.

    Raises:
        UserError: a corpus is not there; the line tells what to clone.
    """
    named = (str(one).partition("/") for one in recipe.get("audio", ()))
    return [clone_of(corpus, corpora) / folder for corpus, _, folder in named]


def making(model: str, recipe: Mapping[str, Any], corpora: Path | None = None) -> list[str]:
    """The program and its arguments, started in the work folder.

    Args:
        model: where it goes, seen from the work folder.
        recipe: `languages` or `audio` (see `audio_folders`), and `speakers`, `width`, `rounds`
            (updates of each), `updates` (stop after so many) and `seed` where they are not the
            tool's.
        corpora: folder of the clones.

    Raises:
        UserError: a corpus is not there.
    """
    arguments = [sys.executable, str(MAKE)]
    if "languages" in recipe:
        arguments += ["--languages", ",".join(recipe["languages"])]
    for folder in audio_folders(recipe, corpora):
        arguments += ["--audio", str(folder)]
    for key in ("speakers", "width", "rounds", "updates", "seed"):
        if key in recipe:
            values = recipe[key] if key == "rounds" else [recipe[key]]
            arguments += [f"--{key}", ",".join(map(str, values))]
    return [*arguments, "--work", work_folder(model), "--out", model]


def work_folder(model: str) -> str:
    """Where it is pre-trained, seen from the work folder."""
    return f"pretraining/{model}"


def make_model(plan: Plan, model: str, corpora: Path | None = None) -> None:
    """Pre-train a model to its end, going on where it was stopped.

    Raises:
        UserError: a corpus is not there, or it failed; the line says why and names its log.
    """
    log = plan.work / "logs" / f"{model}.pretrain.log"
    with locked(plan.work / "locks" / model, "another workflow") as lock:
        arguments = making(model, recipes(plan)[model], corpora)
        child = children.start(arguments, plan.work, log, lock, ONE_THREAD)
        try:
            child.process.wait()
        finally:
            children.stop([child])
    if child.exit_code != 0:
        raise UserError(f"{model} failed: {child.failure()} (its whole output: {log})")
