"""The plain network against fairseq's own models and those of transformers."""

import pytest
import torch
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
from fairseq_models import XLSR, data2vec, hubert, wav2vec2
from omegaconf import OmegaConf

from parp_fairseq.checkpoints.vocabulary import NETWORK, Architecture
from parp_fairseq.errors import UserError
from parp_fairseq.inference.network import Wav2Vec2Ctc

NETWORKS = {
    "base": wav2vec2,
    "xlsr": lambda: wav2vec2(**XLSR),
    "no projection": lambda: wav2vec2(encoder_embed_dim=16, encoder_attention_heads=2),
    "odd kernel, relu": lambda: wav2vec2(conv_pos=9, activation_fn="relu"),
    "norm first, group norm": lambda: wav2vec2(layer_norm_first=True),
    "hubert": hubert,
    "data2vec": lambda: data2vec(extractor_mode="layer_norm"),
}


def randomised(model):
    """Zero biases and norms of one, with which fairseq begins, would hide a swap."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def finetuned(make, symbols=11):
    """A network of fairseq's with a head: (features → logits of a batch, settings, weights)."""
    torch.manual_seed(5)
    model, settings = make()
    model.remove_pretraining_modules()
    randomised(model)
    head = torch.nn.Linear(settings["encoder_embed_dim"], symbols)
    weights = {NETWORK + name: tensor for name, tensor in model.state_dict().items()}
    weights.update({f"w2v_encoder.proj.{name}": p.detach() for name, p in head.named_parameters()})

    def logits(source, padding=None):
        with torch.no_grad():
            found = model.extract_features(source, padding, mask=False)
            return head(found["x"] if isinstance(found, dict) else found[0])

    return logits, {"w2v_args": {"model": settings, "task": {}}}, weights


def sound(batch=1, samples=16_000):
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(2)) * 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_fairseqs(name):
    theirs, model, weights = finetuned(NETWORKS[name])
    ours = Wav2Vec2Ctc.from_finetuned(model, weights)
    for samples in (400, 719, 16_000, 16_320):
        source = sound(2, samples)
        logits = ours(source)
        assert logits.shape[1] == ours.architecture.frames(samples)
        assert logits.std() > 0.1
        assert (logits - theirs(source)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["base", "xlsr", "data2vec"])
def test_padding_is_fairseqs(name):
    theirs, model, weights = finetuned(NETWORKS[name])
    ours = Wav2Vec2Ctc.from_finetuned(model, weights)
    source, padding = sound(3, 12_000), torch.zeros(3, 12_000, dtype=torch.bool)
    for row, length in enumerate((12_000, 7_777, 4_000)):
        padding[row, length:], source[row, length:] = True, 0.0
        frames = ours.architecture.frames(length)
        expected, found = theirs(source, padding), ours(source, padding)
        assert (expected[row, :frames] - found[row, :frames]).abs().max() < 1e-5


@pytest.mark.parametrize("mode", ["add", "set"])
def test_the_weight_of_the_blank(mode):
    theirs, model, weights = finetuned(NETWORKS["base"])
    ours = Wav2Vec2Ctc.from_finetuned({**model, "blank_weight": 2.5, "blank_mode": mode}, weights)
    expected = theirs(sound())
    expected[..., 0] = 2.5 if mode == "set" else expected[..., 0] + 2.5
    assert (ours(sound()) - expected).abs().max() < 1e-5


def test_settings_that_are_left_out_are_fairseqs_defaults():
    config = Wav2Vec2Config()
    weights = {"w2v_encoder.proj.weight": torch.zeros(5, 768)}
    bare = {"w2v_args": {"model": {"_name": "wav2vec2"}, "task": {}}}
    full = {"w2v_args": {"model": OmegaConf.to_container(OmegaConf.structured(config)), "task": {}}}
    assert Architecture.from_fairseq(bare, weights, "c.pt") == Architecture.from_fairseq(
        full, weights, "c.pt"
    )


def test_half_precision_and_new_weight_norm_names():
    theirs, model, weights = finetuned(NETWORKS["base"])
    position = NETWORK + "encoder.pos_conv.0."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        weights[f"{position}parametrizations.weight.{new}"] = weights.pop(position + old)
    ours = Wav2Vec2Ctc.from_finetuned(model, weights)
    assert (ours(sound()) - theirs(sound())).abs().max() < 1e-5
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    halved = {name: tensor.half() for name, tensor in weights.items()}
    half = Wav2Vec2Ctc.from_finetuned(model, halved)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert (half(sound()) - theirs(sound())).abs().max() < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_type": "conformer"}, "layer_type=conformer"),
        ({"crop_seq_to_multiple": 4}, "crop_seq_to_multiple=4"),
        ({"activation_fn": "swish"}, "activation_fn=swish"),
        ({"extractor_mode": "other"}, "extractor_mode=other"),
        ({"_name": "data2vec_multi"}, "is a data2vec_multi"),
        ({"encoder_attention_heads": 5}, "does not divide"),
        ({"encoder_layers": "many"}, "encoder_layers=many, which is no size"),
        ({"encoder_layers": 4}, "lacks w2v_encoder.w2v_model.encoder.layers.3"),
        ({"encoder_layers": 2}, "holds w2v_encoder.w2v_model.encoder.layers.2"),
        ({"encoder_ffn_embed_dim": 60}, "settings say"),
        ({"conv_feature_layers": "[]"}, "are no layers"),
    ],
)
def test_what_is_refused(changes, message):
    _, model, weights = finetuned(NETWORKS["base"])
    model["w2v_args"]["model"].update(changes)
    with pytest.raises(UserError, match=message):
        Wav2Vec2Ctc.from_finetuned(model, weights, "c.pt")
    with pytest.raises(UserError, match="does not hold its architecture"):
        Wav2Vec2Ctc.from_finetuned({"w2v_args": None}, weights, "c.pt")
