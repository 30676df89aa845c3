"""Everything that this project changes at run time in code that is not its own.

| what is changed | by | why |
|---|---|---|
| `fairseq.checkpoint_utils.torch_persistent_save`, `.PathManager` | `write_whole_files` | \
checkpoints appear whole under their names |
| `fairseq.checkpoint_utils.save_checkpoint` | `save_what_was_asked` | no best checkpoint \
below the target sparsity; no interval checkpoint is left out |
| `fairseq.trainer.NanDetector` | `end_at_nan` | one line in place of every gradient |
| attributes of `save_checkpoint` and `should_stop_early`, `progress_bar._tensorboard_writers`, \
`logging.raiseExceptions`, `BackgroundConsumer._max_len` | `one_run` | nothing of a run \
reaches the next one or the end of Python; a full disk is one line |
| `fairseq.checkpoint_utils.load_checkpoint_to_cpu` | `repaired_loading`, while a model \
is built | pre-trained files of other versions of fairseq load |
| `open` in `fairseq.tasks.audio_finetuning` and `fairseq.data.audio.raw_audio_dataset` | \
`read_utf8` | labels are UTF-8 whatever the locale |
| `numpy.random.default_rng` and numpy's global state | `numpy_seeded`, during a \
forward pass | a run is a function of its seed |
| torch's list of safe classes, `TORCH_FORCE_WEIGHTS_ONLY_LOAD` | \
`checkpoints.safe_load.allow_fairseq_classes` | fairseq's own `torch.load` runs no code |

Outside of this module, since these must work before or without `parp_fairseq`:

| what is changed | by | why |
|---|---|---|
| `fairseq_cli.hydra_train._hydra_main`, `hydra._internal.utils.run_and_report` and, in Hydra 1.0, \
`.print_exception` | `hydra_plugins/parp_searchpath/__init__.py` | checks before a training; one \
line for what Hydra refuses |
| `hydra.main`, `dataclasses.dataclass`, hashes of fairseq's config classes | \
`evaluation/infer.py` | fairseq's infer script starts on Python 3.11 with Hydra 1.3 |
| `open` where fairseq reads manifests and labels | `evaluation/infer.py` | as `read_utf8` |
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from fairseq import checkpoint_utils
from fairseq import trainer as fairseq_trainer
from fairseq.data.audio import raw_audio_dataset
from fairseq.data.iterators import BackgroundConsumer
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from fairseq.logging import progress_bar
from fairseq.tasks import audio_finetuning
from omegaconf import DictConfig, OmegaConf, open_dict

from parp_fairseq.checkpoints.fairseq_settings import repair_settings
from parp_fairseq.errors import UserError
from parp_fairseq.files import replacing
from parp_fairseq.runs.names import CRASH

_SECONDS_TO_END = 5.0
_fairseq_save_checkpoint = checkpoint_utils.save_checkpoint


def apply() -> None:
    """Change fairseq for trainings of task `parp` in this process; again does nothing new."""
    write_whole_files()
    save_what_was_asked()
    end_at_nan()


def read_utf8() -> None:
    """Read manifests and labels as UTF-8 whatever the locale, as fairseq reads dictionaries.

    It opens them without an encoding (`AudioFinetuningTask.load_dataset`: `open(label_path, "r")`,
    `FileAudioDataset.__init__`: `open(manifest_path, "r")`): where the locale is Latin-1, every
    letter beyond ASCII becomes `<unk>`, in training and in references.
    """
    for module in (audio_finetuning, raw_audio_dataset):
        module.open = partial(open, encoding="utf-8")


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

    Raises UserError: it cannot be written (rights, a full disk).
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


@contextlib.contextmanager
def one_run() -> Iterator[None]:
    """Train in this block as if the process were new: a multirun trains several times in one.

    fairseq keeps the best score as `save_checkpoint.best` and `should_stop_early.best`, and leaves
    TensorBoard's writers open, whose threads complain at exit. Its threads that read ahead go on,
    and where Python leaves meanwhile it aborts (exit code 134). A log file on a full disk does not
    fill the screen with tracebacks.
    """
    vars(checkpoint_utils.save_checkpoint).clear()
    train = sys.modules.get("fairseq_cli.train")
    if train is not None:
        vars(train.should_stop_early).clear()
    tracebacks, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = tracebacks
        for writer in progress_bar._tensorboard_writers.values():
            with contextlib.suppress(Exception):
                writer.close()
        progress_bar._tensorboard_writers.clear()
        _end_readers()


def _end_readers() -> None:
    last = time.monotonic() + _SECONDS_TO_END
    for thread in threading.enumerate():
        if isinstance(thread, BackgroundConsumer):
            # It looks at this after every batch, for which there must be room.
            thread._max_len = 0
            while thread.is_alive() and time.monotonic() < last:
                with contextlib.suppress(queue.Empty):
                    thread._queue.get(timeout=0.05)


@contextlib.contextmanager
def repaired_loading() -> Iterator[None]:
    """Let fairseq, inside this block, open checkpoints as if `parp repair` had repaired them.

    While it builds a model for fine-tuning it opens the pre-trained file itself
    (`Wav2VecEncoder.__init__`: `state = checkpoint_utils.load_checkpoint_to_cpu(cfg.w2v_path, …)`).
    """
    load = checkpoint_utils.load_checkpoint_to_cpu

    def repaired(*args: Any, **kwargs: Any) -> dict[str, Any]:
        state = load(*args, **kwargs)
        with open_dict(state["cfg"]):
            repair_settings(state["cfg"])
        return state

    checkpoint_utils.load_checkpoint_to_cpu = repaired
    try:
        yield
    finally:
        checkpoint_utils.load_checkpoint_to_cpu = load


@contextlib.contextmanager
def numpy_seeded(seed: int, update: int, micro_batch: int, rank: int) -> Iterator[None]:
    """Seed what fairseq draws from numpy in a forward pass, and put everything back after it.

    fairseq draws its span masks from `numpy.random.default_rng()` (`compute_mask_indices`), which
    takes fresh entropy; in 0.12.2, and for layerdrop in both, from numpy's global generator. It
    reseeds torch before every update, but neither of these. Span masks differ between workers
    (`rank`); layerdrop must not, since pytorch_ddp expects the same layers everywhere.
    """
    before = np.random.get_state()
    default_rng = np.random.default_rng
    sequence = np.random.SeedSequence((seed, update, micro_batch, rank))

    def seeded_rng(given: Any = None) -> np.random.Generator:
        return default_rng(sequence.spawn(1)[0] if given is None else given)

    np.random.seed(np.random.SeedSequence((seed, update, micro_batch)).generate_state(4))
    np.random.default_rng = seeded_rng
    try:
        yield
    finally:
        np.random.default_rng = default_rng
        np.random.set_state(before)
