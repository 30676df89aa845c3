"""The checkpoints that a run goes on from: there, safe to open, and whole."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from parp_fairseq.checkpoints.safe_load import DamagedCheckpoint, load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import replacing
from parp_fairseq.runs.names import BEST, LAST

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restart:
    """Where a run starts.

    Attributes:
        weights: the checkpoint whose weights are loaded; None for a new run.
        updates: those that count as made.
        experiments: the checkpoints whose experiment this run has to be: the one that it goes on
            from, and its folder's own.
    """

    weights: dict[str, Any] | None = None
    updates: int = 0
    experiments: tuple[dict[str, Any], ...] = ()


def updates_of(state: dict[str, Any]) -> int:
    """The updates that a checkpoint holds."""
    history = state.get("optimizer_history") or [{}]
    return int(history[-1].get("num_updates") or 0)


def check_restart(checkpoint: DictConfig) -> Restart:
    """Check what fairseq will open, and mend a last or best checkpoint that was cut off.

    Args:
        checkpoint: the run's section `checkpoint`, with absolute paths.

    Raises:
        UserError: a file is missing, holds code, is no checkpoint, or is damaged and has no whole
            sibling to go on from.
    """
    own = _own(Path(checkpoint.save_dir).absolute())
    given = checkpoint.restore_file
    first = own is None
    for key in ("finetune_from_model", "continue_once"):
        path = checkpoint.get(key) if key in checkpoint else None
        # fairseq opens them when a run begins and not when it goes on.
        if path and first:
            _load_named(path, f"checkpoint.{key}")
    # The weights alone are taken over then, by an experiment of its own.
    anew = bool(checkpoint.get("reset_optimizer"))
    if given == LAST:
        if own is None or anew:
            return Restart(own)
        return Restart(own, updates_of(own), (own,))
    if checkpoint.finetune_from_model:
        raise UserError(
            "checkpoint.restore_file and checkpoint.finetune_from_model cannot go together; leave "
            "one of them out"
        )
    state = _load_named(given, "checkpoint.restore_file")
    others = () if own is None else (own,)
    if anew:
        return Restart(state, 0, others)
    return Restart(state, updates_of(state), (state, *others))


def _load_named(path: str, key: str) -> dict[str, Any]:
    if not os.path.exists(path):
        raise UserError(f"{key} is {path}: no such checkpoint; give the path of one that is there")
    return load_checkpoint(path)


def _own(folder: Path) -> dict[str, Any] | None:
    """The state of a folder's last checkpoint, mended if need be; None where there is none.

    A run that was killed while fairseq copied one checkpoint to another's name could leave half a
    file beside a whole one.
    """
    last = folder / LAST
    if not last.exists():
        if (folder / BEST).exists():
            _check_best(folder / BEST, None)
        return None
    try:
        state = load_checkpoint(last)
    except DamagedCheckpoint as error:
        siblings = {
            name: state
            for name, state in _whole(folder, but=LAST).items()
            # What holds weights alone (`task.keep_update`) would begin again at update 0.
            if state.get("last_optimizer_state")
        }
        if not siblings:
            raise UserError(
                f"{last} is damaged and no other checkpoint beside it is whole and holds an "
                "optimizer's state; remove it to begin this run anew"
            ) from error
        newest = max(siblings, key=lambda name: (updates_of(siblings[name]), name))
        logger.warning(f"{last} is damaged (a save was interrupted); {newest} replaces it")
        _replace(last, folder / newest)
        state = load_checkpoint(last)
    if (folder / BEST).exists():
        _check_best(folder / BEST, state)
    return state


def _check_best(best: Path, last: dict[str, Any] | None) -> None:
    """Mend a best checkpoint that was cut off from the one it was a copy of, or tell of it."""
    try:
        load_checkpoint(best)
        return
    except DamagedCheckpoint:
        score = ((last or {}).get("extra_state") or {}).get("best")
    siblings = _whole(best.parent, but=BEST) if score is not None else {}
    for name, state in siblings.items():
        if (state.get("extra_state") or {}).get("val_loss") == score:
            logger.warning(f"{best} is damaged (a save was interrupted); {name} replaces it")
            _replace(best, best.with_name(name))
            return
    logger.warning(
        f"{best} is damaged (a save was interrupted) and no checkpoint beside it has its score; "
        "the next better one will replace it"
    )


def _replace(file: Path, whole: Path) -> None:
    # Every worker may do so: the file changes in one stroke, to the same content.
    with replacing(file) as partial:
        shutil.copyfile(whole, partial)


def _whole(folder: Path, but: str) -> dict[str, dict[str, Any]]:
    """The checkpoints in a folder that can be read, by name."""
    states = {}
    for path in sorted(folder.glob("checkpoint*.pt")):
        if path.name != but:
            try:
                states[path.name] = load_checkpoint(path)
            except UserError:
                continue
    return states
