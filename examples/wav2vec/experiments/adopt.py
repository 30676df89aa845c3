"""Fine-tunings that a demo has trained already, taken over instead of trained again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from experiments import commands
from experiments.plan import Plan
from parp_fairseq.demo.plan import RUNS
from parp_fairseq.demo.work import STAMP
from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import CHECKPOINTS, LAST


def adopt(plan: Plan, demo: Path) -> list[str]:
    """Copy what `parp demo` trained with the names of this plan into the work folder.

    Whether it is the same experiment, settings and data included, is not judged here: the rule
    `train` starts each with its own command, and a run folder of another experiment is refused
    there, while a complete one of the same ends at once.

    Args:
        plan: its runs that are there already stay.
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
        if target.exists() or not _is_trained(source):
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


def _is_trained(run: Path) -> bool:
    try:
        stamp = json.loads((run / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(stamp.get("trained")) and (run / CHECKPOINTS / LAST).is_file()
