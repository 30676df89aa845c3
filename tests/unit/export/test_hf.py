"""The folder for transformers against fairseq's own network, with random weights."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from parp_fairseq.errors import UserError
from parp_fairseq.export.hf import export_hf

transformers = pytest.importorskip("transformers")

CONV = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
LETTERS = list("|ETAON")
PHONES = ["tʃ", "ɛ", "i:", "m", "n", "o"]
PIECES = ["\u2581THE", "\u2581A", "S", "ING", "\u2581", "E"]
NETWORKS = {
    "base": {},
    # As libri960_big.pt: twice the heads, group norm, layer norm behind each block.
    "large": {"encoder_layers": 3, "encoder_embed_dim": 48, "encoder_attention_heads": 8},
    "xlsr": {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True},
    # fairseq leaves the projection out where features are as wide as the transformer.
    "no projection": {"encoder_embed_dim": 16, "encoder_attention_heads": 2},
}


def build(path, labels="ltr", symbols=LETTERS, *, save_as=None, **changes):
    """Build a fine-tuned network with fairseq's classes, save it, and return it."""
    from fairseq.data import Dictionary
    from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
    from omegaconf import OmegaConf

    torch.manual_seed(3)
    normalize = changes.get("extractor_mode") == "layer_norm"
    network = {
        "_name": "wav2vec2",
        "extractor_mode": "default",
        "conv_feature_layers": CONV,
        "encoder_layers": 2,
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 64,
        "encoder_attention_heads": 4,
        "final_dim": 16,
        "quantize_targets": True,
        "latent_vars": 8,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        **changes,
    }
    pretraining = {"_name": "audio_pretraining", "data": "", "normalize": normalize}
    config = OmegaConf.structured(Wav2Vec2CtcConfig)
    OmegaConf.set_struct(config, False)
    config.w2v_args = OmegaConf.create({"model": network, "task": pretraining})
    config.data, config.normalize, config.w2v_path = "", normalize, "gone.pt"

    class Task:
        target_dictionary = Dictionary()

    Task.target_dictionary = Dictionary()
    for symbol in symbols:
        Task.target_dictionary.add_symbol(symbol)
    model = Wav2VecCtc.build_model(config, Task).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # fairseq begins with zero biases and norms of one, which would hide a swap.
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            if name.endswith("proj.weight") and "w2v_model" not in name:
                parameter.mul_(40)
    state = {
        "args": None,
        "cfg": {
            "model": {
                "_name": "wav2vec_ctc",
                "normalize": normalize,
                "mask_prob": 0.6,
                "w2v_args": {"model": network, "task": pretraining},
            },
            "task": {
                "_name": "parp",
                "data": "",
                "labels": labels,
                "normalize": normalize,
            },
        },
        "model": model.state_dict(),
        "task_state": {"parp_symbols": {"symbols": list(symbols), "counts": [1] * len(symbols)}},
    }
    if save_as is not None:
        state = save_as(state)
    torch.save(state, path)
    return model, Task.target_dictionary


def sounds(lengths):
    """Noise of these lengths, in samples."""
    random = np.random.default_rng(11)
    return [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]


def fairseq_logits(model, waves, normalize):
    """Logits of a padded batch and the frames of each wave."""
    from torch.nn import functional as F

    longest = max(map(len, waves))
    source = torch.zeros(len(waves), longest)
    padding = torch.ones(len(waves), longest, dtype=torch.bool)
    for row, wave in enumerate(map(torch.from_numpy, waves)):
        source[row, : len(wave)] = F.layer_norm(wave, wave.shape) if normalize else wave
        padding[row, : len(wave)] = False
    with torch.no_grad():
        out = model(source=source, padding_mask=padding)
    frames = (~out["padding_mask"]).sum(1) if out["padding_mask"] is not None else None
    logits = out["encoder_out"].transpose(0, 1)
    return source, padding, logits, frames


def best_path(logits, dictionary):
    """fairseq's Viterbi decoding: merge, take the blank (0) away."""
    merged = [int(key) for key, _ in itertools.groupby(logits.argmax(-1).tolist())]
    return [dictionary[number] for number in merged if number != 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_fairseqs(name, tmp_path):
    model, dictionary = build(tmp_path / "c.pt", **NETWORKS[name])
    normalize = name == "xlsr"
    done = export_hf(tmp_path / "c.pt", tmp_path / "hf")
    assert done["format"] == "hf" and "model.safetensors" in done["files"]
    assert len({path.stat().st_mode for path in (tmp_path / "hf").iterdir()}) == 1
    other, report = transformers.Wav2Vec2ForCTC.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    waves = sounds([16_000, 9_000, 12_345])
    source, padding, logits, frames = fairseq_logits(model, waves, normalize)
    with torch.no_grad():
        theirs = other.eval()(source, attention_mask=(~padding).long()).logits
    assert theirs.shape == logits.shape
    texts = set()
    for row, count in enumerate(frames.tolist()):
        ours = logits[row, :count]
        assert ours.std() > 0.1
        assert (ours - theirs[row, :count]).abs().max() < 1e-4
        assert best_path(ours, dictionary) == best_path(theirs[row, :count], dictionary)
        texts.add("".join(best_path(ours, dictionary)))
    assert len(texts) > 1
    # With the processor from the folder, from the waves on. transformers adds 1e-7 to the
    # variance and fairseq 1e-5, which layer norm in the extractor all but takes away.
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    inputs = processor(waves, sampling_rate=16_000, padding=True, return_tensors="pt")
    with torch.no_grad():
        whole = other(**inputs).logits
    for row, count in enumerate(frames.tolist()):
        ours = logits[row, :count]
        near = 2e-3 * ours.std() if normalize else 1e-4
        assert (ours - whole[row, :count]).abs().max() < near


@pytest.mark.parametrize(
    ("labels", "symbols", "join"),
    [
        ("ltr", LETTERS, lambda found: "".join(found).replace("|", " ").strip()),
        ("phn", PHONES, " ".join),
        ("spm", PIECES, lambda found: "".join(found).replace("\u2581", " ").strip()),
    ],
)
def test_the_tokenizer_decodes_to_the_same_text(labels, symbols, join, tmp_path):
    _, dictionary = build(tmp_path / "c.pt", labels, symbols)
    export_hf(tmp_path / "c.pt", tmp_path / "hf")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    random = np.random.default_rng(5)
    numbers = [0, *range(4, len(dictionary))]
    for _ in range(20):
        path = torch.tensor(random.choice(numbers, size=30))
        scores = torch.nn.functional.one_hot(path, len(dictionary))
        expected = join(best_path(scores, dictionary))
        assert processor.batch_decode(path[None])[0] == expected
    assert processor.tokenizer.pad_token_id == 0
    assert len(processor.tokenizer.get_vocab()) == len(dictionary)


def test_half_precision_weights_become_fp32(tmp_path):
    def halved(state):
        state["model"] = {name: tensor.half() for name, tensor in state["model"].items()}
        return state

    build(tmp_path / "c.pt", save_as=halved)
    export_hf(tmp_path / "c.pt", tmp_path / "hf")
    other = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "hf")
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}


def test_zeros_stay_zeros(tmp_path):
    def pruned(state):
        state["model"]["w2v_encoder.w2v_model.encoder.layers.1.fc1.weight"][::2] = 0
        return state

    build(tmp_path / "c.pt", save_as=pruned)
    export_hf(tmp_path / "c.pt", tmp_path / "hf")
    other = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "hf")
    weight = other.wav2vec2.encoder.layers[1].feed_forward.intermediate_dense.weight
    assert int((weight == 0).sum()) == weight.numel() // 2


def test_what_is_refused(tmp_path):
    build(tmp_path / "c.pt")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "precious").write_text("x")
    with pytest.raises(UserError, match="already exists and is no export of parp"):
        export_hf(tmp_path / "c.pt", tmp_path / "used")
    assert (tmp_path / "used" / "precious").read_text() == "x"
    (tmp_path / "file").write_text("x")
    for place, message in (("file", "is a file, not"), ("file/below", "is a file, not")):
        with pytest.raises(UserError, match=message):
            export_hf(tmp_path / "c.pt", tmp_path / place)

    def changed(section, **options):
        def change(state):
            model = state["cfg"]["model"]
            (model if section == "model" else model["w2v_args"]["model"]).update(options)
            return state

        return change

    for change, message in (
        (changed("network", layer_type="conformer"), "layer_type=conformer"),
        (changed("network", pos_conv_depth=5), "pos_conv_depth=5"),
        (changed("network", activation_fn="swish"), "activation_fn=swish"),
        (changed("model", blank_weight=2.0), "blank_weight"),
        (changed("network", _name="data2vec_audio"), "is a data2vec"),
        (changed("network", conv_feature_layers="[(1,2)]"), "conv_feature_layers"),
        (changed("network", conv_feature_layers="7 + 8"), "conv_feature_layers"),
        (lambda s: {**s, "model": {**s["model"], "w2v_encoder.extra": torch.ones(2)}}, "extra"),
    ):
        build(tmp_path / "bad.pt", save_as=change)
        with pytest.raises(UserError, match=message):
            export_hf(tmp_path / "bad.pt", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_what_transformers_saved_is_not_replaced(tmp_path):
    build(tmp_path / "c.pt")
    export_hf(tmp_path / "c.pt", tmp_path / "hf")
    model = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "hf")
    for place in ("mine", "hf"):
        model.save_pretrained(tmp_path / place)
        before = {path: path.read_bytes() for path in (tmp_path / place).iterdir()}
        with pytest.raises(UserError, match=r"is no export of parp|is not as the export wrote it"):
            export_hf(tmp_path / "c.pt", tmp_path / place, force=True)
        assert {path: path.read_bytes() for path in (tmp_path / place).iterdir()} == before


def test_writing_needs_no_transformers(tmp_path):
    import subprocess
    import sys

    build(tmp_path / "c.pt")
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from parp_fairseq.export.hf import export_hf\n"
        f"export_hf({str(tmp_path / 'c.pt')!r}, {str(tmp_path / 'hf')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["vocab_size"] == 10
