"""The yaml files that ship: find, read, copy, and fit to another number of GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from parp_fairseq.errors import UserError
from parp_fairseq.files import Kind, check_output, write_bytes

FOLDER = Path(__file__).parent
_NAME = re.compile(r"\w[\w.-]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
_RUNS = re.compile(r"^( +dir: runs/)[\w-]+", re.MULTILINE)  # hydra.run.dir and hydra.sweep.dir
GPUS = 4  # what `optimization.update_freq` of every yaml is for (the authors' scripts)


def _is_config(path: Path) -> bool:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, RecursionError):
        return False
    task = content.get("task") if isinstance(content, dict) else None
    return isinstance(task, dict) and task.get("_name") == "parp"


CONFIG = Kind("a config of task parp", _is_config)


class ConfigSummary(NamedTuple):
    """One line about a config."""

    name: str
    title: str
    updates: int
    learning_rate: float
    interval: str


def names() -> list[str]:
    """Return the configs' names, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def path_of(name: str) -> Path:
    """Return a config's file. Raises UserError: there is none of that name."""
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        close = get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names())}"
        raise UserError(f"no config named {name!r}; {hint}")
    return path


@cache
def read(name: str) -> Mapping[str, Any]:
    """Return what a config says, read once; it is shared: do not change it.

    Raises UserError: there is none of that name.
    """
    content: Mapping[str, Any] = yaml.safe_load(path_of(name).read_text(encoding="utf-8"))
    return content


def summary(name: str) -> ConfigSummary:
    """Return what distinguishes a config from the others."""
    text = path_of(name).read_text(encoding="utf-8")
    title = next(
        line[2:] for line in text.splitlines() if line.startswith("# ") and "@" not in line
    )
    config = read(name)
    prune, optimization = config["task"]["prune"], config["optimization"]
    interval = f"{prune['interval']} {prune['interval_unit']}s"
    rate = float(optimization["lr"][0])
    return ConfigSummary(name, title, optimization["max_update"], rate, interval)


def overrides_for_gpus(name: str, gpus: int) -> list[str]:
    """Return the overrides that keep a config's effective batch on `gpus` GPUs.

    Raises UserError: `gpus` is below 1, or does not divide the batch.
    """
    pieces = read(name)["optimization"]["update_freq"][0] * GPUS
    if gpus < 1:
        raise UserError(f"--gpus must be at least 1 (got {gpus})")
    if pieces % gpus:
        fitting = [str(n) for n in range(1, pieces + 1) if pieces % n == 0]
        raise UserError(
            f"--gpus {gpus}: the batch of {name} is {pieces} pieces of dataset.max_tokens and does "
            f"not divide by {gpus}; use {', '.join(fitting)}, or change dataset.max_tokens"
        )
    return [
        f"distributed_training.distributed_world_size={gpus}",
        f"optimization.update_freq=[{pieces // gpus}]",
    ]


def copy(name: str, to: Path, force: bool = False) -> Path:
    """Copy a config to a file or into a folder, for changes of one's own; return the copy.

    Its runs go into a folder of the copy's name. Raises UserError: the copy already exists (unless
    `force`), its name is of another kind of file or not fit for a folder of runs, or it cannot be
    written.
    """
    source = path_of(name)
    target = to / source.name if to.is_dir() or to.suffix not in (".yaml", ".yml") else to
    if not _NAME.fullmatch(target.stem):
        # The yaml holds it as it is.
        raise UserError(
            f"the name of the copy {target} is also the folder of its runs; use only letters, "
            "digits, -, _ and ."
        )
    check_output(target, CONFIG, inputs=[source], force=force, option="the copy")
    text = source.read_text(encoding="utf-8")
    write_bytes(target, _RUNS.sub(rf"\g<1>{target.stem}", text).encode())
    return target


def override(key: str, value: Any) -> str:
    """An override for Hydra, whose grammar gives blanks, commas and brackets a meaning."""
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"{key}={value}"
    if isinstance(value, (list, tuple)):
        return f"{key}=[{','.join(map(str, value))}]"
    if _PLAIN.fullmatch(str(value)):
        return f"{key}={value}"
    quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"
