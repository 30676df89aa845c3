"""What fairseq and logging keep in a process, begun anew for every run of a multirun."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from fairseq import checkpoint_utils
from fairseq.logging import progress_bar
from omegaconf import DictConfig


@contextlib.contextmanager
def one_run(own_process: bool) -> Iterator[None]:
    """Train in this block as if the process were new.

    fairseq keeps the best score as `save_checkpoint.best` and `should_stop_early.best`, and leaves
    TensorBoard's writers open, whose threads complain at exit. Reports are held back until
    `release_reports`, so that an error in between comes alone (fairseq's `main`:
    `logger.info(cfg)`), and a log file on a full disk does not fill the screen with tracebacks.

    Args:
        own_process: whether the training runs in this process, not in workers that fairseq spawns.
    """
    vars(checkpoint_utils.save_checkpoint).clear()
    train = sys.modules.get("fairseq_cli.train")
    if train is not None:
        vars(train.should_stop_early).clear()
    tracebacks, logging.raiseExceptions = logging.raiseExceptions, False
    if own_process:
        logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        logging.raiseExceptions = tracebacks
        for writer in progress_bar._tensorboard_writers.values():
            with contextlib.suppress(Exception):
                writer.close()
        progress_bar._tensorboard_writers.clear()


def release_reports(run: DictConfig) -> None:
    """Let fairseq report from here on, beginning with what was held back: the configuration."""
    if logging.root.manager.disable >= logging.INFO:
        logging.disable(logging.NOTSET)
        logging.getLogger("fairseq_cli.train").info(run)
