#!/usr/bin/env python3
"""Time one pruning of base and of XLSR-53: ours and what else could be used.

    .venv/bin/python scripts/bench/reprune.py

Every way prunes the same random weights to the same sparsity, from the same values each time.
hardshrink in place knows the threshold and writes zeros only: the fastest that PyTorch has. Ratios
are medians over rounds of a way's time to hardshrink's in the same round; memory is how far the
process grew at most in a run of its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from measuring import in_turn, machine, parser, peak_extra_bytes, seconds
from random_models import SIZES, matrices
from torch.nn.utils import prune

from parp_fairseq.kernels.native import level
from parp_fairseq.pruning import Mask, Pruner, SparsitySchedule
from parp_fairseq.pruning.magnitude import select_smallest
from parp_fairseq.table import aligned

Weights = dict[str, torch.Tensor]
Ways = dict[str, Callable[[], object]]


def pruner_event(weights: Weights, sparsity: float) -> Callable[[], object]:
    """A whole event of the Pruner: selection, zeros, packed mask, meters."""
    pruner = Pruner(SparsitySchedule(final=sparsity), interval=1)
    ones = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
    pruner.start(weights, Mask(ones).to(weights))
    return lambda: pruner.end_update(1)


def static_mask(weights: Weights, sparsity: float) -> Callable[[], object]:
    """What a static mask (MPI, OMP, …) costs after every update."""
    pruner = Pruner(SparsitySchedule(final=sparsity), static=True)
    pruner.start(weights, select_smallest(weights, sparsity).mask(weights))
    return lambda: pruner.end_update(1)


def ways_of(weights: Weights, sparsity: float) -> tuple[Ways, Ways]:
    """Ways to prune these weights in place: the fast ones and the slow ones."""
    threshold = select_smallest(weights, sparsity).threshold

    def hardshrink() -> None:
        for weight in weights.values():
            torch.ops.aten.hardshrink.out(weight, threshold, out=weight)

    def select_and_zero(hint: float = 0.0) -> None:
        selection = select_smallest(weights, sparsity, hint=hint)
        selection.cut(weights, zero=True, pack=False)

    def kthvalue() -> None:
        flat = torch.cat([weight.abs().flatten() for weight in weights.values()])
        found = flat.kthvalue(round(sparsity * flat.numel())).values
        for weight in weights.values():
            weight.masked_fill_(weight.abs() <= found, 0)

    def torch_prune() -> None:
        modules = []
        for weight in weights.values():
            modules.append((torch.nn.Module(), "weight"))
            modules[-1][0].weight = torch.nn.Parameter(weight, requires_grad=False)
        prune.global_unstructured(modules, prune.L1Unstructured, amount=sparsity)
        for module, name in modules:
            prune.remove(module, name)

    fast: Ways = {
        "hardshrink in place": hardshrink,
        "select and zero, first time": select_and_zero,
        "select and zero, again": lambda: select_and_zero(threshold * 1.0001),
        "whole event, with mask and meters": pruner_event(weights, sparsity),
        "static mask, an update": static_mask(weights, sparsity),
    }
    return fast, {"kthvalue": kthvalue, "torch.nn.utils.prune": torch_prune}


def measure(size: str, device: str, sparsity: float, rounds: int, slow: int) -> list[list[str]]:
    """The rows of one size on one device; the slow ways take part in `slow` of the rounds."""
    original = matrices(size, device)
    weights = {name: weight.clone() for name, weight in original.items()}
    fast, slow_ones = ways_of(weights, sparsity)

    def prepare() -> None:
        for name, weight in weights.items():
            weight.copy_(original[name])
        if device == "cuda":
            torch.cuda.synchronize()

    def timed(way: Callable[[], object]) -> Callable[[], float]:
        def once() -> float:
            prepare()
            return seconds(lambda: (way(), torch.cuda.synchronize() if device == "cuda" else None))

        return once

    ways = {**fast, **(slow_ones if slow else {})}
    in_turn({name: timed(way) for name, way in fast.items()}, 1)
    found = in_turn({name: timed(way) for name, way in ways.items()}, slow)
    rest = in_turn({name: timed(way) for name, way in fast.items()}, rounds - slow)
    found = {name: found.get(name, []) + rest.get(name, []) for name in ways}
    bare, rows = next(iter(found.values())), []
    for name, taken in found.items():
        prepare()
        peak = peak_bytes(ways[name], device)
        entries = sum(weight.numel() for weight in weights.values())
        ratio = statistics.median(own / other for own, other in zip(taken, bare))
        cells = f"{1000 * statistics.median(taken):,.1f}", f"{ratio:,.2f}", f"{peak / 2**20:,.0f}"
        rows.append([size, device, name, *cells, f"{100 * peak / (4 * entries):.1f}%"])
    return rows


def peak_bytes(way: Callable[[], object], device: str) -> int:
    """Memory that a way takes in addition to the weights."""
    if device == "cpu":
        return peak_extra_bytes(way)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    way()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    """Print a table and the machine."""
    options = parser(__doc__, 15, "a small model")
    options.add_argument("--sparsity", type=float, default=0.5)
    options.add_argument("--slow-rounds", type=int, default=2, help="rounds with the slow ways too")
    options.add_argument("--sizes", nargs="+", choices=sorted(SIZES), default=["base", "XLSR-53"])
    given = options.parse_args()
    rows = []
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for size in ["quick"] if given.quick else given.sizes:
            slow = min(given.slow_rounds, given.rounds)
            rows += measure(size, device, given.sparsity, given.rounds, slow)
    header = ("model", "on", "what", "median ms", "÷ hardshrink", "extra MiB", "of weights")
    print(aligned(header, rows, left=3))
    print(f"\nsparsity {given.sparsity}, kernels: {level()}; {machine()}")


if __name__ == "__main__":
    main()
