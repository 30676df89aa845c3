"""The learning rates of a whole run, before it begins."""

from __future__ import annotations

import copy
import math

import torch
from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from omegaconf import DictConfig


class _Rate(FairseqOptimizer):
    """Holds a learning rate for a scheduler, and updates nothing."""

    def __init__(self) -> None:
        super().__init__(None)
        self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.0)


def learning_rates(run: DictConfig, batches: int = 0) -> tuple[list[float], list[int]]:
    """Let fairseq's scheduler go through the run, as if no validation changed anything.

    Args:
        run: the whole config.
        batches: those of an epoch on each worker; 0: not known.

    Returns:
        The learning rate of every update, and after how many updates each epoch ends (nothing
        where that is not known). No rates where it is not known when the run ends.
    """
    optimizer = _Rate()
    scheduler = build_lr_scheduler(copy.deepcopy(run.lr_scheduler), optimizer)
    length = run.optimization.max_update or math.inf
    epochs = run.optimization.max_epoch or math.inf
    if length == math.inf and (epochs == math.inf or not batches):
        return [], []
    rates: list[float] = []
    ends: list[int] = []
    while len(rates) < length and len(ends) < epochs:
        # As `Trainer.begin_epoch`, `train_step` and `lr_step` do.
        scheduler.step_begin_epoch(len(ends) + 1)
        end = len(rates) + _updates(run, batches, len(ends)) if batches else length
        for update in range(len(rates), int(min(end, length))):
            scheduler.step_update(update)
            rates.append(float(optimizer.get_lr()))
        scheduler.step(len(ends) + 1)
        ends.append(len(rates))
    return rates, ends if batches else []


def _updates(run: DictConfig, batches: int, epochs_done: int) -> int:
    every = run.optimization.update_freq
    share = batches / every[min(epochs_done, len(every) - 1)]
    dropped = run.optimization.get("skip_remainder_batch")
    return max(1, math.floor(share) if dropped else math.ceil(share))
