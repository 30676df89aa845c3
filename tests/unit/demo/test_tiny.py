import pytest
import torch

from parp_fairseq.checkpoints.formats import TINY_MODEL


@pytest.fixture(scope="module")
def state():
    return torch.load(TINY_MODEL, map_location="cpu", weights_only=True)


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
