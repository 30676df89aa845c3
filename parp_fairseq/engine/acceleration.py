"""Replace what is faster sparse, after measuring it once on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from parp_fairseq.engine.groups import LEAST_SPARSITY, Group, find_groups
from parp_fairseq.engine.parts import Part, check_precision, dense_rivals, noise, replace_parts
from parp_fairseq.engine.sparse_modules import EngineError
from parp_fairseq.kernels import native
from parp_fairseq.table import aligned

FRAMES = (100, 500)
"""Lengths that are measured by default (speech models make 50 frames a second)."""

MARGIN = 0.9
"""Sparse is taken below this share of the dense time; more would be within the noise."""

LEAST_ENTRIES = 2**14

# Groups of one shape whose sparsities fall into one step share a measurement.
_STEP = 0.025
_REPEATS = 4
# Sparse ÷ dense beyond which two repeats are enough.
_CLEAR = (0.6, 1.5)


@dataclass(frozen=True)
class Decision:
    """What was decided for a group of linears.

    Attributes:
        name: the group's name (`Group.key`).
        kind: "linear" or "feed forward".
        sparsity: share of its weights that are zero, in [0, 1].
        dense_ms: time in ms, at the length where sparse does worst; None: not measured.
        sparse_ms: the same, sparse.
        sparse: whether it was replaced.
    """

    name: str
    kind: str
    sparsity: float
    dense_ms: float | None
    sparse_ms: float | None
    sparse: bool


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate` did; `choice` can be saved and given to it again."""

    decisions: tuple[Decision, ...]
    level: str
    threads: int
    parts: tuple[Part, ...] = ()

    @property
    def replaced(self) -> int:
        """How many groups run sparse."""
        return sum(decision.sparse for decision in self.decisions)

    @property
    def choice(self) -> dict[str, bool]:
        """Group → whether it runs sparse."""
        return {decision.name: decision.sparse for decision in self.decisions}

    def render(self) -> str:
        """An aligned table of all groups, and one of what else was replaced."""
        rows = []
        for one in self.decisions:
            times = (
                "" if time is None else f"{time:.2f}" for time in (one.dense_ms, one.sparse_ms)
            )
            runs = "sparse" if one.sparse else "dense"
            rows.append((one.name, one.kind, f"{one.sparsity:.3f}", *times, runs))
        header = ("layers", "kind", "sparsity", "dense ms", "sparse ms", "runs")
        summary = (
            f"{self.replaced} of {len(rows)} groups run sparse (kernels: {self.level}, "
            f"{self.threads} threads)"
        )
        others = [
            (one.name or "(all)", f"{one.torch_ms:.2f}", f"{one.ms:.2f}", one.runs)
            for one in self.parts
        ]
        table = f"\n{aligned(('parts', 'torch ms', 'ms', 'runs'), others)}" if others else ""
        return f"{aligned(header, rows, left=2)}\n{summary}{table}"


def accelerate(
    model: nn.Module,
    choice: Mapping[str, bool] | None = None,
    frames: Sequence[int] = FRAMES,
    clear: float | None = None,
    precision: str | None = "exact",
    calls: Sequence[Any] | None = None,
) -> Acceleration:
    """Replace what runs faster otherwise in `model`, in place; for inference on a CPU.

    Linears run sparse; everything else runs by OpenVINO if it is installed, else by oneDNN
    (`parts`). Serves any torch model. A feed-forward part is replaced as one where it is
    seen, on random input, to be nothing else. Nothing is replaced that does not win clearly in a
    measurement, so the model does not become slower. Without compiled kernels all stays dense.

    Args:
        model: in evaluation mode, float32, on the CPU; calling it again replaces no more.
        choice: group → whether to run it sparse (`Acceleration.choice`), without measuring it.
        frames: lengths of input (utterances times frames, or tokens) that are measured; sparse must
            win at each.
        clear: run sparse what has at least this sparsity, without measuring, and the rest dense:
            for a program that starts often. Nothing else is replaced then.
        precision: "exact": float32, differences by rounding; "bf16" or "int8" where that is faster
            (what runs sparse stays float32); None: only linears, only sparse.
        calls: inputs of the model, at least two of different lengths: each a tensor, a tuple of
            positional or a dict of named arguments. None: noise, if it is a model of waveforms;
            parts of others stay as they are. int8 needs recordings, and is calibrated with them.

    Returns:
        What was decided, and by which times.

    Raises:
        EngineError: the model is in training mode, on another device, of another precision or
            quantised or pruned by torch's hooks; `choice` names other groups than the model has;
            `frames` holds no lengths; `precision` is unknown or lacks a library or `calls`.
    """
    _check(model)
    if precision is not None:
        check_precision(precision)
    if precision == "int8" and calls is None:
        raise EngineError("precision int8 is calibrated: give recordings as calls")
    if not frames or min(frames) < 1:
        raise EngineError(f"frames is {tuple(frames)}; give lengths of 1 or more")
    groups = find_groups(model)
    if choice is not None and set(choice) != {group.key for group in groups}:
        differing = sorted(set(choice) ^ {group.key for group in groups})
        raise EngineError(f"the choice is of another model: it differs in {differing[0]}")
    # Asking for the level says once, on standard error, what to install where there is none.
    compiled = native.level() != native.REFERENCE
    known: dict[tuple, tuple[float, float]] = {}
    ways: Sequence[Sequence[Any]] = []
    if clear is None and precision is not None:
        ways = noise(model) if calls is None else [calls]
    rivals = precision if ways else None
    decisions = []
    for group in groups:
        times: tuple[float, float] | None = None
        sparsity = group.sparsity
        large = compiled and group.entries >= LEAST_ENTRIES
        if choice is not None:
            sparse = choice[group.key]
        elif clear is not None:
            sparse = large and sparsity >= clear
        else:
            if large and sparsity >= LEAST_SPARSITY:
                times = _measured(group, sparsity, frames, known, rivals)
            sparse = times is not None and times[1] < MARGIN * times[0]
        if sparse:
            group.replace()
        dense_ms, sparse_ms = times or (None, None)
        decisions.append(Decision(group.key, group.kind, sparsity, dense_ms, sparse_ms, sparse))
    parts = replace_parts(model, ways, precision or "exact", MARGIN)
    return Acceleration(tuple(decisions), native.level(), native.threads(), tuple(parts))


def _check(model: nn.Module) -> None:
    if model.training:
        raise EngineError("the model is in training mode; call model.eval(): this is for inference")
    if any("quantized" in type(module).__module__ for module in model.modules()):
        raise EngineError("the model is quantised already; give the float32 model")
    for name, parameter in model.named_parameters():
        if parameter.device.type != "cpu":
            raise EngineError(f"{name} is on {parameter.device}; move the model to the CPU")
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise EngineError(f"{name} is {parameter.dtype}; call model.float()")
    for name, module in model.named_modules():
        if type(module) is not nn.Linear:
            continue
        if type(module.weight.data) is not Tensor:
            kind = type(module.weight.data).__name__
            raise EngineError(f"the weight of {name} is a {kind}; give plain float32 tensors")
        if hasattr(module, "weight_orig"):
            raise EngineError(
                f"{name} is pruned by torch.nn.utils.prune; call "
                "torch.nn.utils.prune.remove(module, 'weight') first"
            )


def _measured(
    group: Group,
    sparsity: float,
    frames: Sequence[int],
    known: dict[tuple, tuple[float, float]],
    precision: str | None,
) -> tuple[float, float]:
    """Milliseconds dense and sparse, at the length where sparse does worst.

    Groups of the same shapes and about the same sparsity are measured once. With a precision, the
    fastest way to run them dense counts.
    """
    shapes = tuple(tuple(linear.weight.shape) for linear in group.linears)
    key = (group.kind, shapes, int(sparsity / _STEP))
    if key not in known:
        dense = [group.dense()]
        if precision is not None:
            dense += dense_rivals(group.linears, group.activation, precision)
        times = [_time(group.sparse(), dense, group.linears[0], length) for length in frames]
        known[key] = max(times, key=lambda pair: pair[1] / pair[0])
    return known[key]


def _time(
    sparse: Callable[[Tensor], Tensor],
    dense: Sequence[Callable[[Tensor], Tensor]],
    linear: nn.Linear,
    frames: int,
) -> tuple[float, float]:
    x = torch.randn(frames, linear.in_features)
    best = [math.inf, math.inf]
    with torch.inference_mode():
        for repeat in range(_REPEATS):
            # In turn, so that a slow moment of the machine meets all.
            for run in (*dense, sparse):
                start = time.perf_counter()
                run(x)
                taken = 1e3 * (time.perf_counter() - start)
                best[run is sparse] = min(best[run is sparse], taken)
            if repeat and not _CLEAR[0] * best[0] < best[1] < _CLEAR[1] * best[0]:
                break
    return best[0], best[1]
