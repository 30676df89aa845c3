"""Fine-tunings that a demo has trained already, taken over instead of trained again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from experiments import commands
from experiments.plan import FineTuning, Plan
from parp_fairseq._version import __version__
from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.config import shipped
from parp_fairseq.demo.plan import CONFIG, RUNS, UTTERANCES, PlannedRun, make_plan
from parp_fairseq.demo.sentences import WORDS_FILE
from parp_fairseq.demo.work import STAMP
from parp_fairseq.errors import UserError
from parp_fairseq.files import sha256
from parp_fairseq.runs.names import CHECKPOINTS, LAST


def adopt(plan: Plan, demo: Path) -> list[str]:
    """Copy what `parp demo` trained into the work folder, as trained.

    A demo notes beside each run what decided it: arguments, digests of config and model, the
    settings of its speech, the version. A run is taken where all of that is what this plan's own
    fine-tuning is made of, and where none of that name is in the work folder.

    Args:
        plan: what is wanted.
        demo: a folder of `parp demo`; it is only read.

    Returns:
        The names taken over.

    Raises:
        UserError: it is no such folder.
    """
    if not (demo / RUNS).is_dir():
        raise UserError(f"{demo} holds no {RUNS}/; give a folder that parp demo worked in")
    taken = []
    for name, ft in plan.trained.items():
        source = demo / RUNS / name.removeprefix(f"{ft.world.name}_")
        target = plan.work / commands.run_folder(ft)
        if target.exists() or not _is_the_same(source, ft):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: a run that is half copied could be gone on with.
        partial = Path(tempfile.mkdtemp(prefix=".adopted-", dir=target.parent))
        try:
            shutil.copytree(source, partial, dirs_exist_ok=True)
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        taken.append(name)
    return taken


def _is_the_same(run: Path, ft: FineTuning) -> bool:
    """Whether a demo's run is trained, and is this fine-tuning."""
    if ft.trail or ft.options or ft.source or ft.world.overrides or ft.world.config != CONFIG:
        return False
    try:
        stamp = json.loads((run / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not stamp.get("trained") or not (run / CHECKPOINTS / LAST).is_file():
        return False
    planned = make_plan(seeds=ft.seed)
    by_name = {one.name: one for one in planned.runs}
    wanted = by_name.get(run.name)
    if wanted is None or planned.splits != ft.world.splits or ft.world.model != "tiny":
        return False
    if Path(planned.data).name != Path(ft.world.data).name:
        return False

    def settings(one: PlannedRun) -> dict[str, Any]:
        return {
            "arguments": planned.training(one),
            "config": sha256(shipped.path_of(CONFIG)),
            "model": sha256(TINY_MODEL),
            "speech": _speech(ft),
            "version": __version__,
            "mask_from": settings(by_name[one.mask_from]) if one.mask_from else None,
        }

    return bool(stamp.get("settings") == json.loads(json.dumps(settings(wanted))))


def _speech(ft: FineTuning) -> dict[str, Any]:
    speech = dict(ft.world.speech or {})
    return {
        "seed": speech.get("seed", 1),
        "per_speaker": speech.get("per_speaker", 4),
        "utterances": dict(speech.get("utterances") or UTTERANCES),
        "words": sha256(WORDS_FILE),
        "version": __version__,
    }
