#!/usr/bin/env python3
"""Time one pruning of base and of XLSR-53: ours and what else could be used.

    .venv/bin/python scripts/bench/reprune.py

Every way prunes the same weights (random, normal) to the same sparsity, from the same values each
time. The two bare passes know the threshold and do nothing but write zeros: the fastest that
PyTorch has (hardshrink in place) and the way one would write it. All ways take their turn in every
round, so that what else the machine does meets all alike; the slow ones only in the first rounds.
The ratio is the median over rounds of a way's time to hardshrink's in the same round; memory is how
far the process grew at most in a run of its own.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from machine import machine
from memory import peak_extra_bytes
from torch.nn.utils import prune

from parp_fairseq.kernels.native import level
from parp_fairseq.pruning import Mask, Pruner, SparsitySchedule
from parp_fairseq.pruning.magnitude import select_smallest
from parp_fairseq.table import aligned

# Layers and width w: every layer has four matrices of w by w and two of w by 4 w.
SIZES = {"base": (12, 768), "XLSR-53": (24, 1024), "quick": (2, 512)}
BARE = "bare zeroing, hardshrink"
Weights = dict[str, torch.Tensor]


def make_weights(layers: int, width: int, device: str) -> Weights:
    """Return the prunable matrices of a model of this size, with random weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f"self_attn.{kind}_proj": (width, width) for kind in ("k", "v", "q", "out")}
    shapes.update(fc1=(4 * width, width), fc2=(width, 4 * width))
    return {
        f"encoder.layers.{layer}.{kind}.weight": (
            torch.randn(shape, generator=generator) * 0.05
        ).to(device)
        for layer in range(layers)
        for kind, shape in shapes.items()
    }


def bare_zeroing(weights: Weights, sparsity: float, threshold: float) -> None:
    """Write zeros where the magnitude is at most a threshold known before."""
    for weight in weights.values():
        torch.ops.aten.hardshrink.out(weight, threshold, out=weight)


def written_out(weights: Weights, sparsity: float, threshold: float) -> None:
    """Write zeros as one would write it."""
    for weight in weights.values():
        weight.mul_(weight.abs() > threshold)


def ours(weights: Weights, sparsity: float, threshold: float) -> None:
    """Select exactly and write zeros."""
    select_smallest(weights, sparsity).zero_(weights)


def ours_with_hint(weights: Weights, sparsity: float, threshold: float) -> None:
    """Select exactly, near the threshold of the pruning before, and write zeros."""
    select_smallest(weights, sparsity, hint=threshold * 1.0001).zero_(weights)


def kthvalue(weights: Weights, sparsity: float, threshold: float) -> None:
    """Concatenate all magnitudes, take the k-th, write zeros."""
    flat = torch.cat([weight.abs().flatten() for weight in weights.values()])
    found = flat.kthvalue(round(sparsity * flat.numel())).values
    for weight in weights.values():
        weight.masked_fill_(weight.abs() <= found, 0)


def torch_pruning(weights: Weights, sparsity: float, threshold: float) -> None:
    """Take torch.nn.utils.prune.global_unstructured, as the authors' script does."""
    modules = []
    for weight in weights.values():
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(weight, requires_grad=False)
        modules.append((module, "weight"))
    prune.global_unstructured(modules, prune.L1Unstructured, amount=sparsity)
    for module, name in modules:
        prune.remove(module, name)


class OurEvent:
    """A whole event of the Pruner: selection, zeros, packed mask, meters."""

    def __init__(self, weights: Weights, sparsity: float) -> None:
        self.pruner = Pruner(SparsitySchedule(final=sparsity), interval=1)
        ones = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
        self.pruner.start(weights, Mask(ones).to(weights))

    def __call__(self, weights: Weights, sparsity: float, threshold: float) -> None:
        """Prune again."""
        self.pruner.end_update(1)


class HeldMask:
    """What a held mask (MPI, OMP, …) costs after every update."""

    def __init__(self, weights: Weights, sparsity: float) -> None:
        self.pruner = Pruner(SparsitySchedule(final=sparsity), static=True)
        self.pruner.start(weights, select_smallest(weights, sparsity).mask(weights))

    def __call__(self, weights: Weights, sparsity: float, threshold: float) -> None:
        """Zero what the mask prunes."""
        self.pruner.end_update(1)


def timed(work: Callable[[], None], device: str) -> float:
    """Return the seconds that `work` takes."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(size: str, device: str, sparsity: float, rounds: int, slow: int) -> list[list[str]]:
    """Return the rows of one size on one device; the slow ways are in `slow` of the rounds."""
    original = make_weights(*SIZES[size], device)
    weights = {name: weight.clone() for name, weight in original.items()}
    entries = sum(weight.numel() for weight in weights.values())
    threshold = select_smallest(weights, sparsity).threshold
    ways: dict[str, Callable[..., None]] = {
        BARE: bare_zeroing,
        "bare zeroing, w *= |w| > t": written_out,
        "ours: select and zero, first time": ours,
        "ours: select and zero, again": ours_with_hint,
        "ours: whole event, with mask and meters": OurEvent(weights, sparsity),
        "ours: held mask, an update": HeldMask(weights, sparsity),
    }
    seldom = {"kthvalue": kthvalue, "torch.nn.utils.prune": torch_pruning} if slow else {}
    times: dict[str, list[float]] = {name: [] for name in (*ways, *seldom)}

    def once(way: Callable[..., None]) -> float:
        for key, weight in weights.items():
            weight.copy_(original[key])
        return timed(lambda: way(weights, sparsity, threshold), device)

    for way in ways.values():
        once(way)
    for turn in range(rounds):
        for name, way in {**ways, **(seldom if turn < slow else {})}.items():
            times[name].append(once(way))
    rows = []
    for name, way in {**ways, **seldom}.items():
        ratios = [time / bare for time, bare in zip(times[name], times[BARE])]
        peak = _peak(lambda way=way: once(way), device)
        rows.append(
            [
                size,
                device,
                name,
                *(f"{1000 * x:,.1f}" for x in spread(times[name])),
                *(f"{x:,.2f}" for x in spread(ratios)),
                "-" if peak is None else f"{peak / 2**20:,.0f}",
                "-" if peak is None else f"{100 * peak / (4 * entries):.1f}%",
            ]
        )
    return rows


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the least, the median and the greatest."""
    return min(values), statistics.median(values), max(values)


def _peak(work: Callable[[], object], device: str) -> int | None:
    if device == "cpu":
        return peak_extra_bytes(work)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    """Measure, and print a table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow-rounds", type=int, default=2, help="rounds with the slow ways too")
    parser.add_argument("--sizes", nargs="+", choices=sorted(SIZES), default=["base", "XLSR-53"])
    parser.add_argument("--quick", action="store_true", help="a small model, to try the script")
    options = parser.parse_args()
    sizes = ["quick"] if options.quick else options.sizes
    rows = []
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for size in sizes:
            rows += measure(size, device, options.sparsity, options.rounds, options.slow_rounds)
    header = (
        *("model", "on", "what", "min ms", "median", "max", "x hardshrink, min", "median", "max"),
        *("extra MiB", "of weights"),
    )
    print(aligned(header, rows, left=3))
    print(f"\nsparsity {options.sparsity}, kernels: {level()}; {machine()}")


if __name__ == "__main__":
    main()
