"""Small networks of fairseq with random weights, each with its settings."""

import contextlib
import functools
import importlib.util
from pathlib import Path
from unittest import mock

import fairseq
from fairseq.models.hubert import HubertConfig, HubertModel
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from omegaconf import OmegaConf

SMALL = {
    "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
}
XLSR = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}


def wav2vec2(**changes):
    settings = {**SMALL, "quantize_targets": True, "latent_vars": 8, "final_dim": 16, **changes}
    return Wav2Vec2Model(Wav2Vec2Config(**settings)), {"_name": "wav2vec2", **settings}


def hubert(**changes):
    task = OmegaConf.structured(HubertPretrainingConfig(data="", labels=["km"]))
    settings = {**SMALL, "final_dim": 16, "label_rate": 50, **changes}
    model = HubertModel(HubertConfig(**settings), task, [list("abc")])
    return model, {"_name": "hubert", **settings}


@functools.cache
def data2vec_module():
    """fairseq's file, which no package holds; its registration is taken back."""
    file = Path(fairseq.__file__).parent / "examples/data2vec/models/data2vec_audio.py"
    spec = importlib.util.spec_from_file_location("data2vec_audio", file)
    module = importlib.util.module_from_spec(spec)
    with contextlib.ExitStack() as stack:
        for name, registry in vars(fairseq.models).items():
            if name.endswith("_REGISTRY"):
                stack.enter_context(mock.patch.dict(registry))
                registry.pop("data2vec_audio", None)
        spec.loader.exec_module(module)
    return module


def data2vec(**changes):
    settings = {**SMALL, "average_top_k_layers": 1, "pos_conv_depth": 5, "conv_pos": 95, **changes}
    config = data2vec_module().Data2VecAudioConfig(**settings)
    model = data2vec_module().Data2VecAudioModel(config)
    return model, {"_name": "data2vec_audio", **settings}
