"""Where the weights that an optimizer updates live, in each of fairseq's precisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from fairseq.optim import FairseqOptimizer
from torch import Tensor

from parp_fairseq.errors import UserError
from parp_fairseq.optim.parp import ParpOptimizer


class Weights(NamedTuple):
    """Tensors by name: what the optimizer updates, and the model's own where those are others."""

    updated: dict[str, Tensor]
    copies: dict[str, Tensor]


def parp_optimizer(optimizer: FairseqOptimizer) -> ParpOptimizer:
    """Return the optimizer `parp` inside fairseq's half-precision and AMP wrappers.

    Raises:
        UserError: there is none.
    """
    inner = optimizer
    while not isinstance(inner, ParpOptimizer):
        inside = getattr(inner, "fp32_optimizer", None) or getattr(inner, "wrapped_optimizer", None)
        if inside is None:
            raise UserError(
                f"the optimizer is {type(inner).__name__}, which does not hold the optimizer parp; "
                "set optimizer._name=parp and leave bmuf, zero_sharding and cpu_offload off"
            )
        inner = inside
    return inner


def optimized_weights(
    optimizer: FairseqOptimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> Weights:
    """Find what `optimizer` updates for the named parameters.

    fp16 and bf16 keep fp32 masters beside the model: one flat vector a device, or a list
    (`common.fp16_no_flatten_grads`, bf16). fp32, AMP and the memory-efficient variants update the
    parameters themselves.

    Args:
        optimizer: as the Trainer built it.
        parameters: name → parameter of the model.

    Raises:
        UserError: a parameter is not optimised.
    """
    own = {name: parameter.data for name, parameter in parameters.items()}
    if not hasattr(optimizer, "fp16_params"):
        return Weights(own, {})
    masters: dict[int, Tensor] = {}
    if optimizer.has_flat_params:
        flats = optimizer.fp32_params
        flats = flats if isinstance(flats, dict) else {None: flats}
        ends = dict.fromkeys(flats, 0)
        for parameter in optimizer.fp16_params:
            device = parameter.device.index if len(flats) > 1 else next(iter(flats))
            start = ends[device]
            ends[device] = start + parameter.numel()
            flat = flats[device].data
            masters[id(parameter)] = flat[start : ends[device]].view(parameter.shape)
    else:
        for parameter, master in zip(optimizer.fp16_params, optimizer.fp32_params):
            masters[id(parameter)] = master.data
    missing = sorted(name for name, p in parameters.items() if id(p) not in masters)
    if missing:
        raise UserError(f"{missing[0]} is prunable but not trained; use task.prune.exclude")
    return Weights({name: masters[id(p)] for name, p in parameters.items()}, own)
