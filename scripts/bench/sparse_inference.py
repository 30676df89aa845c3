#!/usr/bin/env python3
"""Time a pruned wav2vec 2.0 base on a CPU: dense fp32 and bf16, dynamic int8, CSR, and our engine.

    .venv/bin/python scripts/bench/sparse_inference.py

Random weights, one utterance; the fastest of a few rounds in which all take turns. Every prunable
matrix has the stated sparsity. On a machine that others use, `--one-thread` counts the processor
time of one thread instead of the time that passes.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from measuring import in_turn, machine, parser, seconds
from random_models import linears, pretrained
from torch import nn

from parp_fairseq.engine import accelerate
from parp_fairseq.kernels import native
from parp_fairseq.pruning import Scope, magnitude_mask
from parp_fairseq.table import aligned

FIRST = "dense fp32"
SAMPLES_A_FRAME = 320
RECEPTIVE_FIELD = 400
Part = Callable[[Any, torch.Tensor], torch.Tensor]


def base_model(quick: bool) -> Any:
    """A wav2vec 2.0 with random weights, ready for inference."""
    model: Any = pretrained(quick)[0]
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
        prunable[name].masked_fill_(~kept, 0.0)
    return model


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
        for holder, name in linears(layer):
            setattr(holder, name, CsrLinear(getattr(holder, name)))
    return model


def int8(model: nn.Module) -> nn.Module:
    """A copy with PyTorch's dynamically quantised linears."""
    model = copy.deepcopy(model)
    for layer in model.encoder.layers:
        # fairseq's attention else reads its projections' weights, which quantised ones do not show.
        layer.self_attn.skip_embed_dim_check = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def transformer_linears(model: Any, x: torch.Tensor) -> torch.Tensor:
    """Every linear of every layer once, on x (frames, width) or what is made of it between."""
    for layer in model.encoder.layers:
        *attention, (_, first), (_, second) = linears(layer)
        for holder, name in attention:
            getattr(holder, name)(x)
        out = getattr(layer, second)(layer.activation_fn(getattr(layer, first)(x)))
    return out


def transformer(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The encoder, positional convolution included, on x (frames, width)."""
    return model.encoder(x[None])[0]


def whole_model(model: Any, x: torch.Tensor) -> torch.Tensor:
    """From a waveform, the first numbers of x (frames, width), to the encoder's output."""
    samples = (len(x) - 1) * SAMPLES_A_FRAME + RECEPTIVE_FIELD
    return model(x.view(1, -1)[:, :samples], mask=False, features_only=True)["x"]


def table(part: Part, models: Mapping[str, nn.Module], width: int, given: Any, clock: Any) -> str:
    """Milliseconds, the fastest of all rounds: a row a model, a column a length."""
    columns = []
    with torch.inference_mode():
        for frames in given.frames:
            x = torch.randn(frames, width)
            inputs = {name: x.bfloat16() if "bf16" in name else x for name in models}
            ways = {
                name: lambda name=name: seconds(lambda: part(models[name], inputs[name]), clock)  # noqa: B023
                for name in models
            }
            in_turn(ways, 1)  # Warms up.
            best = {name: min(taken) for name, taken in in_turn(ways, given.rounds).items()}
            columns.append([f"{1e3 * t:,.0f} ms ({best[FIRST] / t:.2f}x)" for t in best.values()])
    header = [part.__name__.replace("_", " "), *(f"{frames} frames" for frames in given.frames)]
    return aligned(header, [*zip(models, *columns)])


def main() -> None:
    """Print a table a part, and the machine."""
    options = parser(__doc__, 5, "a small model and few settings")
    options.add_argument("--frames", type=int, nargs="+", default=[100, 500])
    options.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.7, 0.8, 0.9, 0.95])
    options.add_argument("--one-thread", action="store_true", help="processor time of one thread")
    given = options.parse_args()
    if given.quick:
        given.frames, given.sparsity, given.rounds = [50, 100], [0.5, 0.9], 1
    clock = time.thread_time if given.one_thread else time.perf_counter
    if given.one_thread:
        torch.set_num_threads(1)
    model = base_model(given.quick)
    width = model.cfg.encoder_embed_dim
    dense = {
        FIRST: model,
        "dense bf16": copy.deepcopy(model).bfloat16(),
        "dynamic int8": int8(model),
    }
    x, difference, choosing = torch.randn(120, width), 0.0, 0.0
    ours, torchs = {}, {}
    for sparsity in given.sparsity:
        subnetwork = pruned(model, sparsity)
        torchs[f"torch CSR at {sparsity:.0%}"] = csr(subnetwork)
        engine = copy.deepcopy(subnetwork)
        start = time.perf_counter()
        done = accelerate(engine)
        choosing += time.perf_counter() - start
        name = f"engine at {sparsity:.0%} ({done.replaced} of {len(done.decisions)} groups)"
        ours[name] = engine
        with torch.inference_mode():
            outputs = transformer(subnetwork, x), transformer(engine, x)
        difference = max(difference, float((outputs[0] - outputs[1]).abs().max()))
    for part, others in (
        (transformer_linears, {**torchs, **ours}),
        (transformer, ours),
        (whole_model, ours),
    ):
        print(f"{table(part, {**dense, **others}, width, given, clock)}\n", flush=True)
    print(
        f"Fastest of {given.rounds} rounds ({clock.__name__}); in brackets, how many times faster "
        "than dense fp32.\n"
        f"Kernels: {native.level()}. Largest difference of the engine to dense: {difference:.1e}. "
        f"Choosing took {choosing:.1f} s for all {len(ours)} models.\n{machine()}"
    )
    if difference > 1e-4:
        raise SystemExit("the engine differs from dense by more than 1e-4")


if __name__ == "__main__":
    main()
