"""Whisper's encoder inside fairseq: the same frames as transformers', alone and in a batch."""

import struct
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "whisper_ctc"))
transformers = pytest.importorskip("transformers")
import convert_whisper as convert  # noqa: E402
import fairseq  # noqa: E402, F401 (before the package, which then registers its models)

from parp_fairseq.errors import UserError  # noqa: E402
from parp_fairseq.models import WhisperEncoder, WhisperEncoderConfig  # noqa: E402

SIZES = {"d_model": 128, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 96}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Whisper as transformers saves it."""
    torch.manual_seed(1)
    config = transformers.WhisperConfig(
        **SIZES, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=60,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("whisper")
    transformers.WhisperForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    state = convert.fairseq_state(convert.transformers_weights(folder), heads=2)
    config = WhisperEncoderConfig()
    for key, value in state["cfg"]["model"].items():
        setattr(config, key, value)
    model = WhisperEncoder(config)
    model.load_state_dict(state["model"])
    return model.eval()


def test_equals_transformers_over_thirty_seconds(folder, encoder):
    theirs = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    sound = 0.1 * torch.randn(20000, generator=torch.Generator().manual_seed(2))
    features = transformers.WhisperFeatureExtractor()(
        sound.numpy(), sampling_rate=16000, return_tensors="pt"
    ).input_features
    padded = torch.nn.functional.pad(sound, (0, 480000 - len(sound)))[None]
    with torch.no_grad():
        assert torch.equal(encoder.spectrogram(padded, torch.tensor([3000])), features)
        expected = theirs(features).last_hidden_state
        assert torch.allclose(encoder.extract_features(padded, None)["x"], expected, atol=1e-5)


def test_an_utterance_gives_the_same_frames_alone_and_in_a_batch(encoder):
    # 100, 61 and 22 frames: after an odd number the stride of 2 reaches into the padding.
    draw = torch.Generator().manual_seed(3)
    sounds = [0.1 * torch.randn(length, generator=draw) for length in (16000, 9900, 3521)]
    batch = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
    padding = torch.stack([torch.arange(16000) >= len(sound) for sound in sounds])
    with torch.no_grad():
        together = encoder.extract_features(batch, padding)
        for row, sound in enumerate(sounds):
            alone = encoder.extract_features(sound[None], None)["x"][0]
            assert len(alone) == (~together["padding_mask"][row]).sum()
            assert torch.allclose(together["x"][row, : len(alone)], alone, atol=1e-5)


def test_refuses_span_masks_and_more_than_its_positions(encoder):
    with pytest.raises(UserError, match="apply_mask=false"):
        encoder.extract_features(torch.zeros(1, 1600), None, mask=True)
    with pytest.raises(UserError, match="1500 positions"):
        encoder.extract_features(torch.zeros(1, 16000 * 31), None)


def write_ctranslate2(file, weights):
    """What CTranslate2's converter writes, the encoder's part of it."""
    import numpy as np

    def text(value):
        data = value.encode() + b"\0"
        return struct.pack("<H", len(data)) + data

    variables = {
        "encoder/position_encodings/encodings": weights["encoder.embed_positions.weight"],
        "encoder/layer_norm/gamma": weights["encoder.layer_norm.weight"],
        "encoder/layer_norm/beta": weights["encoder.layer_norm.bias"],
    }
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            variables[f"encoder/{conv}/{kind}"] = weights[f"encoder.{conv}.{kind}"]
    for layer in range(2):
        ours, theirs = f"encoder.layers.{layer}", f"encoder/layer_{layer}"
        for norm, place in (("self_attn", "self_attention"), ("final", "ffn")):
            for kind, name in (("weight", "gamma"), ("bias", "beta")):
                value = weights[f"{ours}.{norm}_layer_norm.{kind}"]
                variables[f"{theirs}/{place}/layer_norm/{name}"] = value
        bias = torch.zeros(128)
        parts = [(f"{ours}.self_attn.{name}_proj") for name in "qkv"]
        variables[f"{theirs}/self_attention/linear_0/weight"] = torch.cat(
            [weights[f"{part}.weight"] for part in parts]
        )
        variables[f"{theirs}/self_attention/linear_0/bias"] = torch.cat(
            [weights.get(f"{part}.bias", bias) for part in parts]
        )
        for linear, place in (
            ("self_attn.out_proj", "self_attention/linear_1"),
            ("fc1", "ffn/linear_0"),
            ("fc2", "ffn/linear_1"),
        ):
            for kind in ("weight", "bias"):
                variables[f"{theirs}/{place}/{kind}"] = weights[f"{ours}.{linear}.{kind}"]
    with file.open("wb") as stream:
        stream.write(struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<I", 3))
        stream.write(struct.pack("<I", len(variables)))
        for name, value in variables.items():
            data = value.numpy().astype(np.float32)
            stream.write(text(name) + struct.pack("<B", data.ndim))
            stream.write(struct.pack(f"<{data.ndim}I", *data.shape))
            stream.write(struct.pack("<BI", 0, data.nbytes) + data.tobytes())


def test_ctranslate2_files_give_the_same_weights(folder, tmp_path):
    weights = convert.transformers_weights(folder)
    write_ctranslate2(tmp_path / "model.bin", weights)
    read = convert.ctranslate2_weights(tmp_path / "model.bin")
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", b"\x06\0\0\0\x0c\0WhisperSp"),
        ("model.bin", struct.pack("<IH5sII", 6, 5, b"Bert\0", 1, 0)),
        ("model.safetensors", b"nothing"),
    ],
)
def test_a_damaged_or_other_model_ends_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: not a Whisper that can be read"):
        convert.read_whisper(tmp_path)
