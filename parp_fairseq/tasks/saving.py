"""Checkpoints appear whole under their names, whatever becomes of the process that writes them.

fairseq writes one file and copies it to the other names in place, so that a full disk or a kill
leaves half a `checkpoint_best.pt`. And where an update ends an epoch it leaves `checkpoint_E_U.pt`
out: on ten minutes of speech and four GPUs every update does.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, NoReturn

import torch
from fairseq import checkpoint_utils
from fairseq import trainer as fairseq_trainer
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager

from parp_fairseq.errors import UserError, reported
from parp_fairseq.files import replacing
from parp_fairseq.runs.names import CRASH

_MIB = 2**20


def save_whole() -> None:
    """Let fairseq, in this process, write every checkpoint beside its name and rename it.

    A checkpoint that cannot be written ends the program in one line. With
    `checkpoint.keep_interval_updates=-1` and `no_epoch_checkpoints`, every update that
    `save_interval_updates` names gets its file, those at the end of an epoch too. Calling it again
    does nothing new.
    """
    if checkpoint_utils.PathManager is not _WholeCopies:
        checkpoint_utils.torch_persistent_save = _save
        checkpoint_utils.PathManager = _WholeCopies
        checkpoint_utils.save_checkpoint = _save_checkpoint
        fairseq_trainer.NanDetector = _refuse_not_finite


class _WholeCopies(PathManager):
    @staticmethod
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        """Copy a checkpoint to another of its names."""
        if PathManager.path_requires_pathmanager(dst_path):
            return PathManager.copy(src_path, dst_path, overwrite=overwrite)
        with reported(), replacing(os.path.abspath(dst_path)) as partial:
            shutil.copyfile(src_path, partial)
        return True


_fairseq_save = checkpoint_utils.torch_persistent_save
_fairseq_save_checkpoint = checkpoint_utils.save_checkpoint


def _save_checkpoint(cfg: CheckpointConfig, trainer: Any, epoch_itr: Any, *arguments: Any) -> Any:
    saved = _fairseq_save_checkpoint(cfg, trainer, epoch_itr, *arguments)
    update, every = trainer.get_num_updates(), cfg.save_interval_updates
    due = every > 0 and update % every == 0 and cfg.keep_interval_updates == -1
    left_out = epoch_itr.end_of_epoch() and cfg.no_epoch_checkpoints
    written = not (cfg.no_save or cfg.no_last_checkpoints)
    if due and left_out and written and trainer.should_save_checkpoint_on_current_rank:
        names = ("last", f"{epoch_itr.epoch}_{update}")
        last, own = (f"checkpoint_{name}{trainer.checkpoint_suffix}.pt" for name in names)
        _WholeCopies.copy(os.path.join(cfg.save_dir, last), os.path.join(cfg.save_dir, own))
    return saved


def _save(obj: Any, filename: str, async_write: bool = False) -> None:
    if PathManager.path_requires_pathmanager(filename):
        _fairseq_save(obj, filename, async_write)
        return
    if os.path.basename(filename) == CRASH and isinstance(sys.exc_info()[1], FloatingPointError):
        # NaN: `_refuse_not_finite` follows, and nobody could use the file.
        return
    filename = os.path.abspath(filename)
    with reported(), replacing(filename) as partial:
        try:
            with open(partial, "wb") as stream:
                torch.save(obj, stream)
        except RuntimeError as error:
            # torch hides why a write failed.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            free = shutil.disk_usage(os.path.dirname(filename)).free // _MIB
            raise UserError(
                f"{filename} cannot be written ({free:,} MiB are free there); make room"
            ) from error


def _refuse_not_finite(model: torch.nn.Module) -> NoReturn:
    """Stands for fairseq's NanDetector, which prints every layer's gradients."""
    broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    where = f"; {len(broken)} weights are not, first {broken[0]}" if broken else ""
    with reported():
        raise UserError(
            f"the loss or its gradients are not finite ({sys.exc_info()[1]}){where}; a lower "
            "optimization.lr, optimization.clip_norm, or common.fp16=false may help; the same "
            "command goes on from the last checkpoint"
        )
    raise AssertionError
