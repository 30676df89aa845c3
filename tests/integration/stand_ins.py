"""Random weights under the names, in the formats and at the sizes of published checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq.files import replacing

_LARGE = {
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
    "final_dim": 768,
}
_WIDE_FRONT = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}


@dataclass(frozen=True)
class StandIn:
    """What a published checkpoint is like.

    Attributes:
        architecture: what differs from fairseq's defaults, which are base's.
        normalize: of its pre-training task.
        form: "args", a Namespace, as checkpoints before 2021 have, or "cfg".
    """

    architecture: Mapping[str, Any] = field(default_factory=dict)
    normalize: bool = False
    form: str = "args"


PUBLISHED = {
    "wav2vec_small.pt": StandIn({"final_dim": 256}),
    "libri960_big.pt": StandIn(_LARGE),
    "xlsr_53_56k.pt": StandIn({**_LARGE, **_WIDE_FRONT}, normalize=True, form="cfg"),
}


def write_stand_in(file: Path, smaller: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint of random weights that fairseq takes for the one of this name.

    Args:
        file: its name is a published one.
        smaller: changes to the architecture, for tests.
    """
    import torch
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    like = PUBLISHED[file.name]
    values = {"quantize_targets": True, **like.architecture, **(smaller or {})}
    config = OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), values)
    torch.manual_seed(0)
    model = Wav2Vec2Model(config)
    task = {"data": "", "sample_rate": 16_000, "normalize": like.normalize}
    names = {"criterion_name": "Wav2vecCriterion", "optimizer_name": "FairseqAdam"}
    state: dict[str, Any] = {
        "args": None,
        "cfg": None,
        "model": model.state_dict(),
        "optimizer_history": [
            {**names, "lr_scheduler_state": {"best": None}, "num_updates": 400_000}
        ],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
    }
    plain = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    if like.form == "args":
        names = {"arch": "wav2vec2", "task": "audio_pretraining", "criterion": "wav2vec"}
        values = {**plain, **names, **task, "fp16": True, "lr_scheduler": None}
        state["args"] = argparse.Namespace(**values)
    else:
        state["cfg"] = {
            "common": {"fp16": True},
            "model": {**plain, "_name": "wav2vec2"},
            "task": {**task, "_name": "audio_pretraining"},
            "criterion": {"_name": "wav2vec"},
            "lr_scheduler": None,
        }
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as partial:
        torch.save(state, partial)
