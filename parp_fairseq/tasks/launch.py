"""From the command to fairseq's training: checks before it says a word, and one line at the end.

The Hydra plugin calls `launch` around fairseq's own training function.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from fairseq.dataclass.utils import omegaconf_no_object_check
from fairseq.distributed.utils import infer_init_method
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from torch.nn import Module

from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import INTERRUPTED, UserError, cannot_encode, reported
from parp_fairseq.fairseq_patches import one_run
from parp_fairseq.files import cannot_write, locked
from parp_fairseq.manifests.tsv import available_splits
from parp_fairseq.runs.names import BEST, LAST
from parp_fairseq.tasks.checks import check_run
from parp_fairseq.tasks.resuming import updates_of

# In a traceback, also in the text of one that a worker sends: fairseq was in its loop.
_TRAINS = re.compile(r"fairseq_cli.train\.py\", line \d+, in train\b")
_WORKER = "terminated with the following error"
# What Hydra and the lock leave of a start that was refused; the log is empty then.
_TRACES = {"config.yaml", "hydra.yaml", "overrides.yaml", "hydra_train.log", ".lock"}


def launch(cfg: DictConfig, train: Callable[[DictConfig], Any]) -> Any:
    """Check a run, lock its folder, and train; every failure that is known ends in one line.

    `cfg` is as Hydra composed it, for task parp; the user dir is imported already. fairseq's
    `train` gets it with absolute paths and, in `task.contents`, digests of what the run reads.
    Returns what it returned; None where the run was complete.
    """
    with reported():
        run = completed_config(cfg)
        folder = Path(run.checkpoint.save_dir).absolute()
        # Of several processes that train together, the first one locks the folder.
        rank = run.distributed_training.distributed_rank
        lock = contextlib.nullcontext() if rank else alone_in(folder)
        with one_line(folder), lock, _traces_removed():
            left = check_run(run)
            trained = None
            if left:
                _keep_dumps_off_the_terminal()
                with one_run():
                    trained = train(run)
            if rank == 0:
                _say_what_is_there(run, folder)
            return trained


class NoDumps(logging.Filter):
    """Passes over fairseq's whole config and model, which are in the log file."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is something else."""
        return not isinstance(record.msg, (DictConfig, Module))


def _keep_dumps_off_the_terminal() -> None:
    """Change the settings by which fairseq sets up logging, once more in every process."""
    if not HydraConfig.initialized():
        return
    hydra = HydraConfig.instance().cfg.hydra
    logs = OmegaConf.to_container(hydra.job_logging, resolve=True)
    if "console" in (logs.get("handlers") or {}):
        logs["filters"] = {"dumps": {"()": f"{__name__}.{NoDumps.__name__}"}}
        logs["handlers"]["console"]["filters"] = ["dumps"]
        with read_write(hydra), open_dict(hydra):
            hydra.job_logging = logs


def _say_what_is_there(run: DictConfig, folder: Path) -> None:
    """Print where a run's model is, how it scored, and the command that scores it."""
    file = next((folder / name for name in (BEST, LAST) if (folder / name).is_file()), None)
    if file is None:
        return

    def seen(path: Path) -> str:
        here = Path(run.task.folder or os.getcwd())
        return shlex.quote(str(path.relative_to(here) if here in path.parents else path))

    state = load_checkpoint(file)
    best = (state.get("extra_state") or {}).get("best")
    valid = run.dataset.valid_subset
    score = ""
    if file.name == BEST and best is not None:
        score = f", {run.checkpoint.best_checkpoint_metric} {best:.4g} in validation ({valid})"
    data = Path(run.task.data)
    tests = [split for split in available_splits(data) if split.startswith("test")]
    splits = shlex.quote(",".join(tests) or valid)
    print(f"the trained model: {seen(file)} (update {updates_of(state):,}{score})")
    print(f"to score it: parp eval {seen(file)} --data {seen(data)} --split {splits}", flush=True)


def completed_config(cfg: DictConfig) -> DictConfig:
    """A copy of the configuration with all defaults and nothing left to look up.

    Raises UserError: names an option that is unknown or of the wrong type.
    """
    try:
        with omegaconf_no_object_check():
            run = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
            add_defaults(run)
            run = OmegaConf.create(OmegaConf.to_container(run, resolve=True, enum_to_str=True))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        first, *more = str(error).splitlines()
        keys = [line.partition("full_key:")[2].strip() for line in more if "full_key:" in line]
        raise UserError(f"option {keys[0] if keys else 'unknown'}: {first}") from error
    _refuse_unknown(run)
    distributed = run.distributed_training
    if distributed.distributed_init_method is None:
        try:
            # As fairseq will: how many processes train together, and which of them this is.
            infer_init_method(distributed)
        except AssertionError as error:
            raise UserError(f"distributed_training.distributed_world_size: {error}") from error
    if distributed.distributed_init_method is None and distributed.distributed_world_size > 1:
        raise UserError(
            f"distributed_training.distributed_port={distributed.distributed_port} is for SLURM, "
            "and this is no job of SLURM; leave it out (on one machine) or start by torchrun"
        )
    return run


def _refuse_unknown(run: DictConfig) -> None:
    """Raise UserError for an option that `+` added and nothing reads."""
    sections = {section.name: section.type for section in fields(FairseqConfig)}
    for name, node in run.items():
        if name not in sections and get_close_matches(name, sections, n=1, cutoff=0.8):
            raise UserError(f"{name}: no such section{_meant(name, sections)}")
        if is_dataclass(sections.get(name)):
            known = [option.name for option in fields(sections[name])]
            for key in set(node) - set(known):
                raise UserError(f"{name}.{key}: no such option{_meant(key, known, f'{name}.')}")


def _meant(name: str, known: Sequence[str], before: str = "") -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {before}{close[0]}?" if close else " of this fairseq; leave it out"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder, and clear away what a save that was killed left there."""
    with locked(folder, "another training", inherited=False):
        for partial in folder.glob(".checkpoint*.part.pt"):
            partial.unlink(missing_ok=True)
        yield


@contextlib.contextmanager
def one_line(folder: Path) -> Iterator[None]:
    """End a training in one line, where what ends it is not a fault of this program."""
    try:
        yield
    except KeyboardInterrupt:
        way = "resume from its last checkpoint" if (folder / LAST).exists() else "begin it again"
        print(f"stopped; rerun the same command to {way}", file=sys.stderr, flush=True)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        hidden: BaseException | None = error
        while hidden is not None and not isinstance(hidden, SystemExit):
            hidden = hidden.__context__
        if hidden is not None:
            # A scheduler's signal ended the program amid a torch.save.
            raise hidden from None
        line = _line_of(error, folder)
        if line is None:
            raise
        raise UserError(line) from error


def _line_of(error: Exception, folder: Path) -> str | None:
    """What to say of an error; None where it is a fault of the program."""
    text = str(error)
    # A worker that fairseq or torch spawned sends its traceback as text.
    of_worker = re.findall(rf"^[\w.]*{UserError.__name__}: (.*)$", text, re.MULTILINE)
    if of_worker:
        return of_worker[-1]
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return cannot_write(error.filename or folder, error)
    if isinstance(error, UnicodeEncodeError):
        return cannot_encode(error)
    if text.startswith("Cannot load model parameters from checkpoint"):
        # fairseq hides which ones.
        cause = " ".join(str(error.__context__ or "").split())
        return f"{text.split(';')[0]}: it is of another model ({cause[:200]})"
    where = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if os.environ.get("HYDRA_FULL_ERROR") == "1" or _TRAINS.search(where):
        return None
    what = (text.strip().splitlines() or [""])[-1 if _WORKER in text else 0]
    name = "" if _WORKER in text else f"{type(error).__name__}: "
    return f"the training cannot begin: {name}{what} (HYDRA_FULL_ERROR=1 shows where)"


@contextlib.contextmanager
def _traces_removed() -> Iterator[None]:
    """Where a start is refused, remove the run folder if nothing but that start used it."""
    try:
        yield
    except UserError:
        # Hydra has made the folder, changed into it and opened the log.
        folder = Path.cwd()
        files = [path for path in folder.rglob("*") if not path.is_dir()]
        unused = {path.name for path in files} <= _TRACES
        unused = unused and not any(path.stat().st_size for path in folder.glob("*.log"))
        if unused and (folder / ".hydra").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        raise
