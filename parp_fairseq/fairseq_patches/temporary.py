"""Changes that hold for a block: while a run lasts, a model is built, a batch goes forward."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from fairseq import checkpoint_utils
from fairseq.data.iterators import BackgroundConsumer
from fairseq.logging import progress_bar
from omegaconf import open_dict

from parp_fairseq.checkpoints.fairseq_settings import repair_settings

_SECONDS_TO_END = 5.0


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
    reseeds torch before every update, but neither of these, so that a resumed run would differ.

    Args:
        seed: common.seed.
        update: updates done so far.
        micro_batch: how many batches of this update came before.
        rank: of this worker. Span masks differ between workers; layerdrop must not, since
            pytorch_ddp expects the same layers everywhere.
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
