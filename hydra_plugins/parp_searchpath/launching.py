"""Our own checks around fairseq's training function, and one line for what Hydra refuses."""

from __future__ import annotations

import difflib
import functools
import importlib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from hydra._internal import utils as hydra_utils
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .command_line import config_folder, is_ours, option

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
        return _train(cfg, functools.partial(self.train, **kwargs))


def install() -> None:
    """Take part in this process's training, if it is one; again does nothing new."""
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
        hydra_utils.print_exception = _print_exception


def _print_exception(etype: Any, value: BaseException, tb: Any) -> None:
    traceback.print_exception(type(value), value, value.__traceback__)


def _train(cfg: Any, train: Callable[[Any], Any]) -> Any:
    task = cfg.get("task")
    if OmegaConf.is_config(task):
        task = task.get("_name")
    if task != "parp":
        return train(cfg)
    _import_user_dir(cfg)
    from parp_fairseq.tasks.launch import launch

    return launch(cfg, train)


def _import_user_dir(cfg: Any) -> None:
    """Let fairseq import this package, as it would a moment later."""
    from fairseq.tasks import TASK_REGISTRY
    from fairseq.utils import import_user_module

    given = cfg.common.get("user_dir")
    if not given:
        leave(f"common.user_dir is missing; task parp needs {_USER_DIR}")
    _settle_imported(given)
    try:
        import_user_module(cfg.common)
    except (FileNotFoundError, ImportError) as error:
        if isinstance(error, ImportError) and "parp_fairseq" in str(given):
            raise
        leave(f"common.user_dir={given} cannot be imported ({error}); use {_USER_DIR}")
    if "parp" not in TASK_REGISTRY:
        leave(f"common.user_dir={given} brings no task parp; use {_USER_DIR}")


def _settle_imported(given: str) -> None:
    """Where the package is imported already, let fairseq find that it is the one asked for.

    A job that submitit put back into the queue holds settings of ours: unpickling them imports the
    package, and fairseq takes the same folder under another path for another package.
    """
    package = sys.modules.get("parp_fairseq")
    if package is None:
        return
    import fairseq

    root = os.path.dirname(fairseq.__file__)
    # In fairseq's order, and as it writes them.
    for place in (os.path.abspath(given), f"{root}/{given}", f"{root}/../{given}"):
        if os.path.exists(place):
            if os.path.samefile(place, package.__path__[0]):
                if place not in package.__path__:
                    package.__path__.append(place)
                # What the import does where fairseq is there first.
                for room in ("criterions", "optim", "tasks"):
                    importlib.import_module(f"parp_fairseq.{room}")
            return


def _reporting(report: Callable[[Any], Any], training: _Trained) -> Callable[[Any], Any]:
    """Hydra's `run_and_report`, with one line for what is wrong with the command of a training."""

    @functools.wraps(report)
    def run_and_report(func: Callable[[], Any]) -> Any:
        try:
            return func()
        except (HydraException, OmegaConfBaseException) as error:
            if training.begun or not is_ours(sys.argv) or os.environ.get("HYDRA_FULL_ERROR") == "1":
                return report(functools.partial(_raise, error))
            leave(refused(error, sys.argv))
        except Exception as error:
            return report(functools.partial(_raise, error))

    return run_and_report


def _raise(error: Exception) -> NoReturn:
    raise error


def refused(error: Exception, argv: list[str]) -> str:
    """Say in a line what Hydra found wrong with a command.

    Args:
        error: what Hydra raised while it composed the configuration.
        argv: the program and its arguments.
    """
    message = str(error)
    if "Could not load 'hydra/launcher/submitit" in message:
        return (
            "hydra/launcher: submitit is missing; in the clone of parp-fairseq: "
            "pip install '.[slurm]'"
        )
    unknown = re.search(
        r"Could not (?:override|delete) '([^']+)'|Key '([^']+)' is not in struct", message
    )
    first = (
        message.strip().splitlines()[0].rstrip(" .") if message.strip() else type(error).__name__
    )
    if unknown:
        key = unknown[1] or unknown[2]
        known = list(_known_options(argv))
        # A name that is right in the wrong place comes before one that is spelt like it.
        named = [one for one in known if one.endswith(f".{key.rpartition('.')[2]}")]
        close = difflib.get_close_matches(key, named or known, n=1, cutoff=0.0 if named else 0.6)
        hint = f"did you mean {close[0]}?" if close else f"to add it all the same write +{key}=…"
        return f"{key}: there is no such option; {hint}"
    merging = re.match(r"Error merging override (.*)", first)
    if merging:
        cause = str(error.__cause__ or message.partition("\n")[2]).strip().splitlines()
        return f"{merging[1]}: {cause[0] if cause else 'not a value for it'}"
    return first


def _known_options(argv: list[str]) -> Iterator[str]:
    """Dotted keys of the yaml file that the command names."""
    name = (option(argv, "--config-name", "-cn") or "").removesuffix(".yaml")
    own = option(argv, "--config-dir", "-cd")
    for folder in (own, config_folder()):
        file = f"{folder}/{name}.yaml"
        try:
            yield from _keys(OmegaConf.to_container(OmegaConf.load(file), resolve=False))
            return
        except Exception:
            continue


def _keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
