"""Lets `--config-name` find this project's yaml files, and checks a training before it starts.

The changes of fairseq and Hydra here are listed in `parp_fairseq/fairseq_patches.py`.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal import utils as hydra_utils
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .naming import changes

_USER_DIR = "common.user_dir=parp_fairseq"
# Hydra's remarks on how fairseq uses it, which no user of fairseq can do anything about.
_REMARKS = (r"\s*'[^']*' is validated against ConfigStore", r"\s*Future Hydra versions")


def leave(line: str) -> NoReturn:
    """End the program with a line for the user."""
    print(f"parp: error: {' '.join(line.split())}", file=sys.stderr, flush=True)
    raise SystemExit(2)


class _Trained:
    """fairseq's training function with our checks around it.

    An object, so that it goes along where submitit pickles the program for a job.
    """

    def __init__(self, train: Callable[..., Any]) -> None:
        self.train = train
        self.begun = False

    def __call__(self, cfg: Any, **kwargs: Any) -> Any:
        self.begun = True
        train = functools.partial(self.train, **kwargs)
        task = cfg.get("task")
        if OmegaConf.is_config(task):
            task = task.get("_name")
        if task != "parp":
            return train(cfg)
        _import_user_dir(cfg)
        from parp_fairseq.tasks.launch import launch

        return launch(cfg, train)


def install() -> None:
    """Take part in this process's training, if it is one; again does nothing new.

    Changes `fairseq_cli.hydra_train._hydra_main`, which its `hydra_main` calls with the composed
    config, and `hydra._internal.utils.run_and_report`, which prints what Hydra refuses.
    """
    module = sys.modules.get("fairseq_cli.hydra_train") or sys.modules["__main__"]
    train = getattr(module, "_hydra_main", None)
    if train is None or isinstance(train, _Trained):
        return
    for remark in _REMARKS:
        warnings.filterwarnings("ignore", message=remark)
    logging.getLogger("hydra").setLevel(logging.WARNING)
    module._hydra_main = ours = _Trained(train)
    hydra_utils.run_and_report = _reporting(hydra_utils.run_and_report, ours)
    if hasattr(hydra_utils, "print_exception"):
        # Hydra 1.0 calls it in a way that Python 3.10 does not know, and hides the real error.
        hydra_utils.print_exception = lambda etype, value, tb: traceback.print_exception(
            type(value), value, value.__traceback__
        )


def _reporting(report: Callable[[Any], Any], training: _Trained) -> Callable[[Any], Any]:
    """Hydra's `run_and_report`, with one line for what is wrong with the command of a training."""

    @functools.wraps(report)
    def run_and_report(func: Callable[[], Any]) -> Any:
        try:
            return func()
        except Exception as error:
            of_command = isinstance(error, (HydraException, OmegaConfBaseException))
            full = os.environ.get("HYDRA_FULL_ERROR") == "1"
            if of_command and not training.begun and is_ours(sys.argv) and not full:
                leave(refused(error))
            return report(functools.partial(_raise, error))

    return run_and_report


def _raise(error: Exception) -> NoReturn:
    raise error


def _import_user_dir(cfg: Any) -> None:
    """Let fairseq import this package, as it would a moment later."""
    from fairseq.tasks import TASK_REGISTRY
    from fairseq.utils import import_user_module

    given = cfg.common.get("user_dir")
    if not given:
        leave(f"common.user_dir is missing; task parp needs {_USER_DIR}")
    package = sys.modules.get("parp_fairseq")
    if package is not None and Path(given).name == "parp_fairseq":
        # By an earlier run of a multirun, or by a job that submitit put back into the queue and
        # that holds settings of ours. fairseq takes the same folder under another path for another.
        cfg.common.user_dir = os.path.abspath(package.__path__[0])
        if cfg.common.user_dir not in package.__path__:
            package.__path__.append(cfg.common.user_dir)
        for module in ("criterions", "optim", "tasks"):
            importlib.import_module(f"parp_fairseq.{module}")
    try:
        import_user_module(cfg.common)
    except (FileNotFoundError, ImportError) as error:
        if isinstance(error, ImportError) and "parp_fairseq" in str(given):
            raise
        leave(f"common.user_dir={given} cannot be imported ({error}); use {_USER_DIR}")
    if "parp" not in TASK_REGISTRY:
        leave(f"common.user_dir={given} has no task parp; use {_USER_DIR}")


def config_folder() -> Path:
    """The folder of the yaml files, absolute.

    It is found relative to this file, in a clone as in site-packages: importing `parp_fairseq` here
    would make fairseq refuse it later as a user dir ("not globally unique").
    """
    return Path(__file__).resolve().parents[2] / "parp_fairseq" / "config"


def is_ours(argv: list[str]) -> bool:
    """Whether this is a training that names this project: its user dir, a yaml file, an option."""
    if not Path(argv[0]).stem.startswith(("fairseq-hydra-train", "hydra_train")):
        return False
    return any("parp" in argument for argument in argv[1:])


def unknown_config(argv: list[str]) -> str | None:
    """Say what is wrong if `argv` is a training of this project without such a --config-name.

    fairseq registers a schema under whatever name is asked for, so that Hydra never misses a
    file and the user sees an error about a missing `model` instead.

    Returns:
        None where nothing is wrong: another program, another user dir, or a config that exists.
    """
    if not is_ours(argv):
        return None
    name = option(argv, "--config-name", "-cn")
    if name is None or option(argv, "--config-path", "-cp") is not None:
        # A --config-path means a folder in fairseq's own package: Hydra's to find.
        return None
    asked = name[: -len(".yaml")] if name.endswith(".yaml") else name
    folders = [config_folder()]
    own = option(argv, "--config-dir", "-cd")
    if own is not None:
        folders.append(Path(own))
    if any((folder / f"{asked}.yaml").is_file() for folder in folders):
        return None
    known = sorted(path.stem for path in config_folder().glob("*.yaml"))
    close = difflib.get_close_matches(asked, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"no config named {name!r}; {hint} (your own: --config-dir FOLDER)"


def option(argv: list[str], long: str, short: str) -> str | None:
    """The value of an option, in any of its spellings; None where it is not given."""
    for position, argument in enumerate(argv):
        if argument in (long, short) and position + 1 < len(argv):
            return argv[position + 1]
        if argument.startswith(f"{long}="):
            return argument.partition("=")[2]
    return None


def refused(error: Exception) -> str:
    """Say in a line what Hydra found wrong while it composed the configuration."""
    lines = [line.strip(" .") for line in str(error).splitlines()] or [type(error).__name__]
    if "Could not load 'hydra/launcher/submitit" in str(error):
        install = "in the clone of parp-fairseq: pip install '.[slurm]'"
        return f"hydra/launcher: submitit is missing; {install}"
    unknown = re.match(r"Could not (?:override|delete) '([^']+)'", lines[0])
    if unknown:
        return (
            f"{unknown[1]}: no such option; `parp configs show NAME` lists those of pruning, and "
            f"+{unknown[1]}=… adds one of fairseq that the config leaves out"
        )
    if lines[0].startswith("Error merging override"):
        cause = str(error.__cause__ or "").strip().splitlines() or lines[1:]
        return ": ".join([lines[0].replace("Error merging override ", ""), *cause[:1]])
    return lines[0]


class ParpSearchPath(SearchPathPlugin):
    """Appends our yaml files to Hydra's search path, after those of the application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder; called by Hydra once per run, before it composes the config."""
        search_path.append(provider="parp-fairseq", path=f"file://{config_folder()}")
        _register()
        problem = unknown_config(sys.argv)
        if problem:
            leave(problem)
        install()


def _register() -> None:
    """Let OmegaConf resolve `${parp:changes}`; calling it again does nothing new."""
    if hasattr(OmegaConf, "register_new_resolver"):
        OmegaConf.register_new_resolver("parp", _resolve, replace=True)
    else:
        # OmegaConf 2.0 refuses a second registration.
        with contextlib.suppress(AssertionError):
            OmegaConf.register_resolver("parp", _resolve)


def _resolve(what: str) -> str:
    if what != "changes":
        raise ValueError(f"there is no ${{parp:{what}}}; write ${{parp:changes}}")
    return changes([str(override) for override in HydraConfig.get().overrides.task])
