"""wav2vec 2.0, HuBERT and data2vec with a CTC head in plain torch, for inference.

Modules bear fairseq's names, so that its weights load as they are. Outputs equal those of
fairseq's own model in evaluation mode within rounding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parp_fairseq.checkpoints.vocabulary import NETWORK, Architecture
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

_EPS = 1e-5
_POSITION = f"{NETWORK}encoder.pos_conv.0."
# How weight norm's two parts are called, by old and new versions of torch.
_WEIGHT_NORM = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
# Used only in pre-training and fine-tuning.
_TRAINING = re.compile(
    re.escape(NETWORK)
    + r"(mask_emb$|(quantizer|project_q|target_glu|final_proj)\.|label_embs_concat$|_ema)"
)


class Wav2Vec2Ctc(nn.Module):
    """Logits of every symbol for every frame of a waveform."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        head = nn.Linear(architecture.width, architecture.symbols)
        self.w2v_encoder = nn.ModuleDict({"w2v_model": Network(architecture), "proj": head})

    @classmethod
    def from_finetuned(
        cls, model: Mapping[str, Any], weights: Mapping[str, Tensor], path: PathLike = "the model"
    ) -> Wav2Vec2Ctc:
        """Build the network of a fine-tuned checkpoint, in evaluation mode and fp32.

        `model` are its settings `cfg.model`, with the network's in `w2v_args.model`; fp32
        `weights`, as fairseq names them, are kept without a copy. UserError, naming `path`, where
        the network is none of this kind, or its weights do not fit.
        """
        architecture = Architecture.from_fairseq(model, weights, path)
        # Without memory: random numbers that are replaced at once would take seconds.
        with torch.device("meta"):
            built = cls(architecture)
        # Copied, for they may be mapped from a file that is written over while the model is in use.
        tensors = {
            name: tensor.detach().to(torch.float32, copy=True)
            for name, tensor in _plain_position(weights).items()
            if not _TRAINING.match(name)
        }
        wanted = built.state_dict()
        for name, tensor in wanted.items():
            if name not in tensors:
                raise UserError(f"{path} lacks {name}, which its settings imply; copy it again")
            if tensors[name].shape != tensor.shape:
                raise UserError(
                    f"{path}: {name} is {list(tensors[name].shape)}, but its settings say "
                    f"{list(tensor.shape)}; copy it again"
                )
        for name in tensors:
            if name not in wanted:
                raise UserError(
                    f"{path} holds {name}, which this network lacks; parp eval runs every network "
                    "that fairseq can build"
                )
        built.load_state_dict(tensors, assign=True)
        return built.requires_grad_(False).eval()

    def forward(self, source: Tensor, padding: Tensor | None = None) -> Tensor:
        """Logits (batch, frames, symbols) of waveforms (batch, samples) at 16 kHz.

        They are normalised as the model was trained (`task.normalize`). `padding` (batch, samples)
        is True after the end of a waveform; such frames' logits mean nothing.
        """
        network, head = self.w2v_encoder.values()
        logits: Tensor = head(network(source, padding))
        weight = self.architecture.blank_weight
        if not weight:
            return logits
        blank, others = logits[..., :1], logits[..., 1:]
        added = self.architecture.blank_mode == "add"
        return torch.cat((blank + weight if added else torch.full_like(blank, weight), others), -1)


class Network(nn.Module):
    """The feature extractor and the transformer: (batch, samples) to (batch, frames, width)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels = architecture.convolutions[-1][0]
        self.frames = architecture.frames
        self.feature_extractor = FeatureExtractor(architecture)
        self.layer_norm = nn.LayerNorm(channels, eps=_EPS)
        self.post_extract_proj = (
            nn.Linear(channels, architecture.width) if architecture.projected else None
        )
        self.encoder = Encoder(architecture)

    def forward(self, source: Tensor, padding: Tensor | None = None) -> Tensor:
        """Run it; `padding` is True after the end of a waveform."""
        x = self.layer_norm(self.feature_extractor(source).transpose(1, 2))
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        padded = None
        if padding is not None:
            lengths = self.frames((~padding).sum(-1))
            padded = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        return self.encoder(x, padded)


class FeatureExtractor(nn.Module):
    """Convolutions over the waveform: (batch, samples) to (batch, channels, frames)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        before = 1
        for number, (width, kernel, stride) in enumerate(architecture.convolutions):
            bias = architecture.conv_bias
            parts: list[nn.Module] = [nn.Conv1d(before, width, kernel, stride, bias=bias)]
            parts.append(nn.Identity())  # In place of fairseq's dropout, as names count them.
            if architecture.norm == "layer":
                norm = nn.LayerNorm(width, eps=_EPS)
                parts.append(nn.Sequential(Transpose(), norm, Transpose()))
            elif number == 0:
                parts.append(nn.GroupNorm(width, width, eps=_EPS))
            self.conv_layers.append(nn.Sequential(*parts, nn.GELU()))
            before = width

    def forward(self, source: Tensor) -> Tensor:
        x = source.unsqueeze(1)
        for layer in self.conv_layers:
            x = layer(x)
        return x


class Encoder(nn.Module):
    """The positional convolution and the transformer's layers: (batch, frames, width)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.layer_norm_first = architecture.layer_norm_first
        self.pos_conv = _positions(architecture)
        self.layers = nn.ModuleList(Layer(architecture) for _ in range(architecture.layers))
        self.layer_norm = nn.LayerNorm(architecture.width, eps=_EPS)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Run it; `padded` (batch, frames) is True for frames that are not seen."""
        mask = None
        if padded is not None:
            x = x.masked_fill(padded[..., None], 0.0)
            mask = ~padded[:, None, None, :]
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.layer_norm(x) if self.layer_norm_first else x


class Layer(nn.Module):
    """A transformer layer, with norms before or after its two parts."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, hidden = architecture.width, architecture.hidden
        self.layer_norm_first = architecture.layer_norm_first
        self.activation_fn: Any = getattr(functional, architecture.activation)
        self.self_attn = SelfAttention(width, architecture.heads)
        self.self_attn_layer_norm = nn.LayerNorm(width, eps=_EPS)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run it; `mask` is True where a frame is seen."""
        if self.layer_norm_first:
            x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
            return x + self._feed_forward(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(x + self.self_attn(x, mask))
        return self.final_layer_norm(x + self._feed_forward(x))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_fn(self.fc1(x)))


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend over (batch, frames, width); `mask` (batch, 1, 1, frames) is True where seen."""
        q, k, v = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(-2))


class Transpose(nn.Module):
    """Swaps channels and time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class SamePad(nn.Module):
    """Cuts off the frame that an even kernel adds."""

    def __init__(self, kernel: int) -> None:
        """For a convolution of this kernel, padded by half of it."""
        super().__init__()
        self.end = -1 if kernel % 2 == 0 else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames), as long as the convolution's input was."""
        return x[..., : self.end]


def _positions(architecture: Architecture) -> nn.Sequential:
    """wav2vec 2.0's one convolution, or data2vec's several with norms between."""
    width, depth = architecture.width, architecture.position_depth
    kernel = (
        architecture.position_kernel
        if depth == 1
        else max(3, architecture.position_kernel // depth)
    )

    def part() -> nn.Sequential:
        groups = architecture.position_groups
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        norm = nn.LayerNorm(width, eps=_EPS, elementwise_affine=False)
        norms = [] if depth == 1 else [Transpose(), norm, Transpose()]
        return nn.Sequential(conv, SamePad(kernel), *norms, nn.GELU())

    return part() if depth == 1 else nn.Sequential(*(part() for _ in range(depth)))


def _plain_position(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the positional convolution's in one, where weight norm has two of it."""
    plain = dict(weights)
    for names in _WEIGHT_NORM:
        g, v = (_POSITION + name for name in names)
        if g in plain and v in plain:
            # Over all but the kernel, as fairseq sets it.
            scale, direction = plain.pop(g).float(), plain.pop(v).float()
            plain[f"{_POSITION}weight"] = torch._weight_norm(direction, scale, 2)
    return plain
