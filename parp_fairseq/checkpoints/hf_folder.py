"""Folders of `transformers`: which tensor there is which of fairseq's, and their weights read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

_HEAD = ("w2v_encoder.proj.", "lm_head.")
_NETWORK = ("w2v_encoder.w2v_model.", "wav2vec2.")
_GROUP_NORM = (
    "feature_extractor.conv_layers.{n}.2.",
    "feature_extractor.conv_layers.{n}.layer_norm.",
)
_LAYER_NORM = (
    "feature_extractor.conv_layers.{n}.2.1.",
    "feature_extractor.conv_layers.{n}.layer_norm.",
)
_WEIGHT_NORM = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
# How names begin inside of the network: fairseq's, and those of Wav2Vec2ForCTC.
_INSIDE = (
    ("feature_extractor.conv_layers.{n}.0.", "feature_extractor.conv_layers.{n}.conv."),
    ("layer_norm.", "feature_projection.layer_norm."),
    ("post_extract_proj.", "feature_projection.projection."),
    ("mask_emb", "masked_spec_embed"),
    ("encoder.pos_conv.0.bias", "encoder.pos_conv_embed.conv.bias"),
    ("encoder.pos_conv.0.weight_g", f"{_WEIGHT_NORM}0"),
    ("encoder.pos_conv.0.weight_v", f"{_WEIGHT_NORM}1"),
    ("encoder.pos_conv.0.parametrizations.weight.original0", f"{_WEIGHT_NORM}0"),
    ("encoder.pos_conv.0.parametrizations.weight.original1", f"{_WEIGHT_NORM}1"),
    # As transformers named them before torch had parametrizations; many folders still have these.
    ("encoder.pos_conv.0.weight_g", "encoder.pos_conv_embed.conv.weight_g"),
    ("encoder.pos_conv.0.weight_v", "encoder.pos_conv_embed.conv.weight_v"),
    ("encoder.layer_norm.", "encoder.layer_norm."),
    ("encoder.layers.{n}.self_attn.", "encoder.layers.{n}.attention."),
    ("encoder.layers.{n}.self_attn_layer_norm.", "encoder.layers.{n}.layer_norm."),
    ("encoder.layers.{n}.fc1.", "encoder.layers.{n}.feed_forward.intermediate_dense."),
    ("encoder.layers.{n}.fc2.", "encoder.layers.{n}.feed_forward.output_dense."),
    ("encoder.layers.{n}.final_layer_norm.", "encoder.layers.{n}.final_layer_norm."),
)


def to_transformers(name: str) -> str | None:
    """The name in Wav2Vec2ForCTC of a tensor of fairseq's `Wav2VecCtc`; None where it has none.

    >>> to_transformers("w2v_encoder.w2v_model.encoder.layers.3.fc1.bias")
    'wav2vec2.encoder.layers.3.feed_forward.intermediate_dense.bias'
    """
    return _renamed(name, (_HEAD, _NETWORK), (_LAYER_NORM, _GROUP_NORM, *_INSIDE))


def from_transformers(name: str, layer_norm: bool = False) -> str | None:
    """Undo `to_transformers`.

    Args:
        name: of a tensor in Wav2Vec2ForCTC.
        layer_norm: its convolutions are normalised by layer (`feat_extract_norm`).
    """
    norm = _LAYER_NORM if layer_norm else _GROUP_NORM
    outer, inside = [[(b, a) for a, b in pairs] for pairs in ((_HEAD, _NETWORK), (norm, *_INSIDE))]
    return _renamed(name, outer, inside)


def _renamed(
    name: str, outer: Iterable[tuple[str, str]], inside: Iterable[tuple[str, str]]
) -> str | None:
    (head, new_head), (network, new_network) = outer
    if name.startswith(head):
        return new_head + name[len(head) :]
    if not name.startswith(network):
        return None
    name = name[len(network) :]
    for old, new in inside:
        pattern = re.escape(old).replace(r"\{n\}", r"(\d+)")
        match = re.match(pattern if old.endswith(".") else pattern + "$", name)
        if match:
            number = match.group(1) if match.groups() else ""
            return new_network + new.replace("{n}", number) + name[match.end() :]
    return None


def is_hf_folder(path: PathLike) -> bool:
    """Whether a folder holds a model of `transformers`."""
    return all(Path(path, name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE))


def read_hf_weights(folder: PathLike, *, strict: bool = False) -> dict[str, Tensor]:
    """Read the weights of a Wav2Vec2ForCTC under fairseq's names; other tensors are left out.

    Args:
        folder: the folder.
        strict: refuse other tensors.

    Raises:
        UserError: a file is damaged, or holds another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config_file, weights_file = Path(folder, CONFIG_FILE), Path(folder, WEIGHTS_FILE)
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        layer_norm = config.get("feat_extract_norm") == "layer"
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{config_file}: not a readable config; copy it again") from error
    try:
        tensors = load_file(str(weights_file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{weights_file}: not a readable model; copy it again") from error
    weights = {
        ours: tensor
        for name, tensor in tensors.items()
        if (ours := from_transformers(name, layer_norm)) is not None
    }
    if not weights:
        raise UserError(f"{folder} holds no Wav2Vec2ForCTC; give an export of --format hf")
    if strict and len(weights) < len(tensors):
        other = next(n for n in tensors if from_transformers(n, layer_norm) is None)
        raise UserError(f"{weights_file} holds {other}, which fairseq's wav2vec 2.0 lacks")
    return weights
