"""Which runs are one experiment under several seeds, and what distinguishes experiments."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.runs.reading import SOURCES, Run, read_run, sources_of
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
ALWAYS_SHOWN = ("task.prune.method", "task.prune.sparsity")
# Paths of what a run's record has the digest of → that digest's name there.
_BY_CONTENT = {
    "task.data": "the training set's audio",
    "model.w2v_path": "model.w2v_path",
}


class Origin(NamedTuple):
    """Where a file that a run builds on comes from.

    Attributes:
        experiment: of a file that another run left that run's experiment, whatever its seed; of
            any other its path, except for numbers behind "seed".
        name: a short name.
    """

    experiment: str
    name: str


def settings_of(run: Run) -> dict[str, Any]:
    """The settings that distinguish experiments, by full key."""
    return {
        key: value
        for key, value in flat(run.record["config"]).items()
        if not key.startswith(_NOT_COMPARED) and not _names_file(key, value)
    }


def experiment_of(run: Run, origins: Mapping[str, Origin]) -> tuple[Any, ...]:
    """What runs must share to be one experiment under several seeds.

    That is their settings but for the seed, the content of their data and pre-trained model, and
    the experiments that their masks and first weights come from.
    """
    contents = _contents(run)
    settings = {k: v for k, v in settings_of(run).items() if _BY_CONTENT.get(k) not in contents}
    if run.method == "dense":
        settings = {k: v for k, v in settings.items() if not k.startswith("task.prune.")}
    experiments = {key: origin.experiment for key, origin in origins.items()}
    described = (settings, contents, experiments)
    return (run.method, *(json.dumps(part, sort_keys=True, default=str) for part in described))


def _names_file(key: str, value: Any) -> bool:
    return key == "task.prune.initial" and is_path(value)


def _contents(run: Run) -> dict[str, str]:
    """Digests of the data that a run was trained and validated on, and of the pre-trained model."""
    digests = run.record.get("contents") or {}
    files = _BY_CONTENT.values()
    return {
        key: digest for key, digest in digests.items() if key.startswith("the ") or key in files
    }


def origins_of(run: Run, above: tuple[Path, ...] = ()) -> dict[str, Origin]:
    """Where the files come from that a run builds on, by option.

    Args:
        run: a run.
        above: folders of the runs that build on it.
    """
    here = (*above, run.folder.resolve())
    found = {}
    for key, source in sources_of(run).items():
        if source.record is not None and source.record.parent.parent not in here:
            other = read_run(source.record)
            name = f"{other.method} on {Path(str(other.option('task.data'))).name}"
            found[key] = Origin(json.dumps(experiment_of(other, origins_of(other, here))), name)
        else:
            path = re.sub(r"(?<=seed)\d+", "*", str(source.path))
            found[key] = Origin(path, source.path.name)
    return found


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Keys whose values are not the same in all of these runs, in the config's order."""
    settings = [settings_of(run) for run in runs]
    keys = dict.fromkeys(key for one in settings for key in one)
    return [
        key
        for key in keys
        if len({json.dumps(one.get(key), default=str) for one in settings}) > 1
        and not all(_is_follower(one, key) for one in settings)
    ]


def _is_follower(settings: Mapping[str, Any], key: str) -> bool:
    """Whether a scheduler's setting says what the optimization's of that name says."""
    section, _, name = key.partition(".")
    leader = f"optimization.{name}"
    both = leader in settings and key in settings
    return section == "lr_scheduler" and both and settings[leader] == settings[key]


def _short(value: Any, values: Sequence[Any]) -> Any:
    """A path without the folder that all of these values lie in."""
    if not all(isinstance(one, str) and os.path.isabs(one) for one in values):
        return value
    folder = os.path.commonpath(values)
    return os.path.relpath(value, os.path.dirname(folder) if folder in values else folder)


def title_of(run: Run, groups: Sequence[Run], origins: Mapping[int, Mapping[str, Origin]]) -> str:
    """The method as people call it, with what distinguishes a run from others of its sparsity.

    Args:
        run: a run.
        groups: one run of each experiment.
        origins: `origins_of` each of these, by the run's id().
    """
    title = METHODS[run.method].title if run.method in METHODS else run.method
    alike = [g for g in groups if (g.method, g.sparsity) == (run.method, run.sparsity)]
    values = [
        f"{key.rsplit('.', 1)[-1]}={_short(run.option(key), [one.option(key) for one in alike])}"
        for key in differing_keys(alike)
        if key not in ALWAYS_SHOWN
    ]
    for key, kind in SOURCES.items():
        found = [origins[id(other)].get(key) for other in alike]
        own = origins[id(run)].get(key)
        if own and len({origin and origin.experiment for origin in found}) > 1:
            values.append(f"{kind} of {own.name}")
    return f"{title} ({', '.join(values)})" if values else title
