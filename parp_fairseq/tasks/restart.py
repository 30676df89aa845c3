"""The checkpoints that a run goes on from: safe to open, and whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from parp_fairseq.checkpoints.reading import DamagedCheckpoint, load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import LAST

logger = logging.getLogger(__name__)


def check_restart(checkpoint: DictConfig) -> dict[str, Any] | None:
    """Check what fairseq will open, and mend a `checkpoint_last.pt` that was cut off.

    fairseq writes a checkpoint under one name, in one stroke, and copies it to the others. A run
    that is killed while it copies leaves half a file beside a whole one.

    Args:
        checkpoint: the run's section `checkpoint`, with absolute paths.

    Returns:
        The state that the run will go on from; None for a new run.

    Raises:
        UserError: a file holds code, is no checkpoint, or is damaged and has no whole sibling.
    """
    if checkpoint.finetune_from_model and os.path.exists(checkpoint.finetune_from_model):
        load_checkpoint(checkpoint.finetune_from_model)
    if checkpoint.restore_file != LAST:
        given = checkpoint.restore_file
        return load_checkpoint(given) if os.path.exists(given) else None
    last = Path(checkpoint.save_dir, LAST)
    if not last.exists():
        return None
    try:
        return load_checkpoint(last)
    except DamagedCheckpoint as error:
        sibling = _newest_whole(last)
        if sibling is None:
            raise UserError(
                f"{last} is damaged and no other checkpoint beside it is whole; remove it to "
                "begin this run anew"
            ) from error
        logger.warning(f"{last} is damaged (a save was interrupted); {sibling.name} replaces it")
        # Every worker may do so: the file changes in one stroke, to the same content.
        partial = last.with_name(f".{last.name}.{os.getpid()}.part")
        try:
            shutil.copyfile(sibling, partial)
            os.replace(partial, last)
        finally:
            partial.unlink(missing_ok=True)
        return load_checkpoint(last)


def _newest_whole(last: Path) -> Path | None:
    """Return the sibling with the most updates among those that can be read."""
    found: list[tuple[int, str]] = []
    for path in last.parent.glob("checkpoint*.pt"):
        if path == last:
            continue
        try:
            history = load_checkpoint(path).get("optimizer_history") or [{}]
            found.append((int(history[-1].get("num_updates", 0)), path.name))
        except UserError:
            continue
    return last.with_name(max(found)[1]) if found else None
