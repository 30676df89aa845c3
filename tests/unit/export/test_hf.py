"""The folder for transformers against fairseq's own network, with random weights."""

import copy
import itertools

import numpy as np
import pytest
import torch
from small_model import KINDS_OF_SYMBOLS, lively, save
from torch.nn import functional

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import build_model
from parp_fairseq.export.hf import export_hf

transformers = pytest.importorskip("transformers")

NETWORKS = {
    "base": {},
    # As libri960_big.pt: twice the heads, group norm, layer norm after each block.
    "large": {"encoder_layers": 3, "width": 48, "encoder_attention_heads": 8},
    "xlsr": {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True},
    # fairseq leaves the projection out where features are as wide as the transformer.
    "no projection": {"width": 16, "encoder_attention_heads": 2},
}


def best_path(logits, symbols):
    """fairseq's Viterbi decoding: merge, take the blank (0) away."""
    merged = [int(key) for key, _ in itertools.groupby(logits.argmax(-1).tolist())]
    return [symbols[number] for number in merged if number != 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_fairseqs(name, tmp_path):
    state = lively(**NETWORKS[name])
    # transformers has the embedding of what is masked only where something is.
    state["cfg"]["model"]["mask_prob"] = 0.6
    checkpoint = save(state, tmp_path / "c.pt")
    finetuned = open_finetuned(checkpoint)
    symbols, normalize = finetuned.dictionary.symbols, name == "xlsr"
    done = export_hf(checkpoint, tmp_path / "hf")
    assert done["format"] == "hf" and "model.safetensors" in done["files"]
    assert len({path.stat().st_mode for path in (tmp_path / "hf").iterdir()}) == 1
    other, report = transformers.Wav2Vec2ForCTC.from_pretrained(
        tmp_path / "hf", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    generator = np.random.default_rng(11)
    waves = [generator.normal(0, 0.1, n).astype(np.float32) for n in (16_000, 9_000, 12_345)]
    source = torch.zeros(3, 16_000)
    padding = torch.ones(3, 16_000, dtype=torch.bool)
    for row, wave in enumerate(map(torch.from_numpy, waves)):
        source[row, : len(wave)] = functional.layer_norm(wave, wave.shape) if normalize else wave
        padding[row, : len(wave)] = False
    # With the processor from the folder, from the waves on. transformers adds 1e-7 to the
    # variance and fairseq 1e-5, which layer norm in the extractor all but takes away.
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    inputs = processor(waves, sampling_rate=16_000, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = build_model(finetuned)(source=source, padding_mask=padding)
        theirs = other.eval()(source, attention_mask=(~padding).long()).logits
        whole = other(**inputs).logits
    logits = out["encoder_out"].transpose(0, 1)
    assert theirs.shape == logits.shape
    texts = set()
    for row, frames in enumerate((~out["padding_mask"]).sum(1).tolist()):
        ours = logits[row, :frames]
        assert ours.std() > 0.1
        assert (ours - theirs[row, :frames]).abs().max() < 1e-4
        assert best_path(ours, symbols) == best_path(theirs[row, :frames], symbols)
        texts.add("".join(best_path(ours, symbols)))
        near = 2e-3 * ours.std() if normalize else 1e-4
        assert (ours - whole[row, :frames]).abs().max() < near
    assert len(texts) > 1


@pytest.mark.parametrize(
    ("labels", "join"),
    [
        ("ltr", lambda found: "".join(found).replace("|", " ").strip()),
        ("phn", " ".join),
        ("spm", lambda found: "".join(found).replace("\u2581", " ").strip()),
    ],
)
def test_the_tokenizer_decodes_to_the_same_text(labels, join, tmp_path):
    export_hf(save(lively(labels), tmp_path / "c.pt"), tmp_path / "hf")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "hf")
    symbols = [*"0123", *KINDS_OF_SYMBOLS[labels]]
    random = np.random.default_rng(5)
    for _ in range(20):
        path = torch.tensor(random.choice([0, *range(4, len(symbols))], size=30))
        expected = join(best_path(functional.one_hot(path, len(symbols)), symbols))
        assert processor.batch_decode(path[None])[0] == expected
    assert processor.tokenizer.pad_token_id == 0
    assert len(processor.tokenizer.get_vocab()) == len(symbols)


@pytest.mark.parametrize(
    ("tuned", "network", "message"),
    [
        ({}, {"pos_conv_depth": 5}, "pos_conv_depth=5"),
        ({"blank_weight": 2.0}, {}, "blank_weight"),
        ({}, {"_name": "data2vec_audio"}, "is a data2vec"),
        ({}, {"conv_feature_layers": "[(1,2)]"}, "conv_feature_layers"),
        (None, {}, "holds w2v_encoder.extra"),
    ],
)
def test_networks_that_are_refused(tuned, network, message, tmp_path):
    state = copy.deepcopy(lively())
    if tuned is None:
        state["model"]["w2v_encoder.extra"] = torch.ones(2)
    state["cfg"]["model"].update(tuned or {})
    state["cfg"]["model"]["w2v_args"]["model"].update(network)
    with pytest.raises(UserError, match=message):
        export_hf(save(state, tmp_path / "bad.pt"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
