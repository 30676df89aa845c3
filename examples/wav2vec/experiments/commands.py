"""The commands behind a plan, as lists of arguments for programs that start in the work folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.plan import IMP, FineTuning, World
from parp_fairseq.config import shipped

RUNS = "runs"
MASKS = "masks"
# Options of a series of IMP that are parp imp's own, and no keys under task.prune.
_OF_SERIES = ("rewind_update", "round_updates")
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")


def run_folder(ft: FineTuning) -> str:
    """A fine-tuning's folder, seen from the work folder."""
    return f"{RUNS}/{ft.name}"


def checkpoints(ft: FineTuning) -> str:
    """The folder of its checkpoints, seen from the work folder."""
    final = "/final" if ft.method == IMP else ""
    return f"{run_folder(ft)}{final}/checkpoints"


def mask_file(ft: FineTuning) -> str:
    """Where the mask that it ends with is kept, seen from the work folder."""
    return f"{MASKS}/{ft.name}.safetensors"


def updates(world: World) -> int:
    """Updates of a fine-tuning, `optimization.max_update`."""
    key = "optimization.max_update="
    given = [one.removeprefix(key) for one in world.overrides if one.startswith(key)]
    return int(given[-1] if given else shipped.read(world.config)["optimization"]["max_update"])


def series(ft: FineTuning) -> list[tuple[str, int]]:
    """What a series of IMP is told beside its sparsity."""
    return [(key, value) for key, value in ft.options if key in _OF_SERIES]


def training(ft: FineTuning, work: Path) -> list[str]:
    """The program that trains it and its arguments; `work` says what a relative `data` means."""
    world = ft.world
    common = [
        "--config-name",
        world.config,
        *_assigned("task.data", work / world.data if world.made else world.data),
        *_assigned("model.w2v_path", world.model),
        f"dataset.valid_subset={world.valid}",
        f"common.seed={ft.seed}",
        *(shipped.overrides_for_gpus(world.config, world.gpus) if world.gpus else ()),
        *world.overrides,
        *(
            part
            for key, value in ft.options
            if ft.method != IMP or key not in _OF_SERIES
            for part in _assigned(f"task.prune.{key}", value)
        ),
    ]
    if ft.method == IMP:
        out = ["--out", run_folder(ft), "--sparsity", f"{ft.sparsity:g}"]
        for key, value in series(ft):
            out += [f"--{key.replace('_', '-')}", str(value)]
        return ["parp", "imp", *common[:2], *out, *common[2:]]
    own = [
        "common.user_dir=parp_fairseq",
        *_assigned("hydra.run.dir", run_folder(ft)),
        f"task.prune.method={ft.method}",
        f"task.prune.sparsity={ft.sparsity:g}",
    ]
    if ft.given_mask is not None:
        key = "mask" if ft.method == "mask" else "initial"
        own += _assigned(f"task.prune.{key}", mask_file(ft.given_mask))
    elif ft.needs is not None:
        own += _assigned("task.prune.mask", f"{checkpoints(ft.needs)}/checkpoint_last.pt")
    if ft.trail:
        first, every = ft.trail
        own += [
            f"checkpoint.save_interval_updates={every}",
            "checkpoint.keep_interval_updates=-1",
            f"dataset.validate_interval_updates={every}",
            f"dataset.validate_after_updates={first}",
        ]
    return ["fairseq-hydra-train", *common, *own]


def scoring(
    files: Sequence[tuple[FineTuning, str]],
    splits: Sequence[str],
    weights: str,
    out: str,
    work: Path,
) -> list[str]:
    """`parp eval` of checkpoints of one world, each by its run and name, into the JSON `out`."""
    world = files[0][0].world
    return [
        "parp",
        "eval",
        *(f"{checkpoints(ft)}/{file}" for ft, file in files),
        "--data",
        str(work / world.data if world.made else world.data),
        "--split",
        ",".join(splits),
        "--weights",
        weights,
        "--workers",
        "0",
        "--json",
        out,
        "--force",
    ]


def _assigned(key: str, value: Any) -> list[str]:
    """An override for Hydra, whose grammar gives blanks, commas and brackets a meaning."""
    if isinstance(value, (bool, int, float)):
        return [f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    if isinstance(value, (list, tuple)):
        return [f"{key}=[{','.join(map(str, value))}]"]
    if _PLAIN.fullmatch(str(value)):
        return [f"{key}={value}"]
    quoted = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return [f"{key}='{quoted}'"]
