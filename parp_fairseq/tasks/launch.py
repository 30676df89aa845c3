"""From the command to the first update: checks before fairseq says a word, and one line at the end.

The Hydra plugin calls `launch` around fairseq's own training function. Where it is not there (the
workers that fairseq spawns), `experiment` does the checks when the model is built.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from fairseq.dataclass.initialize import add_defaults
from fairseq.dataclass.utils import omegaconf_no_object_check
from fairseq.distributed.utils import infer_init_method
from fairseq.logging import progress_bar
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parp_fairseq.errors import EXIT_CODE, INTERRUPTED, UserError, reported
from parp_fairseq.files import cannot_write, locked
from parp_fairseq.runs.names import LAST
from parp_fairseq.tasks.experiment import Experiment, check_experiment, completed
from parp_fairseq.tasks.inputs import settle_paths
from parp_fairseq.tasks.options import check_options

logger = logging.getLogger(__name__)

# What `launch` has checked, for the task that this process builds next.
_checked: list[Experiment] = []
# Locks of this process; a forked data loader worker must not keep them.
_locks: set[int] = set()
# What `_quiet` undoes.
_held = contextlib.ExitStack()


def launch(cfg: DictConfig, train: Callable[[DictConfig], Any]) -> Any:
    """Check a run, take its folder, and train; every failure that is known ends in one line.

    Args:
        cfg: as Hydra composed it, for task parp; the user dir is imported already.
        train: fairseq's training function.

    Returns:
        What `train` returned; None where the run was complete.
    """
    with reported():
        run = _completed_config(cfg)
        folder = Path(run.checkpoint.save_dir).absolute()
        # Of several processes that train together, the first one takes the folder.
        first = not run.distributed_training.distributed_rank
        with _one_line(folder), _alone(folder) if first else contextlib.nullcontext():
            checked = check_experiment(run.task, run.model, run)
            if checked.complete:
                logger.info(completed(checked, run))
                return None
            _checked[:] = [checked]
            _forget_earlier_run()
            with _quiet(run):
                return train(cfg)


def experiment(task: DictConfig, model: DictConfig, run: DictConfig) -> Experiment:
    """What `launch` checked, or the same checks now; leave where nothing is left to do."""
    checked = _checked.pop() if _checked else None
    if checked is None:
        checked = check_experiment(task, model, run)
        if checked.complete:
            logger.info(completed(checked, run))
            raise SystemExit(0)
    else:
        settle_paths(task, model, run)
    return checked


def checks_passed(run: DictConfig) -> None:
    """Let fairseq speak, and say what it would have said: the configuration."""
    if logging.root.manager.disable >= logging.INFO:
        _held.close()
        logging.getLogger("fairseq_cli.train").info(run)


@contextlib.contextmanager
def _quiet(run: DictConfig) -> Iterator[None]:
    """Hold reports and warnings back until the model is built: an error then still comes alone."""
    if not _spawns(run):
        logging.disable(logging.INFO)
        _held.callback(logging.disable, logging.NOTSET)
        _held.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
    with _held:
        yield


@contextlib.contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    """Tell what ends a training in one line, where it is not a fault of this program."""
    # A log file on a full disk would fill the screen with tracebacks.
    tracebacks, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    except KeyboardInterrupt:
        way = "goes on from its last checkpoint" if (folder / LAST).exists() else "begins it again"
        print(f"stopped; the same command {way}", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(cannot_write(error.filename or folder, error)) from error
        raise
    except Exception as error:
        ended = _ended_before(error)
        if ended is not None:
            raise ended from None
        line = _error_of_worker(error)
        if line == "":
            raise SystemExit(EXIT_CODE) from None
        line = line or _error_of_fairseq(error)
        if line is None:
            raise
        raise UserError(line) from error
    finally:
        logging.raiseExceptions = tracebacks
        # Their threads would complain at exit, and the next run of a multirun go on with them.
        for writer in progress_bar._tensorboard_writers.values():
            with contextlib.suppress(Exception):
                writer.close()
        progress_bar._tensorboard_writers.clear()


def _ended_before(error: BaseException | None) -> SystemExit | None:
    """The exit that an error hides: a scheduler's signal ended the program amid a torch.save."""
    while error is not None and not isinstance(error, SystemExit):
        error = error.__context__
    return error


def _forget_earlier_run() -> None:
    """Clear what a run of the same process (a multirun) left in fairseq: its best score."""
    vars(checkpoint_utils.save_checkpoint).clear()
    trainer = sys.modules.get("fairseq_cli.train")
    if trainer is not None:
        vars(trainer.should_stop_early).clear()


def _error_of_worker(error: Exception) -> str | None:
    """The line of a worker that fairseq spawned; empty where the worker printed it itself."""
    from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

    if isinstance(error, ProcessExitedException):
        return "" if error.exit_code == EXIT_CODE else None
    if isinstance(error, ProcessRaisedException):
        lines = re.findall(rf"^[\w.]*{UserError.__name__}: (.*)$", str(error), re.MULTILINE)
        return lines[-1] if lines else None
    return None


def _error_of_fairseq(error: Exception) -> str | None:
    if str(error).startswith("Cannot load model parameters from checkpoint"):
        # fairseq hides which ones.
        cause = " ".join(str(error.__context__ or "").split())
        return f"{str(error).split(';')[0]}: it is of another model ({cause[:200]})"
    if isinstance(error, AssertionError) and "phase_ratio" in str(error):
        return "optimization.max_update is too small for the stages of lr_scheduler.phase_ratio"
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, and clear away what a save that was killed left there."""
    with locked(folder, "another training") as descriptor:
        _locks.add(descriptor)
        try:
            for partial in folder.glob(".checkpoint*.part.pt"):
                partial.unlink(missing_ok=True)
            yield
        finally:
            _locks.discard(descriptor)


def _forget_locks() -> None:
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()


os.register_at_fork(after_in_child=_forget_locks)


def _completed_config(cfg: DictConfig) -> DictConfig:
    """A copy of the configuration with all defaults and nothing left to look up.

    Raises:
        UserError: names an option that is unknown or of the wrong type.
    """
    try:
        with omegaconf_no_object_check():
            plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
            check_options(plain)
            run = OmegaConf.create(plain)
            add_defaults(run)
            run = OmegaConf.create(OmegaConf.to_container(run, resolve=True, enum_to_str=True))
    except OmegaConfBaseException as error:
        raise UserError(f"the configuration: {str(error).splitlines()[0]}") from error
    if run.distributed_training.distributed_init_method is None:
        try:
            # As fairseq will: how many processes train together, and which of them this is.
            infer_init_method(run.distributed_training)
        except AssertionError as error:
            raise UserError(f"distributed_training.distributed_world_size: {error}") from error
    return run


def _spawns(run: DictConfig) -> bool:
    training = run.distributed_training
    return training.distributed_init_method is not None and not training.distributed_no_spawn
