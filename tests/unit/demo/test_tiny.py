import pytest
import torch
from tiny_model.pretrain import ARCHITECTURE

from parp_fairseq.checkpoints.formats import TINY_MODEL


@pytest.fixture(scope="module")
def state():
    return torch.load(TINY_MODEL, map_location="cpu", weights_only=True)


def test_it_is_small_and_holds_plain_values_only(state):
    assert TINY_MODEL.stat().st_size <= 6_000_000

    def check(value):
        if isinstance(value, (dict, list, tuple)):
            for inner in [*value, *value.values()] if isinstance(value, dict) else value:
                check(inner)
        else:
            assert value is None or type(value) in {bool, int, float, str, torch.Tensor}

    check(state)


def test_its_settings_are_known_to_every_supported_fairseq(state):
    assert state["args"] is None
    assert state["cfg"]["model"] == ARCHITECTURE
    assert set(state["cfg"]["task"]) == {"_name", "data", "sample_rate", "normalize"}
    assert state["cfg"]["task"]["_name"] == "audio_pretraining"
    assert state["cfg"]["task"]["normalize"] is False


def test_it_is_trained(state):
    assert state["optimizer_history"][-1]["num_updates"] >= 4000
    for name, tensor in state["model"].items():
        assert tensor.dtype == torch.float16 and torch.isfinite(tensor).all(), name
    # Fresh linear weights have a standard deviation of 0.02 (BERT's).
    for layer in range(ARCHITECTURE["encoder_layers"]):
        weight = state["model"][f"encoder.layers.{layer}.fc1.weight"].float()
        assert weight.std() > 0.03


def test_stock_fairseq_takes_it_as_any_w2v_path(state):
    from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecEncoder
    from omegaconf import OmegaConf

    fields = {"w2v_path": str(TINY_MODEL), "normalize": False, "data": "nowhere"}
    config = OmegaConf.merge(
        OmegaConf.structured(Wav2Vec2CtcConfig), {**fields, "ddp_backend": "legacy_ddp"}
    )
    encoder = Wav2VecEncoder(config, 29)
    loaded = encoder.w2v_model.state_dict()
    heads = ("project_q", "final_proj")
    assert set(loaded) == {name for name in state["model"] if not name.startswith(heads)}
    for name, tensor in loaded.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state["model"][name].float()), name
    encoder.eval()
    output = encoder(source=torch.zeros(1, 16_000), padding_mask=None)
    assert output["encoder_out"].shape == (49, 1, 29)
    assert torch.isfinite(output["encoder_out"]).all()
