"""A few real updates of every config and method of a plan, from stand-ins, on a CPU.

What dies in it would die in the tenth hour of the real run: formats, names, sizes, options, the
mask, the checkpoint and its decoding. What comes out means nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import commands, data, work
from experiments.plan import IMP, FineTuning, Plan, World
from experiments.standins import write_stand_in
from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import LAST
from parp_fairseq.table import aligned

_UPDATES = 3
_SHORT = (
    "common.cpu=true",
    "common.log_interval=1",
    "distributed_training.distributed_world_size=1",
    f"optimization.max_update={_UPDATES}",
    "optimization.update_freq=[1]",
    "dataset.max_tokens=80000",
    "dataset.num_workers=0",
    "dataset.validate_after_updates=0",
    "dataset.validate_interval_updates=0",
    "checkpoint.save_interval_updates=0",
)
_PRUNED_OFTEN = (("interval", 1), ("interval_unit", "update"))
_LIBRI = {"1h/0/clean": 4, "1h/0/other": 4, "dev-other": 2, "test-clean": 2, "test-other": 2}
_LIBRI.update({f"1h/{fold}/{kind}": 1 for fold in range(1, 6) for kind in ("clean", "other")})
_LIBRI.update({"9h/clean": 1, "9h/other": 1, "dev-clean": 2})
_PHONES = {"train": 8, "dev": 3, "test": 3}


def chosen(plan: Plan) -> list[FineTuning]:
    """Fine-tunings that stand for all: each method with a base model, and PARP with each config.

    Those of several languages at once, and those that take another's mask, are left out: they
    differ in their data and their mask file alone. IMP goes to 10% only, which is a dense
    fine-tuning and one more.
    """
    found: dict[tuple[str, ...], FineTuning] = {}
    for ft in plan.trained.values():
        world = ft.world
        if "joint" in world.name or ft.source is not None:
            continue
        keys = [("config", world.config)] if ft.method == "parp" and not ft.options else []
        if world.size == "base":
            keys.append(("method", ft.method))
        for key in keys:
            found.setdefault(key, ft)
    return list({ft.name: ft for ft in found.values()}.values())


def stand_in(ft: FineTuning, folder: Path, smaller: Mapping[str, Any] | None) -> FineTuning:
    """The same fine-tuning on stand-ins, which are made where they are missing."""
    model = folder / "models" / Path(ft.world.model).name
    if not model.is_file():
        write_stand_in(model, smaller)
    world = replace(
        ft.world,
        model=str(model),
        test=(),
        gpus=0,
        overrides=(*ft.world.overrides, *_SHORT),
        **_speech(ft.world, folder),
    )
    options = dict(ft.options)
    if ft.method in ("parp", "parp_p", "gmp"):
        options.update(_PRUNED_OFTEN)
    sparsity = 0.1 if ft.method == IMP else ft.sparsity
    return replace(ft, world=world, sparsity=sparsity, options=tuple(options.items()), trail=None)


def _speech(world: World, folder: Path) -> dict[str, Any]:
    """A few spoken utterances in the layout and the units that the world's config asks for."""
    if world.language is None:
        speech: dict[str, Any] = {"utterances": _LIBRI, "per_speaker": 1}
        spoken = replace(world, name="english", speech=speech, data=f"data/{_set_of(world)}")
        if not (folder / spoken.data).is_dir():
            data.make_data(spoken, folder)
    else:
        speech = {"language": world.language, "utterances": _PHONES}
        spoken = replace(world, speech=speech, data=f"data/languages/{world.language}")
        if not (folder / spoken.data).is_dir():
            data.make_language(spoken, world.language, folder)
    return {"speech": speech, "data": spoken.data}


def _set_of(world: World) -> str:
    """Libri-light's set: 10min, 1h or 10h."""
    return Path(world.data).name


def rehearse(plan: Plan, smaller: Mapping[str, Any] | None = None) -> str:
    """Train and decode each, and see that what was asked for is zero; return a table.

    Args:
        plan: of the paper's scale.
        smaller: changes to the stand-ins' architectures, for tests.

    Raises:
        UserError: one failed; the line says why and names its log.
    """
    folder = plan.work / "rehearsal"
    ready: dict[str, FineTuning] = {}
    for ft in chosen(plan):
        small = stand_in(ft, folder, smaller)
        for one in (small.needs, small):
            if one is not None:
                ready.setdefault(one.name, one)
    rehearsed = replace(plan, work=folder)
    rows = []
    for ft in ready.values():
        begun = time.monotonic()
        # The same command after a stop passes over what is complete.
        work.run(rehearsed, ft, commands.training(ft, folder), "train")
        zeros = _zeros(rehearsed, ft)
        if ft.method != "dense" and abs(zeros - ft.sparsity) > 1e-4:
            raise UserError(f"{ft.name}: {zeros:.4%} of the prunable weights are zero")
        minutes = (time.monotonic() - begun) / 60
        rows.append(
            [
                ft.world.config,
                Path(ft.world.model).name,
                ft.method,
                f"{zeros:.2%}",
                f"{minutes:.1f}",
            ]
        )
    return aligned(["config", "model", "method", "zeros", "minutes"], rows, left=3)


def _zeros(plan: Plan, ft: FineTuning) -> float:
    """Decode the validation set, and return the share of zeros that `parp eval` counted."""
    rows = work.decode(plan, [(ft, LAST)], "subnetwork")[ft.name, LAST]
    return float(rows[0]["zeros"])
