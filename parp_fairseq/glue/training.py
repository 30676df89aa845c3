"""One fine-tuning by a transformers `Trainer`, which goes on from its last whole checkpoint."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_json
from parp_fairseq.glue.features import ByLength, Features, loss_of
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.tasks import Task

WHOLE = "whole.json"
"""In a checkpoint that was written to its end: the seconds that training took so far."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")
_EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Trained:
    """A model that was fine-tuned (what it holds is m⊙θ), and what that took."""

    trainer: Trainer
    updates: int
    seconds: float

    def predict(self, features: Features) -> list[float]:
        """Predict in the features' order: numbers of classes, or scores.

        Raises:
            UserError: the model's outputs are no numbers, as after a training that diverged.
        """
        order = sorted(range(len(features)), key=features.lengths.__getitem__)
        logits = self.trainer.predict(torch.utils.data.Subset(features, order)).predictions
        logits = logits[0] if isinstance(logits, tuple) else logits
        if not math.isfinite(float(logits.sum())):
            raise UserError("training diverged: the model's outputs are NaN; lower --learning-rate")
        values = logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)
        predicted = [0.0] * len(order)
        for row, value in zip(order, values.tolist()):
            predicted[row] = value
        return predicted


class _InBatches(Trainer):
    """A Trainer that goes through random batches sorted by length inside."""

    def __init__(self, *, sampler: ByLength, **arguments: Any) -> None:
        self._sampler = sampler
        super().__init__(**arguments)

    def _get_train_sampler(self, *_: Any, **__: Any) -> ByLength:
        return self._sampler


class _Course(TrainerCallback):
    """Tells of every update, and seals checkpoints; it comes after the callback that prunes."""

    def __init__(self, before: float, each: Callable[[int, int], None]) -> None:
        self._before = before
        self._begun = time.monotonic()
        self._each = each

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._each(state.global_step, state.max_steps)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        write_json(folder / WHOLE, {"seconds": self.seconds})


def train(
    model: Any,
    tokenizer: Any,
    task: Task,
    features: Features,
    settings: Settings,
    folder: Path,
    *,
    seed: int,
    pruning: TrainerCallback | None,
    each: Callable[[int, int], None],
) -> Trained:
    """Fine-tune, or go on where an earlier call was stopped.

    Args:
        model: a classifier; it is trained in place.
        tokenizer: pads the batches.
        task: what is trained.
        features: the training examples.
        settings: how.
        folder: for the checkpoints, one an epoch.
        seed: of batches and dropout.
        pruning: the callback that prunes; None: nothing is pruned.
        each: called after every update with its number and that of all updates.
    """
    checkpoint = last_whole(folder)
    course = _Course(_seconds(checkpoint), each)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=min(settings.batch, settings.micro_batch),
        gradient_accumulation_steps=settings.passes,
        per_device_eval_batch_size=_EVALUATION_BATCH,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        num_train_epochs=settings.epochs,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(settings.warmup * settings.updates(len(features))),
        max_grad_norm=1.0,
        bf16=settings.precision == "bf16",
        # Without a GPU, mixed precision wants to be told so.
        use_cpu=not torch.cuda.is_available(),
        save_strategy="epoch",
        # Two, since the older one goes before the newer one is whole.
        save_total_limit=2,
        logging_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    trainer = _InBatches(
        model=model,
        args=arguments,
        train_dataset=features,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[*([pruning] if pruning is not None else []), course],
        compute_loss_func=loss_of(task),
        sampler=ByLength(features.lengths, settings.batch, seed),
    )
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return Trained(trainer, trainer.state.global_step, course.seconds)


def last_whole(folder: Path) -> Path | None:
    """The newest checkpoint in a folder that was written to its end."""
    return max(
        (path for path in _checkpoints(folder) if (path / WHOLE).is_file()),
        key=_update,
        default=None,
    )


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in a folder, whole or not."""
    for path in _checkpoints(folder):
        shutil.rmtree(path, ignore_errors=True)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _CHECKPOINT.search(path.name)]


def _update(path: Path) -> int:
    match = _CHECKPOINT.search(path.name)
    return int(match[1]) if match else -1


def _seconds(checkpoint: Path | None) -> float:
    if checkpoint is None:
        return 0.0
    return float(json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))["seconds"])
