"""The scope finds the same matrices in every model whose encoder fairseq builds alike."""

import importlib.util
from pathlib import Path

import fairseq
import pytest
from fairseq.models.hubert import HubertConfig, HubertModel
from fairseq.models.wav2vec import Wav2Vec2Config, Wav2Vec2Model
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from omegaconf import OmegaConf

from parp_fairseq.pruning import Scope
from parp_fairseq.pruning.scope import canonical_name

SMALL = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(16, 10, 5), (16, 3, 2)]",
    "conv_pos": 8,
    "conv_pos_groups": 4,
}
KINDS = ("fc1", "fc2", *(f"self_attn.{kind}_proj" for kind in ("k", "out", "q", "v")))
EXPECTED = sorted(f"encoder.layers.{layer}.{kind}.weight" for layer in (0, 1) for kind in KINDS)


def wav2vec2():
    return Wav2Vec2Model(Wav2Vec2Config(**SMALL))


def xlsr():
    """XLS-R and XLSR-53: layer norm first, in the extractor too."""
    return Wav2Vec2Model(
        Wav2Vec2Config(**SMALL, layer_norm_first=True, extractor_mode="layer_norm", conv_bias=True)
    )


def hubert():
    task = OmegaConf.structured(HubertPretrainingConfig(data="", labels=["km"]))
    config = HubertConfig(**SMALL, final_dim=16, label_rate=50)
    return HubertModel(config, task, [list("abc")])


def data2vec():
    """fairseq keeps it among its examples, which are files and no package."""
    file = Path(fairseq.__file__).parent / "examples/data2vec/models/data2vec_audio.py"
    spec = importlib.util.spec_from_file_location("data2vec_audio", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.Data2VecAudioConfig(**SMALL, average_top_k_layers=1)
    return module.Data2VecAudioModel(config)


@pytest.mark.legacy
@pytest.mark.parametrize("build", [wav2vec2, xlsr, hubert, data2vec])
def test_the_same_matrices(build):
    parameters = dict(build().named_parameters())
    assert Scope().select(parameters) == EXPECTED
    fine_tuned = [f"module.w2v_encoder.w2v_model.{name}" for name in parameters]
    assert sorted(map(canonical_name, Scope().select(fine_tuned))) == EXPECTED
    assert len(Scope(biases=True).select(parameters)) == 2 * len(EXPECTED)
