"""What a run leaves next to its checkpoints: its settings, its mask, its sparsity by tensor."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from parp_fairseq._version import __version__
from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.files import write_json
from parp_fairseq.pruning import Mask
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.runs.names import INITIAL_MASK_FILE, MASK_FILE, RUN_FILE, SPARSITY_FILE


def sparsity_report(mask: Mask) -> dict[str, Any]:
    """Count a mask's entries: {"entries", "pruned", "sparsity"}, and the same under "tensors"."""

    def counts(entries: int, kept: int) -> dict[str, Any]:
        sparsity = (entries - kept) / entries if entries else 0.0
        return {"entries": entries, "pruned": entries - kept, "sparsity": sparsity}

    tensors = {
        canonical_name(name): counts(math.prod(shape), mask.kept_in(name))
        for name, shape in mask.shapes.items()
    }
    return {**counts(mask.numel, mask.kept), "tensors": tensors}


def write_start(folder: Path, config: Mapping[str, Any], updates: int) -> None:
    """Write into a run's folder what repeats the run; every start of it is kept.

    `task.contents` and `task.changed` of the resolved config get keys of their own. `updates` were
    made before this start; 0 replaces an earlier record.
    """
    file = folder / RUN_FILE
    task = dict(config["task"])
    contents, changed = task.pop("contents"), task.pop("changed")
    names = ("fairseq", "fairseq-fixed", "hydra-core", "omegaconf", "numpy", "safetensors")
    versions = {
        "parp-fairseq": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: found for name in names if (found := _version(name))},
    }
    start = {
        "command": sys.argv,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "updates": updates,
        "versions": versions,
        **({"changed": changed} if changed else {}),
    }
    earlier: list[Any] = []
    if updates:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            earlier = json.loads(file.read_text(encoding="utf-8")).get("starts") or []
    record = {
        "command": sys.argv,
        "versions": versions,
        "git": git_state(Path(__file__).parent),
        "config": {**config, "task": task},
        "contents": contents,
        "starts": [*earlier, start],
    }
    write_json(file, record)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and dirtiness of the checkout that holds `folder`; None outside of one."""

    # fairseq imports a user dir through a link in site-packages, beyond which git does not look.
    folder = folder.resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # A package installed inside somebody's own repository is not this project's checkout.
        git("ls-files", "--error-unmatch", str(folder / Path(__file__).name))
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def write_mask(folder: Path, mask: Mask, info: Mapping[str, Any], first: bool = False) -> None:
    """Write a mask, and for the present one (`first` unset) its report, into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_mask(mask, folder / (INITIAL_MASK_FILE if first else MASK_FILE), info)
    if not first:
        write_json(folder / SPARSITY_FILE, {**sparsity_report(mask), "run": dict(info)})
