"""What is prunable in a folder's classifier, and how much of it was pruned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.glue.folders import first_line, load_tokenizer
from parp_fairseq.glue.specs import Spec

# A file's sparsity and the option may differ by rounding, not by more.
_TOLERANCE = 0.005


def prunable_shapes(model: Path, spec: Spec) -> dict[str, tuple[int, ...]]:
    """Name → shape of the prunable parameters of a folder's classifier; no weight is read.

    Args:
        model: a folder of transformers.
        spec: a run, whose options may name another scope than the preset.

    Raises:
        UserError: no scope is known for the model, or no classifier can be made of it.
    """
    return dict(_shapes(model, spec.options.include, spec.options.exclude))


def check_model(model: Path, specs: Iterable[Spec], max_length: int) -> None:
    """See, before anything is trained, that a folder's model can be pruned and fed.

    Args:
        model: a folder of transformers.
        specs: the runs that are to be made with it.
        max_length: tokens in an example.

    Raises:
        UserError: no scope is known for it, its weights are damaged, it takes fewer tokens, or its
            tokenizer knows more of them.
    """
    for spec in specs:
        prunable_shapes(model, spec)
        if spec.file is not None:
            check_mask(spec, prunable_shapes(model, spec))
    check_weights(model)
    config = _config(model)
    most = getattr(config, "max_position_embeddings", None)
    if isinstance(most, int) and 0 < most < max_length:
        raise UserError(f"--max-length is {max_length}, and {model} takes {most} tokens at most")
    known, words = len(load_tokenizer(model)), getattr(config, "vocab_size", None)
    if isinstance(words, int) and known > words:
        raise UserError(
            f"{model}: its tokenizer has {known} tokens and the model {words}; they do not belong "
            "together"
        )


def check_weights(model: Path) -> None:
    """Raise UserError where a folder's weights were cut off or are no safetensors."""
    from safetensors import SafetensorError, safe_open

    from parp_fairseq.hf.folder import weight_files

    for path in weight_files(model):
        try:
            with safe_open(str(path), framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not a readable model; copy it again") from error


def _config(model: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(model), local_files_only=True)
    except Exception as error:
        raise UserError(f"{model}: its config cannot be used ({first_line(error)})") from error


@lru_cache(maxsize=16)
def _shapes(
    model: Path, include: tuple[str, ...], exclude: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    import torch
    from transformers import AutoModelForSequenceClassification

    from parp_fairseq.hf.scopes import prunable_parameters

    config = _config(model)
    try:
        with torch.device("meta"):
            network = AutoModelForSequenceClassification.from_config(config)
    except Exception as error:
        raise UserError(
            f"{model}: no classifier can be made of it ({first_line(error)})"
        ) from error
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    names = prunable_parameters(network, include, exclude)
    return {name: shapes[name] for name in names}


def count_zeros(weights: Path, names: Iterable[str]) -> dict[str, Any]:
    """Count the zeros among prunable entries of a safetensors file.

    Returns:
        {"entries", "zeros", "sparsity", "emptied": names of tensors that are nothing but zeros}.
    """
    from safetensors import safe_open

    entries = zeros = 0
    emptied = []
    with safe_open(str(weights), framework="pt") as handle:
        for name in names:
            tensor = handle.get_tensor(name)
            entries += tensor.numel()
            empty = int((tensor == 0).sum())
            zeros += empty
            if empty == tensor.numel():
                emptied.append(name)
    found = {"entries": entries, "zeros": zeros, "sparsity": zeros / entries}
    return {**found, "emptied": emptied}


def check_mask(spec: Spec, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """See that a user's mask file is of this model and of the sparsity that the run begins at.

    Raises:
        UserError: it is not, or it cannot be read.
    """
    from parp_fairseq.masks.files import load_mask

    mask, _ = load_mask(str(spec.file))
    with options_named(""):
        mask = mask.renamed(dict(shapes), str(spec.file))
    wanted = spec.used.get("initial_sparsity", spec.sparsity)
    if abs(mask.sparsity - wanted) > _TOLERANCE:
        raise UserError(
            f"{spec.file}: this mask has sparsity {mask.sparsity:.4f} and the run begins at "
            f"{wanted:g}; give --sparsity {mask.sparsity:.2f}"
        )
