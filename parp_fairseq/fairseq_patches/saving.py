"""How fairseq writes checkpoints, and what it does when a loss is not finite."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch
from fairseq import checkpoint_utils
from fairseq import trainer as fairseq_trainer
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from omegaconf import DictConfig, OmegaConf

from parp_fairseq.errors import UserError
from parp_fairseq.files import replacing
from parp_fairseq.runs.names import CRASH

_fairseq_save_checkpoint = checkpoint_utils.save_checkpoint


def write_whole_files() -> None:
    """Write every checkpoint next to its name, then rename it.

    fairseq writes one file and copies it to the other names in place (`save_checkpoint`:
    `trainer.save_checkpoint(checkpoints[0], …)`, `PathManager.copy(checkpoints[0], cp, …)`), so
    that a full disk or a kill leaves half a `checkpoint_best.pt`.
    """
    checkpoint_utils.torch_persistent_save = save_file
    checkpoint_utils.PathManager = _WholeCopies


def save_what_was_asked() -> None:
    """Let "best" mean best at the target sparsity, and leave no interval checkpoint out.

    fairseq compares every validation (`save_checkpoint.best = best_function(val_loss, prev_best)`);
    on a ramp the first ones prune less and would win. It writes `checkpoint_E_U.pt` only where
    `not end_of_epoch`: on ten minutes of speech and four GPUs every update ends an epoch. With
    `checkpoint.keep_interval_updates=-1` and `no_epoch_checkpoints` these are written too.
    """
    checkpoint_utils.save_checkpoint = _save_checkpoint


def end_at_nan() -> None:
    """End in one line where fairseq would print every layer's gradients and save `crash.pt`.

    `Trainer.train_step`: `except FloatingPointError: … with NanDetector(self.get_model()):`.
    """
    fairseq_trainer.NanDetector = _end_at_nan


def save_file(obj: Any, filename: str, async_write: bool = False) -> None:
    """Write what torch can save to a file, whole or not at all (for `torch_persistent_save`).

    Raises:
        UserError: it cannot be written (rights, a full disk).
    """
    if os.path.basename(filename) == CRASH and isinstance(sys.exc_info()[1], FloatingPointError):
        return
    filename = os.path.abspath(filename)
    with replacing(filename) as partial, open(partial, "wb") as stream:
        try:
            torch.save(obj, stream)
        except RuntimeError as error:
            # torch hides why a write failed.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            free = shutil.disk_usage(os.path.dirname(filename)).free // 2**20
            raise UserError(
                f"{filename} cannot be written ({free:,} MiB are free there); free some space"
            ) from error


class _WholeCopies(PathManager):
    @staticmethod
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        """Copy a checkpoint to another of its names."""
        with replacing(os.path.abspath(dst_path)) as partial:
            shutil.copyfile(src_path, partial)
        return True


def _save_checkpoint(
    cfg: CheckpointConfig, trainer: Any, epoch_itr: Any, val_loss: float | None
) -> Any:
    pruner = getattr(trainer.task, "pruner", None)
    at_target = pruner is None or not pruner.started or pruner.at_target
    saved = _fairseq_save_checkpoint(cfg, trainer, epoch_itr, val_loss if at_target else None)
    update, every = trainer.get_num_updates(), cfg.save_interval_updates
    due = every > 0 and update % every == 0 and cfg.keep_interval_updates == -1
    left_out = epoch_itr.end_of_epoch() and cfg.no_epoch_checkpoints
    written = not (cfg.no_save or cfg.no_last_checkpoints)
    if due and left_out and written and trainer.should_save_checkpoint_on_current_rank:
        names = ("last", f"{epoch_itr.epoch}_{update}")
        last, own = (f"checkpoint_{name}{trainer.checkpoint_suffix}.pt" for name in names)
        _WholeCopies.copy(os.path.join(cfg.save_dir, last), os.path.join(cfg.save_dir, own))
    return saved


def _end_at_nan(model: torch.nn.Module) -> NoReturn:
    broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    where = f"; {len(broken)} weights are not, first {broken[0]}" if broken else ""
    raise UserError(
        f"the loss or its gradients are not finite ({sys.exc_info()[1]}){where}; a lower "
        "optimization.lr, optimization.clip_norm, or common.fp16=false may help; rerun the same "
        "command to resume from the last checkpoint"
    )


def save_weights(
    file: Path, model: torch.nn.Module, run: DictConfig, task_state: dict[str, Any], update: int
) -> None:
    """Write a model's present weights as a checkpoint for `checkpoint.finetune_from_model`.

    fairseq's interval checkpoints cannot be counted on for that: none is written before
    `validate_after_updates`, nor where an update ends an epoch. Raises what `save_file` raises.
    """
    while hasattr(model, "module"):
        model = model.module
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(run, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "criterion": None,
        "optimizer_history": [{**history, "num_updates": update}],
        "task_state": task_state,
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
    }
    save_file(state, str(file))
