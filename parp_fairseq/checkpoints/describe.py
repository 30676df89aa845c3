"""What a checkpoint says about itself: its model, its labels, the shapes of its weights."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.files import PathLike

_FINETUNED_KINDS = ("wav2vec_ctc", "wav2vec_seq2seq", "hubert_ctc", "hubert_seq2seq")
_KINDS = {"wav2vec2": "wav2vec2", "hubert": "hubert", "data2vec_audio": "data2vec"}


@dataclass(frozen=True)
class PretrainedInfo:
    """What a checkpoint says about itself.

    `kind` is the self-supervised model inside: `wav2vec2`, `hubert`, `data2vec` or, for
    anything else, the name that the checkpoint gives. `arch` is the model's registered name
    (`wav2vec_ctc` for a fine-tuned one). `normalize` is None when the checkpoint does not
    say. `shapes` maps every parameter to its shape.
    """

    path: Path
    kind: str
    arch: str
    finetuned: bool
    normalize: bool | None
    labels: str | None
    encoder_layers: int
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)


def pretrained_info(path: PathLike) -> PretrainedInfo:
    """Say what model a checkpoint holds. Raises what `load_checkpoint` raises."""
    return describe_state(load_checkpoint(path), path)


def describe_state(state: Mapping[str, Any], path: PathLike) -> PretrainedInfo:
    """`pretrained_info` of a state that `load_checkpoint` read from `path`."""
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in state["model"].items()
        if hasattr(tensor, "shape")
    }
    config = config_section(state, "model")
    task = config_section(state, "task")
    arch = str(_get(config, "_name") or _get(config, "arch") or "unknown")
    wrapped = any("w2v_encoder." in name or "encoder.w2v_model." in name for name in shapes)
    finetuned = arch in _FINETUNED_KINDS or wrapped

    inner = arch
    if finetuned:
        w2v_args = _get(config, "w2v_args")
        w2v_model = w2v_args if _get(w2v_args, "arch") else _get(w2v_args, "model")
        inner = str(_get(w2v_model, "_name") or _get(w2v_model, "arch") or "wav2vec2")

    layers = {
        int(match.group(1))
        for match in (re.search(r"encoder\.layers\.(\d+)\.", name) for name in shapes)
        if match
    }
    normalize = _get(task, "normalize")
    labels = _get(task, "labels")
    return PretrainedInfo(
        path=Path(path),
        kind=_KINDS.get(inner, inner),
        arch=arch,
        finetuned=finetuned,
        normalize=None if normalize is None else bool(normalize),
        labels=None if labels is None else str(labels),
        encoder_layers=len(layers),
        shapes=shapes,
    )


def config_section(state: Mapping[str, Any], section: str) -> Any:
    """`state['cfg'][section]`, or the whole flat `args` of an older checkpoint."""
    if state.get("cfg") is not None:
        return _get(state["cfg"], section)
    return state.get("args")


def _get(holder: Any, key: str) -> Any:
    """A key of a dict or DictConfig, an attribute of a Namespace, or None."""
    if holder is None:
        return None
    if isinstance(holder, argparse.Namespace):
        return getattr(holder, key, None)
    try:
        return holder.get(key)
    except Exception:
        return None
