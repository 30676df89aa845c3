"""What a checkpoint holds: where it came from, where its zeros are, how large its weights are."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.checkpoints.fairseq_settings import config_section, describe_state
from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import read_state
from parp_fairseq.checkpoints.hf_folder import WEIGHTS_FILE
from parp_fairseq.checkpoints.prunable_weights import scoped_weights
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.pruning import Scope
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.report.layer_grid import Grid
from parp_fairseq.runs.names import RUN_FILE
from parp_fairseq.runs.reading import lookup


@dataclass(frozen=True)
class Magnitudes:
    """Counts and magnitudes of some weights."""

    entries: int  # number of weights
    zeros: int  # how many are exactly zero
    total: float  # sum of |w|
    smallest: float  # the smallest |w| that is not zero; 0.0 where all are zero
    largest: float  # the largest |w|

    @classmethod
    def of(cls, tensor: Tensor) -> Magnitudes:
        """Measure a tensor of any precision."""
        magnitude = tensor.detach().abs().reshape(-1)
        kept = magnitude[magnitude != 0]
        entries = magnitude.numel()
        if kept.numel() == 0:
            return cls(entries, entries, 0.0, 0.0, 0.0)
        total = float(kept.sum(dtype=torch.float64))
        return cls(entries, entries - kept.numel(), total, float(kept.min()), float(kept.max()))

    @classmethod
    def over(cls, parts: Iterable[Magnitudes]) -> Magnitudes:
        """Several together."""
        parts = list(parts)
        kept = [part for part in parts if part.zeros < part.entries]
        # numpy's minimum of numbers with NaN among them is NaN.
        return cls(
            sum(part.entries for part in parts),
            sum(part.zeros for part in parts),
            math.fsum(part.total for part in parts),
            float(np.min([part.smallest for part in kept])) if kept else 0.0,
            float(np.max([part.largest for part in kept])) if kept else 0.0,
        )

    @property
    def sparsity(self) -> float:
        """Share of zeros, in [0, 1]."""
        return self.zeros / self.entries if self.entries else 0.0

    @property
    def mean(self) -> float:
        """Mean |w| over the weights that are not zero; 0.0 where all are."""
        return self.total / (self.entries - self.zeros) if self.entries > self.zeros else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values; None for what is not finite."""
        return {
            "entries": self.entries,
            "zeros": self.zeros,
            "sparsity": self.sparsity,
            "mean_kept": _finite(self.mean),
            "smallest_kept": _finite(self.smallest),
            "largest": _finite(self.largest),
        }


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds."""

    path: Path  # its file
    # what it says about its making, title → plain value; only what it knows
    origin: Mapping[str, Any]
    sizes: Mapping[str, int]  # "file bytes", "parameters", "prunable", in that order
    tensors: Mapping[str, Magnitudes]  # canonical name → magnitudes, for every prunable tensor
    # the largest |w| that the last pruning took, where the checkpoint keeps it
    threshold: float | None

    @property
    def whole(self) -> Magnitudes:
        """All prunable weights together."""
        return Magnitudes.over(self.tensors.values())

    @property
    def not_finite(self) -> list[str]:
        """Names of the tensors that hold NaN or infinity."""
        return [name for name, part in self.tensors.items() if not math.isfinite(part.total)]

    def render(self) -> str:
        """Lines and tables for people."""
        whole, grid, sizes = self.whole, Grid.over(self.tensors), self.sizes
        facts = {
            **self.origin,
            "file": f"{sizes['file bytes'] / 1e6:.1f} MB",
            "parameters": f"{sizes['parameters']:,}, prunable {sizes['prunable']:,} in "
            f"{len(self.tensors)} tensors",
            "zeros": f"{whole.zeros:,} of the prunable, sparsity {whole.sparsity:.6f}",
            "magnitudes": f"of the others mean {whole.mean:#.4g}, smallest {whole.smallest:#.4g}, "
            f"largest {whole.largest:#.4g}",
        }
        if self.not_finite:
            facts["not finite"] = f"NaN or infinity in {', '.join(self.not_finite)}"
        if self.threshold is not None:
            facts["threshold"] = f"{self.threshold:#.4g}, the largest |w| last pruned"
        lines = [f"{title + ':':<18}{value}" for title, value in facts.items()]
        if grid.layers:
            zeros = grid.render(lambda names: f"{100 * self._over(names).sparsity:.2f}")
            means = grid.render(lambda names: f"{self._over(names).mean:#.4g}")
            lines += ["", "zeros, %", zeros, "", "mean |w| of what is not zero", means]
        for name in grid.others:
            part = self.tensors[name]
            lines.append(f"{name}: {100 * part.sparsity:.2f}% zeros, mean |w| {part.mean:#.4g}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, with every tensor; None for a number that is not finite."""
        grid = Grid.over(self.tensors)
        return {
            "file": str(self.path),
            "origin": _with_keys(self.origin),
            "sizes": _with_keys(self.sizes),
            **self.whole.to_json(),
            "not_finite": self.not_finite,
            "threshold": _finite(self.threshold),
            "layers": {str(n): self._over(grid.at(n, None)).to_json() for n in grid.layers},
            "kinds": {kind: self._over(grid.at(None, kind)).to_json() for kind in grid.kinds},
            "tensors": {name: part.to_json() for name, part in self.tensors.items()},
        }

    def _over(self, names: Sequence[str]) -> Magnitudes:
        return Magnitudes.over(self.tensors[name] for name in names)


def inspect_checkpoint(
    checkpoint: PathLike,
    scope: Scope | None = None,
    sparsity: float | None = None,
) -> Inspection:
    """Look into a checkpoint: pre-trained or fine-tuned, of any task, with `cfg` or `args`.

    Args:
        checkpoint: a fairseq checkpoint, a sparse file, or a folder of `transformers`.
        scope: what counts as prunable (default: what its own run pruned, else the paper's).
        sparsity: of a fine-tuned one: pruned to this first, as `open_finetuned` does.

    Raises:
        UserError: a file is unreadable, of another model, or the scope does not fit.
    """
    path = Path(checkpoint)
    state = read_state(path) if sparsity is None else open_finetuned(path, sparsity=sparsity).state
    scope = scope or Scope.of_run(lookup(state, "cfg.task.prune"))
    weights = {canonical_name(n): w for n, w in scoped_weights(state, scope, path).items()}
    tensors = {name: Magnitudes.of(weights[name]) for name in sorted(weights)}
    parameters = sum(t.numel() for t in state["model"].values() if isinstance(t, Tensor))
    sizes = {
        "file bytes": (path / WEIGHTS_FILE if path.is_dir() else path).stat().st_size,
        "parameters": parameters,
        "prunable": sum(part.entries for part in tensors.values()),
    }
    threshold = lookup(state, "last_optimizer_state.parp.threshold")
    return Inspection(
        path,
        _origin(state, path),
        sizes,
        tensors,
        threshold if isinstance(threshold, float) and sparsity is None else None,
    )


def _finite(value: Any) -> Any:
    """The value, or None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_keys(titled: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that a program can write, of titles for people."""
    return {re.sub(r"\W+", "_", title): _finite(value) for title, value in titled.items()}


def _origin(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    info = describe_state(state)
    kind = info.kind if info.arch == info.kind else f"{info.kind} ({info.arch})"
    form = "" if state.get("cfg") is not None else ", settings as `args`"
    tuned = "fine-tuned" if info.finetuned else "pre-trained"
    model, task = _section(state, "model"), _section(state, "task")
    metric = lookup(state, "cfg.checkpoint.best_checkpoint_metric") or "score"
    prune = lookup(state, "cfg.task.prune")
    keys = ("method", "sparsity", "initial", "interval", "interval_unit", "granularity")
    chosen = [f"{key} {prune[key]}" for key in keys if prune and prune.get(key) is not None]
    origin: dict[str, Any] = {
        "checkpoint": str(path),
        "model": f"{tuned} {kind}, {info.encoder_layers} layers{form}",
        "task": lookup(task, "_name") or lookup(task, "task"),
        "pre-trained file": lookup(model, "w2v_path"),
        "labels": info.labels,
        "normalize": info.normalize,
        # 0 in a file that was put together, such as one of a folder of transformers.
        "updates": (state.get("optimizer_history") or [{}])[-1].get("num_updates") or None,
        f"best {metric}": lookup(state, "extra_state.best"),
        "pruning": ", ".join(chosen),
        **_recorded(path.parent / RUN_FILE),
    }
    return {title: value for title, value in origin.items() if value not in (None, "")}


def _recorded(record: Path) -> dict[str, Any]:
    """What training recorded next to the checkpoint."""
    if not record.is_file():
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        program, *arguments = content["command"]
        versions = [f"{name} {version}" for name, version in content.get("versions", {}).items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{record} is damaged; remove it") from error
    return {
        "command": " ".join([Path(program).name, *arguments]),
        "versions": ", ".join(versions),
        "commit": lookup(content, "git.commit"),
    }


def _section(state: Mapping[str, Any], name: str) -> Any:
    section = config_section(state, name)
    return vars(section) if isinstance(section, argparse.Namespace) else section
