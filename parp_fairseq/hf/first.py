"""The mask that a training with transformers begins with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parp_fairseq.checkpoints.vocabulary import to_transformers
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike
from parp_fairseq.hf.folder import read_tensors
from parp_fairseq.masks.files import nonzero_mask
from parp_fairseq.masks.first import fitted, mask_in, matching
from parp_fairseq.pruning import Mask, random_mask
from parp_fairseq.pruning.magnitude import select_smallest
from parp_fairseq.pruning.methods import FILE, FINETUNED, INITIAL_MASKS, RANDOM, RANDOM_INIT, Method

_FAIRSEQ = "w2v_encoder.w2v_model."


def initial_mask(
    method: Method,
    model: nn.Module,
    weights: Mapping[str, Tensor],
    sparsity: float,
    *,
    initial: str | None = None,
    mask: PathLike | None = None,
    granularity: str = "global",
    seed: int = 2337,
) -> tuple[Mask, float]:
    """Return the first mask, on the weights' devices, and the magnitude below which it prunes.

    Args:
        method: how to prune; it and `initial` say where the mask comes from.
        model: the transformers model, whose architecture "random_init" needs.
        weights: name → its prunable parameters, θ0.
        sparsity: of the first mask, in [0, 1].
        initial: "magnitude", "random", "random_init" or a mask file; None: the method's own.
        mask: a mask file or the folder of a pruned model (method "mask"), or the folder of a
            fine-tuned model ("omp").
        granularity: "global" or "tensor", where magnitudes decide.
        seed: of random masks and random weights.

    Raises:
        UserError: a file cannot be read, or is of another model or of another sparsity.
    """
    kind = initial or method.first
    if kind == RANDOM:
        with options_named(""):
            return random_mask(weights, sparsity, seed), 0.0
    if kind == FILE or kind not in (*INITIAL_MASKS, FINETUNED):
        path = str(mask or initial)
        return fitted(_stored(path, weights), path, sparsity, weights, "").to(weights), 0.0
    ranked = weights
    if kind == FINETUNED:
        ranked = matching(read_tensors(str(mask)), weights, str(mask), "mask")
    elif kind == RANDOM_INIT:
        ranked = _random_init(model, weights, seed)
    with options_named(""):
        selection = select_smallest(ranked, sparsity, granularity)
    return selection.mask(ranked).to(weights), selection.threshold


def _stored(path: str, weights: Mapping[str, Tensor]) -> Mask:
    """The mask in a file of ours, under names of transformers; of a folder, what is not zero."""
    if Path(path).is_dir():
        return nonzero_mask(matching(read_tensors(path), weights, path, "mask"))
    if not Path(path).is_file():
        raise UserError(f"{path}: no such mask file; use {', '.join(INITIAL_MASKS)} or a mask file")
    mask = mask_in(path, weights)
    if set(mask) == set(weights):
        return mask
    # A mask of fairseq's wav2vec 2.0, for the same network here.
    names = {name: to_transformers(_FAIRSEQ + name) or name for name in mask}
    packed, shapes = mask.packed, mask.shapes
    return Mask.from_bits(
        {new: packed[name] for name, new in names.items()},
        {new: shapes[name] for name, new in names.items()},
    )


def _random_init(model: Any, weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The weights that the same network has before any training; other random numbers stay."""
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = type(model)(copy.deepcopy(model.config))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{type(model).__name__} cannot be built anew for random_init ({reason[:200]}); use "
            "initial='random'"
        ) from error
    tensors = {name: tensor.detach() for name, tensor in fresh.named_parameters()}
    return matching(tensors, weights, type(model).__name__, "initial")
