"""Model `parp_whisper`: Whisper's encoder where fairseq expects a pre-trained wav2vec 2.0.

`examples/whisper_ctc/convert_whisper.py` writes such a checkpoint. `model.w2v_path` takes it, so
that the main job puts a CTC layer on top and trains, prunes and scores it as any other.
"""

# No `from __future__ import annotations`: fairseq reads the dataclass's types as they are.
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
import torch.nn.functional as F
from fairseq.models import BaseFairseqModel, register_model
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from torch import Tensor, nn

from parp_fairseq.errors import UserError

HOP = 160
"""Samples of a frame of the spectrogram (10 ms at 16 kHz)."""
WINDOW = 400
STRIDE = 2
"""Frames of the spectrogram a frame of the encoder takes (20 ms)."""


@dataclass
class WhisperEncoderConfig(Wav2Vec2Config):
    """Whisper's sizes under wav2vec 2.0's keys; its other options have no effect here."""

    mel_bins: int = field(default=80, metadata={"help": "rows of the log-mel spectrogram"})
    positions: int = field(
        default=1500, metadata={"help": "frames of 20 ms that the encoder has positions for"}
    )


def longest(config: Any) -> int:
    """The most samples of an utterance that fit the positions of a WhisperEncoderConfig."""
    return (STRIDE * config["positions"] + 1) * HOP - 1


class WhisperLayer(nn.Module):
    """A transformer layer, norms first; keys have no bias."""

    def __init__(self, cfg: WhisperEncoderConfig) -> None:
        """Build it."""
        super().__init__()
        width = cfg.encoder_embed_dim
        self.self_attn = nn.ModuleDict(
            {
                "q_proj": nn.Linear(width, width),
                "k_proj": nn.Linear(width, width, bias=False),
                "v_proj": nn.Linear(width, width),
                "out_proj": nn.Linear(width, width),
            }
        )
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, cfg.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(cfg.encoder_ffn_embed_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.heads = cfg.encoder_attention_heads
        self.dropout = cfg.dropout
        self.attention_dropout = cfg.attention_dropout
        self.activation_dropout = cfg.activation_dropout

    def forward(self, x: Tensor, keep: Optional[Tensor]) -> Tensor:
        """Return (B, T, C) of `x` (B, T, C); `keep` (B, 1, 1, T) is True where a frame is sound."""
        x = x + self._drop(self._attend(self.self_attn_layer_norm(x), keep), self.dropout)
        inner = F.gelu(self.fc1(self.final_layer_norm(x)))
        return x + self._drop(self.fc2(self._drop(inner, self.activation_dropout)), self.dropout)

    def _attend(self, x: Tensor, keep: Optional[Tensor]) -> Tensor:
        batch, frames, width = x.shape
        q, k, v = (
            self.self_attn[name](x).view(batch, frames, self.heads, -1).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep, dropout_p=dropout)
        return self.self_attn["out_proj"](mixed.transpose(1, 2).reshape(batch, frames, width))

    def _drop(self, x: Tensor, share: float) -> Tensor:
        return F.dropout(x, share, self.training)


@register_model("parp_whisper", dataclass=WhisperEncoderConfig)
class WhisperEncoder(BaseFairseqModel):
    """Samples to frames of 20 ms, at their own length: nothing is padded to 30 seconds.

    An utterance gives the same frames alone and in a batch.
    """

    def __init__(self, cfg: WhisperEncoderConfig) -> None:
        """Build it."""
        super().__init__()
        width = cfg.encoder_embed_dim
        self.cfg = cfg
        self.feature_grad_mult = cfg.feature_grad_mult
        self.feature_extractor = nn.ModuleDict(
            {
                "conv1": nn.Conv1d(cfg.mel_bins, width, 3, padding=1),
                "conv2": nn.Conv1d(width, width, 3, stride=STRIDE, padding=1),
            }
        )
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(WhisperLayer(cfg) for _ in range(cfg.encoder_layers))
        self.encoder.layer_norm = nn.LayerNorm(width)
        self.register_buffer("positions", torch.zeros(cfg.positions, width))
        self.register_buffer("mel_filters", torch.zeros(cfg.mel_bins, WINDOW // 2 + 1))

    @classmethod
    def build_model(cls, cfg: WhisperEncoderConfig, task: Any = None) -> "WhisperEncoder":
        """Build it, as fairseq asks."""
        return cls(cfg)

    def remove_pretraining_modules(self) -> None:
        """Do nothing: there are none."""

    def extract_features(
        self, source: Tensor, padding_mask: Optional[Tensor], mask: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Encode a batch: "x" (B, T, C); "padding_mask" (B, T) or None.

        `source` (B, samples) is at 16 kHz, in [-1, 1], padded with zeros; `padding_mask` (B,
        samples) is True where it is. Raises UserError: span masking (`mask`) is asked for, which
        this model does not have, or an utterance is longer than the positions.
        """
        if mask:
            raise UserError("parp_whisper has no span masks: set model.apply_mask=false")
        lengths = torch.full((len(source),), source.shape[1], device=source.device)
        if padding_mask is not None:
            lengths = (~padding_mask).sum(1)
        frames = torch.div(lengths, HOP, rounding_mode="floor")
        trains = self.training and self.feature_grad_mult > 0
        with torch.set_grad_enabled(trains and torch.is_grad_enabled()):
            x, frames = self._frames(self.spectrogram(source, frames), frames)
        if x.shape[1] > len(self.positions):
            raise UserError(
                f"an utterance has {x.shape[1]} frames of 20 ms, the model {len(self.positions)} "
                "positions; cut the recording or remove its row"
            )
        sound = torch.arange(x.shape[1], device=x.device) < frames[:, None]
        keep = None if bool(sound.all()) else sound[:, None, None]
        x = x + self.positions[: x.shape[1]]
        for layer in self.encoder.layers:
            x = layer(x, keep)
        x = self.encoder.layer_norm(x)
        return {"x": x, "padding_mask": None if keep is None else ~sound, "layer_results": []}

    def spectrogram(self, source: Tensor, frames: Tensor) -> Tensor:
        """Return Whisper's log-mel spectrogram, (B, mel_bins, frames), zero behind each utterance.

        `source` is (B, samples); `frames` (B,) says how many belong to each.
        """
        # Whisper hears 30 seconds: behind an utterance there is silence.
        padded = F.pad(source.float(), (0, WINDOW))
        window = torch.hann_window(WINDOW, device=source.device)
        spectrum = torch.stft(padded, WINDOW, HOP, window=window, return_complex=True)
        power = spectrum[..., : int(frames.max())].abs() ** 2
        mel = (self.mel_filters.float() @ power).clamp(min=1e-10).log10()
        sound = (torch.arange(mel.shape[-1], device=mel.device) < frames[:, None])[:, None]
        loudest = mel.masked_fill(~sound, -torch.inf).amax((1, 2), keepdim=True)
        return ((torch.maximum(mel, loudest - 8.0) + 4.0) / 4.0).masked_fill(~sound, 0.0)

    def _frames(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        convolutions = self.feature_extractor
        x = F.gelu(convolutions["conv1"](mel.to(convolutions["conv1"].weight.dtype)))
        sound = torch.arange(x.shape[-1], device=x.device) < frames[:, None]
        x = F.gelu(convolutions["conv2"](x.masked_fill(~sound[:, None], 0.0)))
        return x.transpose(1, 2), torch.div(frames - 1, STRIDE, rounding_mode="floor") + 1
