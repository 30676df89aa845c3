"""What a run resumes from: checkpoints that exist, are safe to open, whole and of the same run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS, SYMBOLS_KEY, read_dictionary
from parp_fairseq.checkpoints.safe_load import DamagedCheckpoint, load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import LAST
from parp_fairseq.runs.settings import Difference, differences, listed, refusal

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restart:
    """Where a run starts."""

    # The checkpoint whose weights are loaded; None for a new run.
    weights: Mapping[str, Any] | None = None
    updates: int = 0  # those that count as made
    # The checkpoints whose run this must be: the one that it resumes from, and its folder's own.
    of_this_run: tuple[Mapping[str, Any], ...] = ()


def find_restart(checkpoint: DictConfig) -> Restart:
    """Check what fairseq will open by the section `checkpoint`, with absolute paths.

    Raises UserError: a file is missing, holds code, is damaged or no checkpoint.
    """
    own = _own(Path(checkpoint.save_dir).absolute())
    for key in ("finetune_from_model", "continue_once"):
        # fairseq opens them when a run begins and not when it resumes.
        if own is None and checkpoint.get(key):
            _load(checkpoint[key], f"checkpoint.{key}")
    if checkpoint.restore_file == LAST:
        source, others = own, ()
    elif checkpoint.finetune_from_model:
        raise UserError(
            "checkpoint.restore_file and checkpoint.finetune_from_model cannot go together; leave "
            "one of them out"
        )
    else:
        source = _load(checkpoint.restore_file, "checkpoint.restore_file")
        others = () if own is None else (own,)
    if source is None or checkpoint.get("reset_optimizer"):
        # Only its weights are taken over, by a run of its own.
        return Restart(source, 0, others)
    return Restart(source, updates_of(source), (source, *others))


def updates_of(state: Mapping[str, Any]) -> int:
    """The updates that a checkpoint holds."""
    history = state.get("optimizer_history") or [{}]
    return int(history[-1].get("num_updates") or 0)


def check_same_run(run: DictConfig, earlier: Iterable[Mapping[str, Any]]) -> list[str]:
    """Compare a run with the checkpoints that it resumes from.

    Returns what differs, where `task.resume_with_changes` allows it; UserError names it otherwise.
    """
    settings = OmegaConf.to_container(run, resolve=True, enum_to_str=True)
    changed: dict[str, Difference] = {}
    for state in earlier:
        saved = _settings(state)
        if not (saved.get("task") or {}).get("contents"):
            logger.warning("this run's checkpoint does not say which data it was trained on")
        for difference in differences(saved, settings):
            changed.setdefault(difference.key, difference)
    found = list(changed.values())
    wrong = refusal(found, run.task.prune.method, run.task.resume_with_changes)
    if wrong:
        raise UserError(wrong)
    if found:
        logger.warning(f"task.resume_with_changes: {listed(found)}")
    return [str(difference) for difference in found]


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(state.get("cfg") or {})
    # Objects of the pre-trained file; that file is compared by what it holds.
    settings["model"] = {k: v for k, v in (settings.get("model") or {}).items() if k != "w2v_args"}
    try:
        return OmegaConf.to_container(OmegaConf.create(settings), resolve=True, enum_to_str=True)
    except Exception:
        # An interpolation that leads nowhere belongs to a part that nothing reads.
        return OmegaConf.to_container(OmegaConf.create(settings), resolve=False, enum_to_str=True)


def check_dictionary(state: Mapping[str, Any] | None, file: Path) -> None:
    """Check that the rows of a checkpoint's output layer mean what the dictionary says.

    Raises UserError: names the first symbol that differs.
    """
    task_state = (state or {}).get("task_state") or {}
    if SYMBOLS_KEY in task_state:
        old = list(task_state[SYMBOLS_KEY]["symbols"])
    elif task_state.get("target_dictionary") is not None:
        old = list(task_state["target_dictionary"].symbols[len(SPECIAL_SYMBOLS) :])
    else:
        return
    new = read_dictionary(file)
    todo = "put the dictionary back or start in another folder (hydra.run.dir=…)"
    for place, (was, now) in enumerate(zip(old, new), start=1):
        if was != now:
            raise UserError(
                f"{file}: symbol {place} is {now!r} and was {was!r} when this run began, so its "
                f"output layer would mean other letters; {todo}"
            )
    if len(old) != len(new):
        raise UserError(
            f"{file} has {len(new)} symbols and had {len(old)} when this run began; {todo}"
        )


def _load(path: str, key: str) -> dict[str, Any]:
    if not os.path.exists(path):
        raise UserError(f"{key} is {path}: no such checkpoint")
    return load_checkpoint(path)


def _own(folder: Path) -> dict[str, Any] | None:
    """The state of a folder's last checkpoint; None where there is none."""
    last = folder / LAST
    if not last.exists():
        return None
    try:
        return load_checkpoint(last)
    except DamagedCheckpoint as error:
        raise UserError(
            f"{last} is damaged; copy another checkpoint of its folder to its name, or remove it "
            "to start this run again"
        ) from error
