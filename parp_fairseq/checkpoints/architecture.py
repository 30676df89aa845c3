"""What a network is made of, from fairseq's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.convolutions import convolutions
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

NETWORK = "w2v_encoder.w2v_model."
"""How fairseq names the self-supervised network inside of a fine-tuned one."""

KINDS = ("wav2vec2", "hubert", "data2vec_audio")
"""Networks of fairseq's that differ in their training alone."""

_CONVOLUTIONS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
# What the network here lacks, unless it is set to this.
_ONLY = {
    "layer_type": "transformer",
    "conv_pos_batch_norm": False,
    "crop_seq_to_multiple": 1,
    "quantize_input": False,
}
_NORMS = {"default": "group", "layer_norm": "layer"}
_ACTIVATIONS = ("gelu", "relu")


@dataclass(frozen=True)
class Architecture:
    """A wav2vec 2.0, HuBERT or data2vec network with a CTC head.

    Attributes:
        convolutions: of the feature extractor, as (width, kernel, stride).
        norm: "group": over time behind the first convolution; "layer": behind each of them.
        conv_bias: whether these convolutions have a bias.
        projected: whether a linear leads from their width to the transformer's.
        width: of the transformer.
        hidden: width between the linears of a feed-forward part.
        layers: of the transformer.
        heads: of its attention.
        activation: "gelu" or "relu".
        layer_norm_first: norms stand before each part, not behind it.
        position_kernel: frames that the positional convolutions see together.
        position_groups: groups of their channels.
        position_depth: how many there are.
        symbols: of the head.
        blank_weight, blank_mode: "add" adds the weight to the blank's logit, "set" puts it there.
    """

    convolutions: tuple[tuple[int, int, int], ...]
    norm: str
    conv_bias: bool
    projected: bool
    width: int
    hidden: int
    layers: int
    heads: int
    activation: str
    layer_norm_first: bool
    position_kernel: int
    position_groups: int
    position_depth: int
    symbols: int
    blank_weight: float = 0.0
    blank_mode: str = "add"

    @property
    def stride(self) -> int:
        """Samples from a frame to the next."""
        stride = 1
        for _, _, step in self.convolutions:
            stride *= step
        return stride

    @property
    def receptive_field(self) -> int:
        """Samples that a frame is made of, and the fewest that can be run."""
        field, step = 1, 1
        for _, kernel, stride in self.convolutions:
            field += (kernel - 1) * step
            step *= stride
        return field

    def frames(self, samples: int) -> int:
        """Frames that so many samples become."""
        return max(0, (samples - self.receptive_field) // self.stride + 1)


def of_fairseq(
    model: Mapping[str, Any], weights: Mapping[str, Tensor], path: PathLike
) -> Architecture:
    """The architecture of a fine-tuned checkpoint.

    Args:
        model: its settings `cfg.model`, with the network's in `w2v_args.model`.
        weights: its tensors, under fairseq's names.
        path: the file, for the errors.

    Raises:
        UserError: a setting is missing or of a network that this is not.
    """
    outer = model.get("w2v_args")
    inner = outer.get("model") if isinstance(outer, Mapping) else None
    if not isinstance(inner, Mapping):
        raise UserError(
            f"{path} does not hold its architecture (cfg.model.w2v_args); save it once with "
            "fairseq where its pre-trained file is"
        )
    kind = str(inner.get("_name") or inner.get("arch") or "wav2vec2")
    if kind not in KINDS:
        raise UserError(f"{path} is a {kind}; give one of {', '.join(KINDS)} fine-tuned with CTC")
    # As fairseq does, which lets the fine-tuning's own settings choose the layers.
    settings = {**_ONLY, **inner}
    if model.get("layer_type") is not None:
        settings["layer_type"] = model["layer_type"]
    _check(settings, _ONLY, path)
    return _made(
        path,
        convolutions=tuple(
            convolutions(str(inner.get("conv_feature_layers") or _CONVOLUTIONS), path)
        ),
        norm=inner.get("extractor_mode", "default"),
        conv_bias=inner.get("conv_bias", False),
        projected=f"{NETWORK}post_extract_proj.weight" in weights,
        width=inner.get("encoder_embed_dim", 768),
        hidden=inner.get("encoder_ffn_embed_dim", 3072),
        layers=inner.get("encoder_layers", 12),
        heads=inner.get("encoder_attention_heads", 12),
        activation=inner.get("activation_fn", "gelu"),
        layer_norm_first=inner.get("layer_norm_first", False),
        position_kernel=inner.get("conv_pos", 128),
        position_groups=inner.get("conv_pos_groups", 16),
        position_depth=inner.get("pos_conv_depth", 1),
        symbols=_rows(weights, "w2v_encoder.proj.weight", path),
        blank_weight=model.get("blank_weight") or 0.0,
        blank_mode=model.get("blank_mode") or "add",
    )


def _check(settings: Mapping[str, Any], only: Mapping[str, Any], path: PathLike) -> None:
    for key, value in only.items():
        if settings[key] != value:
            raise UserError(
                f"{path}: its network has {key}={settings[key]}, which is not supported here; "
                "parp eval runs every network that fairseq can build"
            )


def _rows(weights: Mapping[str, Tensor], name: str, path: PathLike) -> int:
    if name not in weights:
        raise UserError(f"{path} has no CTC head; give a model fine-tuned with CTC")
    return int(weights[name].shape[0])


def _made(path: PathLike, **values: Any) -> Architecture:
    """An Architecture of plain, sound values."""
    if values["norm"] not in _NORMS:
        raise UserError(
            f"{path}: its feature extractor normalises by {values['norm']}, which is "
            "not supported here"
        )
    if values["activation"] not in _ACTIVATIONS:
        raise UserError(
            f"{path}: its network has the activation {values['activation']}, which is not "
            f"supported here; known are {', '.join(_ACTIVATIONS)}"
        )
    values["norm"] = _NORMS[values["norm"]]
    counts = ("width", "hidden", "layers", "heads", "position_kernel", "position_groups")
    try:
        for name in (*counts, "position_depth", "symbols"):
            values[name] = int(values[name])
            if values[name] < 1:
                raise ValueError(f"{name} is {values[name]}")
        values["convolutions"] = tuple(
            tuple(int(side) for side in layer) for layer in values["convolutions"]
        )
        if not values["convolutions"] or min(map(min, values["convolutions"])) < 1:
            raise ValueError(f"its convolutions are {values['convolutions']}")
        for whole, parts in (("width", "heads"), ("width", "position_groups")):
            if values[whole] % values[parts]:
                raise ValueError(f"{whole} {values[whole]} does not divide by {parts}")
        values["blank_weight"] = float(values.get("blank_weight", 0.0))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: its settings are damaged ({error}); copy it again") from error
    if values.get("blank_mode", "add") not in ("add", "set"):
        raise UserError(f"{path}: its model.blank_mode is {values['blank_mode']}, not add or set")
    for name in ("conv_bias", "projected", "layer_norm_first"):
        values[name] = bool(values[name])
    return Architecture(**values)
