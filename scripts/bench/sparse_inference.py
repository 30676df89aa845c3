#!/usr/bin/env python3
"""Time a pruned wav2vec 2.0 base on a CPU: dense fp32 and bf16, dynamic int8, and CSR.

Random weights, every prunable matrix at the stated sparsity, one utterance; the fastest of a few
rounds in which all take turns. `--quick` tries a small model.
"""

from __future__ import annotations

import argparse
import copy
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

from parp_fairseq.engine.csr import Chooser, CsrLinear, ProjectedAttention, use_csr
from parp_fairseq.pruning import Scope, magnitude_mask
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


def pruned(model: nn.Module, sparsity: float) -> nn.Module:
    """A copy whose prunable matrices all have this sparsity."""
    model = copy.deepcopy(model)
    weights = dict(model.named_parameters())
    prunable = {name: weights[name] for name in Scope().select(weights)}
    for name, kept in magnitude_mask(prunable, sparsity, "tensor").items():
        weights[name].masked_fill_(~kept, 0.0)
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
    """Every linear of every layer once, on x (frames, width) or what fc1 makes of it."""
    for layer in model.encoder.layers:
        attention = layer.self_attn
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            getattr(attention, name)(x)
        out = layer.fc2(layer.fc1(x))
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
    bar: tqdm,
) -> str:
    """A table of milliseconds: a row a model, a column a length."""
    cells: dict[str, list[str]] = {name: [] for name in models}
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
                    start = time.perf_counter()
                    part(model, x.bfloat16() if "bf16" in name else x)
                    taken = time.perf_counter() - start
                    if number:  # The first round warms up.
                        best[name] = min(best[name], taken)
                        if best[name] > HOPELESS * best[FIRST]:
                            hopeless.add(name)
        for name, seconds in best.items():
            shown = f"{1e3 * seconds:,.0f} ms ({best[FIRST] / seconds:.2f}x)"
            cells[name].append(shown if math.isfinite(seconds) else "-")
    header = [part.__name__.replace("_", " "), *(f"{frames} frames" for frames in lengths)]
    return aligned(header, [[name, *row] for name, row in cells.items()])


def checked(models: dict[str, nn.Module], sparse: dict[str, nn.Module], width: int) -> float:
    """The largest difference that a CSR model makes in the transformer's output."""
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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 500, 1500])
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.7, 0.8, 0.9, 0.95])
    options = parser.parse_args()
    if options.quick:
        options.frames, options.sparsity, options.rounds = [50, 100], [0.5, 0.9], 1
    model = base_model(options.quick)
    width = model.cfg.encoder_embed_dim
    dense = {
        FIRST: model,
        "dense bf16": copy.deepcopy(model).bfloat16(),
        "dynamic int8": int8(model),
    }
    subnetworks = {f"{sparsity:.0%}": pruned(model, sparsity) for sparsity in options.sparsity}

    rows = len(dense) + len(subnetworks)
    calls = 3 * rows * len(options.frames) * (options.rounds + 1)
    with tqdm(total=calls, disable=not sys.stderr.isatty()) as bar:

        def table(part: Callable[..., Any], sparse: dict[str, nn.Module]) -> str:
            return timed(part, {**dense, **sparse}, width, options.frames, options.rounds, bar)

        everywhere = {name: copy.deepcopy(network) for name, network in subnetworks.items()}
        for network in everywhere.values():
            use_csr(network.encoder.layers, lambda linear: True)
        difference = checked(subnetworks, everywhere, width)
        tables = [
            table(transformer_linears, {f"CSR at {name}": one for name, one in everywhere.items()})
        ]
        del everywhere

        chooser = Chooser()
        engines = {}
        start = time.perf_counter()
        for name, network in subnetworks.items():
            chosen = use_csr(network.encoder.layers, chooser)
            linears = sum(
                isinstance(module, (nn.Linear, CsrLinear))
                for module in network.encoder.layers.modules()
            )
            engines[f"engine csr at {name} ({len(chosen)} of {linears} linears)"] = network
        choosing = time.perf_counter() - start
        tables += [table(transformer, engines), table(whole_model, engines)]
    print("\n\n".join(tables))
    print(
        f"\nFastest of {options.rounds} rounds; in brackets, how many times faster than dense "
        f"fp32; - where a shorter input took {HOPELESS} times as long."
    )
    print(
        f"Largest difference of CSR to dense: {difference:.1e}. "
        f"Choosing took {choosing:.1f} s for all {len(subnetworks)} models."
    )
    print(machine())
    if difference > 1e-4:
        raise SystemExit("CSR differs from dense by more than 1e-4")


if __name__ == "__main__":
    main()
