"""Which runs are one experiment under several seeds, and what distinguishes experiments."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.runs.reading import SOURCES, Run, sources_of
from parp_fairseq.runs.settings import flat, is_path

# What may differ between two runs of one setting: the seed, where things lie, what is shown.
_NOT_COMPARED = (
    "checkpoint.",
    "common.log_",
    "common.seed",
    "common.tensorboard_logdir",
    "common.user_dir",
    "common_eval.",
    "dataset.num_workers",
    "distributed_training.distributed_init_method",
    "distributed_training.distributed_port",
    "job_logging_cfg.",
    "model.data",
    "model.w2v_args",
    "task.folder",
    "task.prune.mask",
    "task.prune.seed",
    "task.seed",
)
# Paths of what a run's record has the digest of → that digest's name there.
_BY_CONTENT = {
    "task.data": "the training set's audio",
    "model.w2v_path": "model.w2v_path",
}


class Setting(NamedTuple):
    """What a run was set to."""

    # what distinguishes experiments, as JSON. Of a path, the digest of its content where it is
    # known; of a file that another run left, that run's settings; of any other such file its
    # path, except for numbers after "seed"
    value: str
    shown: Any  # in titles; None where a title cannot say it


def settings_of(run: Run, above: tuple[Path, ...] = ()) -> dict[str, Setting]:
    """The settings that distinguish experiments: runs that share all are one under several seeds.

    Args:
        run: a run.
        above: folders of the runs that build on it.
    """
    digests = run.record.get("contents") or {}
    config = flat(run.record["config"])
    found = {"task.prune.method": Setting(run.method, run.method)}
    for key, value in config.items():
        section, _, name = key.partition(".")
        # A scheduler's setting may repeat the optimization's of that name.
        repeats = section == "lr_scheduler" and config.get(f"optimization.{name}", ...) == value
        is_source = key == "task.prune.initial" and is_path(value)
        unused = run.method == "dense" and key.startswith("task.prune.")
        if not (key.startswith(_NOT_COMPARED) or repeats or is_source or unused):
            content = digests.get(_BY_CONTENT.get(key), value)
            found[key] = Setting(json.dumps(content, default=str), value)
    for key, digest in digests.items():
        if key.startswith("the "):
            found[key] = Setting(digest, None)
    here = (*above, run.folder.resolve())
    for key, source in sources_of(run).items():
        if source.run is not None and source.run.folder.resolve() not in here:
            data = Path(str(source.run.option("task.data"))).name
            value = json.dumps(settings_of(source.run, here), sort_keys=True, default=str)
            shown = f"{source.run.method} on {data}"
        else:
            value, shown = re.sub(r"(?<=seed)\d+", "*", str(source.path)), source.path.name
        found[f"{SOURCES[key]} of"] = Setting(value, shown)
    return found


def differing(experiments: Sequence[Mapping[str, Setting]]) -> list[str]:
    """Keys of the settings that differ between experiments, and that a title can say."""
    keys = dict.fromkeys(key for settings in experiments for key in settings)
    absent = Setting("", None)

    def differs(key: str) -> bool:
        values, shown = zip(*(settings.get(key, absent) for settings in experiments))
        return len(set(values)) > 1 and len(set(map(str, shown))) > 1

    return list(filter(differs, keys))


def title_of(
    run: Run, settings: Mapping[str, Setting], alike: Sequence[Mapping[str, Setting]]
) -> str:
    """The method as people call it, with what distinguishes a run from others.

    Args:
        run: a run.
        settings: its settings.
        alike: those of all experiments with its method and sparsity, its own included.
    """
    title = METHODS[run.method].title if run.method in METHODS else run.method
    parts = []
    for key in differing(alike):
        if key in settings and key != "task.prune.sparsity":
            shown = _short(settings[key].shown, [s[key].shown for s in alike if key in s])
            is_source = key.endswith(" of")
            parts.append(f"{key} {shown}" if is_source else f"{key.rsplit('.', 1)[-1]}={shown}")
    return f"{title} ({', '.join(parts)})" if parts else title


def _short(value: Any, values: Sequence[Any]) -> Any:
    """A path without the folder that all of these values lie in."""
    if not all(isinstance(one, str) and os.path.isabs(one) for one in values):
        return value
    folder = os.path.commonpath(values)
    return os.path.relpath(value, os.path.dirname(folder) if folder in values else folder)
