#!/usr/bin/env python3
"""Time a pruned wav2vec 2.0 base on a CPU: dense fp32 and bf16, dynamic int8, CSR, and our engine.

Random weights, one utterance; the fastest of a few rounds in which all take turns. Every prunable
matrix has the stated sparsity, or with `--profile` the sparsities of a real run's matrices (its
sparsity.json), moved to base's layers by depth. `--quick` tries a small model. On a machine that
others use, `--one-thread` counts the processor time of one thread instead of the time that passes.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from machine import machine
from torch import nn
from tqdm import tqdm

from parp_fairseq.engine import accelerate
from parp_fairseq.engine.layers import ProjectedAttention
from parp_fairseq.kernels import native
from parp_fairseq.pruning import Scope, magnitude_mask
from parp_fairseq.pruning.scope import place_of
from parp_fairseq.table import aligned

FIRST = "dense fp32"
# A model this many times slower than dense fp32 is called no more in its part.
HOPELESS = 10
SAMPLES_A_FRAME = 320
RECEPTIVE_FIELD = 400


def base_model(quick: bool) -> nn.Module:
    """A wav2vec 2.0 with random weights, ready for inference."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(1)
    settings = Wav2Vec2Config(encoder_layers=2, encoder_embed_dim=384) if quick else None
    model = Wav2Vec2Model(settings or Wav2Vec2Config())
    model.remove_pretraining_modules()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.make_generation_fast_()  # Weight norm becomes a weight: models are copied below.
    return model


def pruned(model: nn.Module, sparsity: float, profile: dict[str, float] | None) -> nn.Module:
    """A copy whose prunable matrices all have this sparsity, or together, as a profile has them."""
    model = copy.deepcopy(model)
    weights = dict(model.named_parameters())
    prunable = {name: weights[name] for name in Scope().select(weights)}
    wanted = dict.fromkeys(prunable, sparsity)
    if profile is not None:
        wanted = like_profile(prunable, sparsity, profile)
    for name, weight in prunable.items():
        kept = magnitude_mask({name: weight}, wanted[name])[name]
        weight.masked_fill_(~kept, 0.0)
    return model


def like_profile(
    prunable: dict[str, torch.Tensor], sparsity: float, profile: dict[str, float]
) -> dict[str, float]:
    """Sparsities that differ among matrices as in another run, and are `sparsity` together."""
    layers = 1 + max(place_of(name).layer for name in profile)
    depth = 1 + max(place_of(name).layer for name in prunable)
    kept = {}
    for name in prunable:
        layer, kind = place_of(name)
        (match,) = (
            other for other in profile if place_of(other) == (layer * layers // depth, kind)
        )
        kept[name] = 1.0 - profile[match]
    entries = {name: weight.numel() for name, weight in prunable.items()}
    target = (1.0 - sparsity) * sum(entries.values())
    low, high = 0.0, 1e6
    for _ in range(100):
        # By bisection: no matrix can keep more than all.
        scale = (low + high) / 2
        found = sum(entries[name] * min(1.0, scale * share) for name, share in kept.items())
        low, high = (scale, high) if found < target else (low, scale)
    return {name: 1.0 - min(1.0, high * share) for name, share in kept.items()}


class CsrLinear(nn.Module):
    """A linear as torch's own sparse matrices run it fastest."""

    TILE = 64

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # torch calls CSR a beta feature.
            warnings.simplefilter("ignore", UserWarning)
            csr = linear.weight.detach().to_sparse_csr()
            # The kernels want 32-bit indices and would convert others at every call.
            indices = csr.crow_indices().int(), csr.col_indices().int()
            self.weight = torch.sparse_csr_tensor(*indices, csr.values(), linear.weight.shape)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, in) to (…, out)."""
        rows = x.reshape(-1, x.shape[-1])
        out = x.new_empty(len(rows), self.weight.shape[0])
        for start in range(0, len(rows), self.TILE):
            tile = rows[start : start + self.TILE]
            out[start : start + self.TILE] = (self.weight @ tile.t()).t()
        return out.add_(self.bias).view(*x.shape[:-1], -1)


def csr(model: nn.Module) -> nn.Module:
    """A copy whose transformer linears are torch's sparse matrices."""
    model = copy.deepcopy(model)
    for layer in model.encoder.layers:
        for holder, names in (
            (layer.self_attn, ("q_proj", "k_proj", "v_proj", "out_proj")),
            (layer, ("fc1", "fc2")),
        ):
            for name in names:
                setattr(holder, name, CsrLinear(getattr(holder, name)))
    return model


def int8(model: nn.Module) -> nn.Module:
    """A copy with PyTorch's dynamically quantised linears."""
    model = copy.deepcopy(model)
    for layer in model.encoder.layers:
        # fairseq's attention reads its projections' weights, which quantised ones do not show.
        layer.self_attn = ProjectedAttention(layer.self_attn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def transformer_linears(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Every linear of every layer once, on x (frames, width) or what is made of it between."""
    for layer in model.encoder.layers:
        attention = layer.self_attn
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            getattr(attention, name)(x)
        out = layer.fc2(layer.activation_fn(layer.fc1(x)))
    return out


def transformer(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The encoder, positional convolution included, on x (1, frames, width)."""
    return model.encoder(x)[0]


def whole_model(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """From the waveform x (1, samples) to the encoder's output."""
    return model(x, mask=False, features_only=True)["x"]


def inputs(part: Callable[..., Any], width: int, frames: int) -> torch.Tensor:
    """Random input of a part for so many frames."""
    if part is whole_model:
        return torch.randn(1, (frames - 1) * SAMPLES_A_FRAME + RECEPTIVE_FIELD)
    return (
        torch.randn(frames, width) if part is transformer_linears else torch.randn(1, frames, width)
    )


def timed(
    part: Callable[..., Any],
    models: dict[str, nn.Module],
    width: int,
    lengths: list[int],
    rounds: int,
    clock: Callable[[], float],
    bar: tqdm,
) -> dict[str, dict[int, float | None]]:
    """Seconds of each model at each length; None where it was hopeless before."""
    found: dict[str, dict[int, float | None]] = {name: {} for name in models}
    hopeless: set[str] = set()
    for frames in lengths:
        x = inputs(part, width, frames)
        best = dict.fromkeys(models, float("inf"))
        with torch.inference_mode():
            for number in range(rounds + 1):
                for name, model in models.items():
                    bar.update()
                    if name in hopeless:
                        continue
                    start = clock()
                    part(model, x.bfloat16() if "bf16" in name else x)
                    taken = clock() - start
                    if number:  # The first round warms up.
                        best[name] = min(best[name], taken)
                        if best[name] > HOPELESS * best[FIRST]:
                            hopeless.add(name)
        for name, seconds in best.items():
            found[name][frames] = seconds if math.isfinite(seconds) else None
    return found


def shown(part: Callable[..., Any], times: dict[str, dict[int, float | None]]) -> str:
    """A table of milliseconds: a row a model, a column a length."""
    lengths = list(times[FIRST])
    rows = [
        [
            name,
            *(
                f"{1e3 * seconds:,.0f} ms ({times[FIRST][frames] / seconds:.2f}x)"
                if seconds
                else "-"
                for frames, seconds in row.items()
            ),
        ]
        for name, row in times.items()
    ]
    header = [part.__name__.replace("_", " "), *(f"{frames} frames" for frames in lengths)]
    return aligned(header, rows)


def checked(models: dict[str, nn.Module], sparse: dict[str, nn.Module], width: int) -> float:
    """The largest difference that our engine makes in the transformer's output."""
    x = inputs(transformer, width, 120)
    with torch.inference_mode():
        return max(
            float((transformer(model, x) - transformer(sparse[name], x)).abs().max())
            for name, model in models.items()
        )


def main() -> None:
    """Print a table a part, and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model and few cells")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--one-thread", action="store_true", help="processor time of one thread")
    parser.add_argument("--json", type=Path, help="file for the times, in seconds")
    parser.add_argument("--profile", type=Path, help="sparsity.json of a run")
    options = parser.parse_args()
    if options.quick:
        options.frames, options.sparsity, options.rounds = [50, 100], [0.5, 0.9], 1
    clock = time.perf_counter
    if options.one_thread:
        torch.set_num_threads(1)
        clock = time.thread_time
    profile = None
    if options.profile:
        tensors = json.loads(options.profile.read_text(encoding="utf-8"))["tensors"]
        profile = {name: counts["sparsity"] for name, counts in tensors.items()}
    model = base_model(options.quick)
    width = model.cfg.encoder_embed_dim
    dense = {
        FIRST: model,
        "dense bf16": copy.deepcopy(model).bfloat16(),
        "dynamic int8": int8(model),
    }
    subnetworks = {
        f"{sparsity:.0%}": pruned(model, sparsity, profile) for sparsity in options.sparsity
    }
    engines, chosen = {}, {}
    start = time.perf_counter()
    for name, network in subnetworks.items():
        engines[name] = copy.deepcopy(network)
        done = accelerate(engines[name])
        chosen[name] = f"engine at {name} ({done.replaced} of {len(done.decisions)} groups)"
    choosing = time.perf_counter() - start
    difference = checked(subnetworks, engines, width)
    ours = {chosen[name]: network for name, network in engines.items()}
    torchs = {f"torch CSR at {name}": csr(network) for name, network in subnetworks.items()}

    rows = 3 * (len(dense) + len(ours)) + len(torchs)
    calls = rows * len(options.frames) * (options.rounds + 1)
    with tqdm(total=calls, disable=not sys.stderr.isatty()) as bar:

        def times(part: Callable[..., Any], sparse: dict[str, nn.Module]) -> dict:
            models = {**dense, **sparse}
            return timed(part, models, width, options.frames, options.rounds, clock, bar)

        found = {
            transformer_linears: times(transformer_linears, {**torchs, **ours}),
            transformer: times(transformer, ours),
            whole_model: times(whole_model, ours),
        }
    print("\n\n".join(shown(part, times) for part, times in found.items()))
    print(
        f"\nFastest of {options.rounds} rounds ({clock.__name__}); in brackets, how many times "
        f"faster than dense fp32; - where a shorter input took {HOPELESS} times as long."
    )
    print(
        f"Kernels: {native.level()}. Largest difference of the engine to dense: {difference:.1e}. "
        f"Choosing took {choosing:.1f} s for all {len(subnetworks)} models."
    )
    print(machine())
    if options.json:
        values = {
            "seconds": {part.__name__: times for part, times in found.items()},
            "clock": clock.__name__,
            "kernels": native.level(),
            "difference": difference,
            "machine": machine(),
        }
        options.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if difference > 1e-4:
        raise SystemExit("the engine differs from dense by more than 1e-4")


if __name__ == "__main__":
    main()
