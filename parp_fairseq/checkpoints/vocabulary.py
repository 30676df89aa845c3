"""What fairseq and transformers call the same network: its settings and its tensors.

Both directions are read from the same tables, by `parp export`, `parp transcribe` and whatever
opens a folder of transformers.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.fairseq_settings import network_settings
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

NETWORK, HEAD = "w2v_encoder.w2v_model.", "w2v_encoder.proj."
"""How names of tensors begin in a fine-tuned model of fairseq: of the network, and of its head."""

KINDS = ("wav2vec2", "hubert", "data2vec_audio")
"""Networks of fairseq that differ only in how they are trained."""

# Field of Architecture, fairseq's key, transformers' key, the default of both, and what else it may
# be; without choices it is a size.
_KEYS: tuple[tuple[str, str, str, Any, tuple[Any, ...]], ...] = (
    ("layers", "encoder_layers", "num_hidden_layers", 12, ()),
    ("width", "encoder_embed_dim", "hidden_size", 768, ()),
    ("hidden", "encoder_ffn_embed_dim", "intermediate_size", 3072, ()),
    ("heads", "encoder_attention_heads", "num_attention_heads", 12, ()),
    ("position_kernel", "conv_pos", "num_conv_pos_embeddings", 128, ()),
    ("position_groups", "conv_pos_groups", "num_conv_pos_embedding_groups", 16, ()),
    ("norm", "extractor_mode", "feat_extract_norm", "group", ("layer",)),
    ("activation", "activation_fn", "hidden_act", "gelu", ("relu",)),
    ("conv_bias", "conv_bias", "conv_bias", False, (True,)),
    ("layer_norm_first", "layer_norm_first", "do_stable_layer_norm", False, (True,)),
)
_FAIRSEQ, _TRANSFORMERS = 1, 2  # Columns of _KEYS.
_NORMS = {"default": "group", "layer_norm": "layer"}  # fairseq's names of them.
_CONVOLUTIONS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"

# Settings that must have this value, because the network here has no other form.
_ONLY: dict[int, dict[str, Any]] = {
    _FAIRSEQ: {
        "layer_type": "transformer",
        "conv_pos_batch_norm": False,
        "crop_seq_to_multiple": 1,
        "quantize_input": False,
    },
    _TRANSFORMERS: {
        "add_adapter": False,
        "adapter_attn_dim": None,
        "quantization_config": None,
        "feat_extract_activation": "gelu",
        "layer_norm_eps": 1e-5,
    },
}

TRAINING_KEYS: tuple[tuple[str, str, Any], ...] = (
    ("dropout", "hidden_dropout", 0.0),
    ("attention_dropout", "attention_dropout", 0.0),
    ("activation_dropout", "activation_dropout", 0.0),
    ("dropout_input", "feat_proj_dropout", 0.0),
    ("final_dropout", "final_dropout", 0.0),
    ("layerdrop", "layerdrop", 0.0),
    ("mask_prob", "mask_time_prob", 0.0),
    ("mask_length", "mask_time_length", 10),
    ("mask_channel_prob", "mask_feature_prob", 0.0),
    ("mask_channel_length", "mask_feature_length", 10),
    ("apply_mask", "apply_spec_augment", False),
)
"""What counts only in training: fairseq's key, transformers' key, and fairseq's default."""

# How names of tensors begin: in fairseq's wav2vec 2.0 with a CTC head, and in Wav2Vec2ForCTC.
_OUTER = ((HEAD, "lm_head."), (NETWORK, "wav2vec2."))
_CONV = "feature_extractor.conv_layers.{n}."
_GROUP_NORM = (_CONV + "2.", _CONV + "layer_norm.")
_LAYER_NORM = (_CONV + "2.1.", _CONV + "layer_norm.")
_WEIGHT_NORM = "parametrizations.weight.original"
_POSITION, _THEIR_POSITION = "encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."
_INNER = (
    (_CONV + "0.", _CONV + "conv."),
    ("layer_norm.", "feature_projection.layer_norm."),
    ("post_extract_proj.", "feature_projection.projection."),
    ("mask_emb", "masked_spec_embed"),
    (_POSITION + "bias", _THEIR_POSITION + "bias"),
    (_POSITION + "weight_g", f"{_THEIR_POSITION}{_WEIGHT_NORM}0"),
    (_POSITION + "weight_v", f"{_THEIR_POSITION}{_WEIGHT_NORM}1"),
    # As newer versions of torch name them in fairseq, and older ones in transformers.
    (f"{_POSITION}{_WEIGHT_NORM}0", f"{_THEIR_POSITION}{_WEIGHT_NORM}0"),
    (f"{_POSITION}{_WEIGHT_NORM}1", f"{_THEIR_POSITION}{_WEIGHT_NORM}1"),
    (_POSITION + "weight_g", _THEIR_POSITION + "weight_g"),
    (_POSITION + "weight_v", _THEIR_POSITION + "weight_v"),
    ("encoder.layer_norm.", "encoder.layer_norm."),
    ("encoder.layers.{n}.self_attn.", "encoder.layers.{n}.attention."),
    ("encoder.layers.{n}.self_attn_layer_norm.", "encoder.layers.{n}.layer_norm."),
    ("encoder.layers.{n}.fc1.", "encoder.layers.{n}.feed_forward.intermediate_dense."),
    ("encoder.layers.{n}.fc2.", "encoder.layers.{n}.feed_forward.output_dense."),
    ("encoder.layers.{n}.final_layer_norm.", "encoder.layers.{n}.final_layer_norm."),
)


@dataclass(frozen=True)
class Architecture:
    """A wav2vec 2.0, HuBERT or data2vec network with a CTC head."""

    # Of the feature extractor, as (width, kernel, stride).
    convolutions: tuple[tuple[int, int, int], ...]
    norm: str  # "group": over time after the first convolution; "layer": after each of them
    conv_bias: bool  # whether these convolutions have a bias
    projected: bool  # whether a linear layer leads from their width to the transformer's
    width: int  # of the transformer
    hidden: int  # width between the linear layers of a feed-forward part
    layers: int  # of the transformer
    heads: int  # of its attention
    activation: str  # "gelu" or "relu"
    layer_norm_first: bool  # whether norms come before each part of a layer, and not after it
    position_kernel: int  # frames that the positional convolutions see together
    position_groups: int  # groups of their channels
    position_depth: int = 1  # how many there are
    symbols: int = 0  # rows of the head; 0 where it is not known yet
    blank_weight: float = 0.0
    blank_mode: str = "add"  # the weight is added to the blank's logit; "set" replaces it

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(stride for _, _, stride in self.convolutions)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame is made of: the fewest that can be run."""
        field, step = 1, 1
        for _, kernel, stride in self.convolutions:
            field += (kernel - 1) * step
            step *= stride
        return field

    def frames(self, samples: Any) -> Any:
        """Frames that so many samples (an int or a tensor) become, if at least one."""
        return (samples - self.receptive_field) // self.stride + 1

    @classmethod
    def from_fairseq(
        cls, model: Mapping[str, Any], weights: Mapping[str, Tensor], path: PathLike
    ) -> Architecture:
        """The architecture of a fine-tuned checkpoint, from its `cfg.model` and its tensors.

        UserError, naming the file `path`, where a setting is missing, damaged or not supported.
        """
        inner = network_settings(model, path)
        kind = str(inner.get("_name") or inner.get("arch") or "wav2vec2")
        if kind not in KINDS:
            raise UserError(
                f"{path} is a {kind}; give one of {', '.join(KINDS)} fine-tuned with CTC"
            )
        settings = dict(inner)
        # As in fairseq, the settings of the fine-tuning choose the kind of layers.
        if model.get("layer_type") is not None:
            settings["layer_type"] = model["layer_type"]
        mode = inner.get("extractor_mode", "default")
        settings["extractor_mode"] = _NORMS.get(mode, mode)
        for flag in ("conv_bias", "layer_norm_first"):
            settings[flag] = bool(settings.get(flag))
        if f"{HEAD}weight" not in weights:
            raise UserError(f"{path} has no CTC head; give a model fine-tuned with CTC")
        blank_mode = model.get("blank_mode") or "add"
        if blank_mode not in ("add", "set"):
            raise UserError(f"{path}: its model.blank_mode is {blank_mode}, not add or set")
        layers = convolutions(str(inner.get("conv_feature_layers") or _CONVOLUTIONS), path)
        return _checked(
            settings,
            _FAIRSEQ,
            path,
            convolutions=tuple(layers),
            projected=f"{NETWORK}post_extract_proj.weight" in weights,
            position_depth=inner.get("pos_conv_depth", 1),
            symbols=int(weights[f"{HEAD}weight"].shape[0]),
            blank_weight=float(model.get("blank_weight") or 0.0),
            blank_mode=blank_mode,
        )

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any], path: PathLike) -> Architecture:
        """The architecture that a config.json of a Wav2Vec2ForCTC in `path` describes.

        Raises UserError: a setting is damaged or not supported.
        """
        shapes = [
            config.get(f"conv_{part}", default)
            for part, default in zip(
                ("dim", "kernel", "stride"), zip(*convolutions(_CONVOLUTIONS, path))
            )
        ]
        layers = all(isinstance(shape, (list, tuple)) for shape in shapes)
        if not layers or len({len(shape) for shape in shapes}) != 1:
            raise UserError(f"{path}: the conv_dim, conv_kernel and conv_stride are no layers")
        sides = {"convolutions": tuple(zip(*shapes)), "projected": True}
        return _checked(config, _TRANSFORMERS, path, **sides)

    def to_fairseq(self) -> dict[str, Any]:
        """Settings of fairseq's wav2vec 2.0, for `cfg.model.w2v_args.model`."""
        named = {key: getattr(self, field) for field, key, *_ in _KEYS}
        named["extractor_mode"] = next(ours for ours, norm in _NORMS.items() if norm == self.norm)
        layers = str(list(self.convolutions))
        return {"_name": "wav2vec2", **named, "conv_feature_layers": layers, "final_dim": 0}

    def to_transformers(self) -> dict[str, Any]:
        """Settings of transformers' wav2vec 2.0, for config.json."""
        dims, kernels, strides = (list(sides) for sides in zip(*self.convolutions))
        return {
            "vocab_size": self.symbols,
            **{key: getattr(self, field) for field, _, key, *_ in _KEYS},
            "layer_norm_eps": 1e-5,
            "feat_extract_activation": "gelu",
            "conv_dim": dims,
            "conv_kernel": kernels,
            "conv_stride": strides,
            "num_feat_extract_layers": len(self.convolutions),
        }


def convolutions(text: str, path: PathLike) -> list[tuple[int, int, int]]:
    """Convolutions as (width, kernel, stride), from `conv_feature_layers` of the file `path`.

    >>> convolutions("[(512,10,5)] + [(512,3,2)] * 2", "model.pt")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]

    Lists of tuples may be added and multiplied; nothing is executed.

    Raises UserError: the text is something else.
    """

    def value(node: ast.AST) -> Any:
        if not isinstance(node, ast.BinOp):
            return ast.literal_eval(node)
        left, right = value(node.left), value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list):
            return left + right
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and len(left) * right < 1000:
            return left * right
        raise ValueError(text)

    try:
        layers = value(ast.parse(text.strip(), mode="eval").body)
        return [(int(width), int(kernel), int(stride)) for width, kernel, stride in layers]
    except (SyntaxError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: its conv_feature_layers are {text[:60]!r}, not (width, kernel, stride)"
        ) from error


def to_transformers(name: str) -> str | None:
    """The name in Wav2Vec2ForCTC of a tensor of fairseq's `Wav2VecCtc`; None where it has none.

    >>> to_transformers("w2v_encoder.w2v_model.encoder.layers.3.fc1.bias")
    'wav2vec2.encoder.layers.3.feed_forward.intermediate_dense.bias'
    """
    return _renamed(name, _OUTER, (_LAYER_NORM, _GROUP_NORM, *_INNER))


def from_transformers(name: str, layer_norm: bool = False) -> str | None:
    """Undo `to_transformers`.

    Args:
        name: of a tensor in Wav2Vec2ForCTC.
        layer_norm: its convolutions are normalised by layer (`feat_extract_norm`).
    """
    inner = (_LAYER_NORM if layer_norm else _GROUP_NORM, *_INNER)
    return _renamed(name, *([(b, a) for a, b in pairs] for pairs in (_OUTER, inner)))


def _renamed(
    name: str, outer: Iterable[tuple[str, str]], inner: Iterable[tuple[str, str]]
) -> str | None:
    (head, new_head), (network, new_network) = outer
    if name.startswith(head):
        return new_head + name[len(head) :]
    if not name.startswith(network):
        return None
    name = name[len(network) :]
    for old, new in inner:
        pattern = re.escape(old).replace(r"\{n\}", r"(\d+)")
        match = re.match(pattern if old.endswith(".") else pattern + "$", name)
        if match:
            number = match.group(1) if match.groups() else ""
            return new_network + new.replace("{n}", number) + name[match.end() :]
    return None


def _checked(
    settings: Mapping[str, Any], column: int, path: PathLike, **values: Any
) -> Architecture:
    """The architecture of `values` and what `settings` have under the keys of a column of _KEYS."""
    choices: dict[str, tuple[Any, tuple[Any, ...]]] = {
        key: (only, (only,)) for key, only in _ONLY[column].items()
    }
    for field, *keys, default, others in _KEYS:
        key = keys[column - 1]
        values[field] = settings.get(key, default)
        choices[key] = (default, (default, *others) if others else ())
    for key, (default, allowed) in choices.items():
        value = settings.get(key, default)
        if not allowed and not _is_size(value):
            raise UserError(f"{path}: its network has {key}={str(value)[:40]}, which is no size")
        # To Python, 1 == True.
        same = value in allowed and isinstance(value, bool) == isinstance(default, bool)
        if allowed and not same:
            raise UserError(
                f"{path}: its network has {key}={str(value)[:40]}, which is not supported here; "
                "parp eval runs every fairseq checkpoint whose network fairseq can build"
            )
    if not _is_size(values.get("position_depth", 1)):
        raise UserError(f"{path}: its pos_conv_depth is {values['position_depth']}, no size")
    layers = values["convolutions"]
    if not 1 <= len(layers) <= 64 or not all(_is_size(side) for layer in layers for side in layer):
        raise UserError(f"{path}: its convolutions {str(layers)[:60]} are no layers")
    for parts in ("heads", "position_groups"):
        if values["width"] % values[parts]:
            raise UserError(
                f"{path}: its settings are damaged (width {values['width']} does not divide by "
                f"{parts} {values[parts]}); copy it again"
            )
    return Architecture(**values)


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**20
