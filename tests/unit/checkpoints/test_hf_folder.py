"""Folders of transformers read as checkpoints: there and back, and as transformers computes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import SYMBOLS, bits, random_state, save

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import check_format, read_state
from parp_fairseq.checkpoints.hf_folder import INDEX_FILE, read_tensors
from parp_fairseq.checkpoints.sparse_file import read_sparse
from parp_fairseq.checkpoints.vocabulary import from_transformers
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import build_model, build_task
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.hf import export_hf
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference.subnetwork import open_subnetwork
from parp_fairseq.report.inspection import inspect_checkpoint

KINDS = {
    "base": {},
    "xlsr": {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True},
    # fairseq leaves the projection out where features are as wide as the transformer.
    "no projection": {"width": 16},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export to spoil copies of."""
    made = tmp_path_factory.mktemp("hf")
    export_hf(save(random_state(), made / "c.pt"), made / "hf")
    return made / "hf"


@pytest.mark.parametrize("kind", KINDS)
def test_from_fairseq_there_and_back(kind, tmp_path):
    state = random_state(**KINDS[kind])
    export_hf(save(state, tmp_path / "c.pt"), tmp_path / "hf")
    check_format(tmp_path / "hf")
    export_sparse(tmp_path / "hf", tmp_path / "s.safetensors")
    export_fairseq(tmp_path / "hf", tmp_path / "stock" / "c.pt")
    export_hf(tmp_path / "s.safetensors", tmp_path / "again")
    stock = torch.load(tmp_path / "stock" / "c.pt", weights_only=True)["model"]
    sparse = read_sparse(tmp_path / "s.safetensors")
    for weights in (stock, sparse["model"]):
        assert set(weights) == set(state["model"])
        for name, tensor in state["model"].items():
            assert bits(weights[name]) == bits(tensor), name
    assert sparse["task_state"]["parp_symbols"]["symbols"] == SYMBOLS
    assert sparse["cfg"]["task"]["labels"] == "ltr"
    for name in ("model.safetensors", "vocab.json", "preprocessor_config.json"):
        one, other = (tmp_path / where / name for where in ("hf", "again"))
        assert one.read_bytes() == other.read_bytes(), name
    source = torch.randn(2, 9_000)
    padding = torch.zeros(2, 9_000, dtype=torch.bool)
    padding[1, 6_000:] = True
    models = [build_model(open_finetuned(tmp_path / name)) for name in ("c.pt", "hf")]
    with torch.no_grad():
        found = [model(source=source, padding_mask=padding)["encoder_out"] for model in models]
    torch.testing.assert_close(*found, atol=1e-5, rtol=0)
    # A sparse file keeps no criterion.
    one, other = (
        {**json.loads((tmp_path / where / "config.json").read_text()), "ctc_zero_infinity": None}
        for where in ("hf", "again")
    )
    assert one == other


# Rows of a tokenizer of one's own: the blank last, special tokens that it lacks or calls otherwise.
VOCABULARY = {"e": 0, "a": 1, "[UNK]": 2, "|": 3, "t": 4, "[PAD]": 5}


def made_by_transformers(folder, *, stable, vocabulary=VOCABULARY, **changes):
    """A Wav2Vec2ForCTC with random weights, saved by transformers."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(4)
    options = {
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary["[PAD]"],
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "feat_extract_norm": "layer" if stable else "group",
        "do_stable_layer_norm": stable,
        "conv_bias": stable,
        "mask_time_prob": 0.0,
        **changes,
    }
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.lm_head.weight.mul_(40)
    model.save_pretrained(folder)
    (folder / "v.json").write_text(json.dumps(vocabulary))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(folder / "v.json"), unk_token="[UNK]", pad_token="[PAD]"
    )
    tokenizer.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=stable).save_pretrained(folder)
    return model, tokenizer


@pytest.mark.parametrize("stable", [False, True])
def test_a_model_made_by_transformers(stable, tmp_path):
    theirs, tokenizer = made_by_transformers(tmp_path / "hf", stable=stable)
    # Its own <s> and </s> have numbers that the head has no rows for.
    assert len(tokenizer) > len(VOCABULARY)
    export_sparse(tmp_path / "hf", tmp_path / "s.safetensors")
    export_fairseq(tmp_path / "hf", tmp_path / "stock" / "c.pt")
    loaded = open_finetuned(tmp_path / "s.safetensors")
    assert loaded.info.normalize is stable
    assert loaded.dictionary.symbols[4:] == ["e", "a", "|", "t"]
    waves = torch.randn(2, 16_000)
    padding = torch.zeros(2, 16_000, dtype=torch.bool)
    padding[1, 9_000:] = True
    with torch.no_grad():
        ours = build_model(loaded)(source=waves, padding_mask=padding)["encoder_out"].transpose(
            0, 1
        )
        logits = theirs(waves, attention_mask=(~padding).long()).logits
    # Where the rows went: <s> is the blank, <unk> theirs, <pad> and </s> nothing.
    rows = [5, None, None, 2, 0, 1, 3, 4]
    for row, frames in ((0, 49), (1, 27)):
        for number, their in enumerate(rows):
            if their is None:
                assert (ours[row, :frames, number] == -1e4).all()
            else:
                gap = (ours[row, :frames, number] - logits[row, :frames, their]).abs().max()
                assert gap < 1e-4
    assert logits.std() > 0.1
    plain = open_subnetwork(tmp_path / "hf").model(waves, padding)
    for row, frames in ((0, 49), (1, 27)):
        assert (plain[row, :frames] - ours[row, :frames]).abs().max() < 1e-5
    heard = []
    for path in (tmp_path / "hf", tmp_path / "s.safetensors", tmp_path / "stock" / "c.pt"):
        finetuned = open_finetuned(path)
        model = build_model(finetuned, build_task(finetuned, tmp_path))
        with torch.no_grad():
            out = model(source=waves[:1], padding_mask=None)["encoder_out"][:, 0]
        best = out.argmax(-1).unique_consecutive()
        letters = finetuned.dictionary.string(best[best != 0])
        heard.append(letters.replace(" ", "").replace("|", " ").strip())
    with torch.no_grad():
        said = tokenizer.batch_decode(theirs(waves[:1]).logits.argmax(-1))[0]
    assert heard == [said.replace("[UNK]", "<unk>").strip()] * 3 and len(said) > 5


def test_inspect_takes_it(folder):
    theirs, ours = (inspect_checkpoint(path).sizes for path in (folder, folder.parent / "c.pt"))
    assert theirs["prunable"] == ours["prunable"]
    assert theirs["file bytes"] == (folder / "model.safetensors").stat().st_size


CONFIG, AUDIO = "config.json", "preprocessor_config.json"
BAD = [
    (CONFIG, {"model_type": "hubert"}, "holds a 'hubert' of transformers"),
    (CONFIG, {"architectures": ["Wav2Vec2ForPreTraining"]}, "only a Wav2Vec2ForCTC"),
    (CONFIG, {"add_adapter": True}, "add_adapter=True"),
    (CONFIG, {"layer_norm_eps": 1e-12}, "layer_norm_eps=1e-12"),
    (CONFIG, {"hidden_size": True}, "hidden_size=True, which is no size"),
    (CONFIG, {"num_attention_heads": 5}, "does not divide by heads 5"),
    (CONFIG, {"pad_token_id": 99}, "pad_token_id, the CTC blank, is 99"),
    ("vocab.json", {"A": 99}, "names no symbol for row"),
    ("vocab.json", {"A": 5}, "share the row 5"),
    ("vocab.json", {"eng": {"a": 1}}, "give a model of one language"),
    (AUDIO, {"sampling_rate": 8000}, "8000 samples a second"),
    (AUDIO, {"do_normalize": ...}, "does not say do_normalize"),
    (CONFIG, b"{", "config.json cannot be read as JSON"),
    (CONFIG, b"[]", "config.json holds no JSON object"),
    ("model.safetensors", b"\0" * 100, "model.safetensors: not a readable model"),
    ("model.safetensors", None, "lacks model.safetensors"),
    (AUDIO, None, "lacks preprocessor_config.json"),
]


@pytest.mark.parametrize(("name", "change", "reason"), BAD)
def test_what_is_refused(name, change, reason, folder, tmp_path):
    """`change`: keys of a JSON file (... takes one out), a file's content, or None for no file."""
    copied = shutil.copytree(folder, tmp_path / "bad")
    if isinstance(change, dict):
        content = {**json.loads((copied / name).read_text(encoding="utf-8")), **change}
        kept = {key: value for key, value in content.items() if value is not ...}
        change = json.dumps(kept).encode()
    (copied / name).unlink()
    if change is not None:
        (copied / name).write_bytes(change)
    with pytest.raises(UserError, match=reason) as caught:
        read_state(copied)
    assert str(copied) in str(caught.value) and "\n" not in str(caught.value)


def test_tensors_that_are_other(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "bad")
    tensors = load_file(str(copied / "model.safetensors"))
    adapter = {**tensors, "wav2vec2.adapter.layers.0.conv.weight": torch.ones(2)}
    save_file(adapter, str(copied / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"holds wav2vec2\.adapter\.layers\.0"):
        read_state(copied)
    headless = {name: tensor for name, tensor in tensors.items() if "lm_head" not in name}
    save_file(headless, str(copied / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(UserError, match="no CTC head"):
        read_state(copied)
    weight = "wav2vec2.encoder.layers.1.feed_forward.output_dense.weight"
    nan = {**tensors, weight: tensors[weight] * float("nan")}
    save_file(nan, str(copied / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(UserError, match="holds NaN"):
        open_finetuned(copied)
    # A processor of transformers 5 writes one file for both.
    shutil.copytree(folder, tmp_path / "new")
    about = json.loads((tmp_path / "new" / "preprocessor_config.json").read_text())
    (tmp_path / "new" / "preprocessor_config.json").unlink()
    (tmp_path / "new" / "processor_config.json").write_text(
        json.dumps({"feature_extractor": {**about, "do_normalize": True}})
    )
    assert read_state(tmp_path / "new")["cfg"]["task"]["normalize"] is True


def test_one_file_and_several(tmp_path):
    with pytest.raises(UserError, match=r"model\.safetensors: no such file; give a folder"):
        read_tensors(tmp_path / "none")
    parts = {"a": {"x": torch.ones(2)}, "b": {"y": torch.zeros(3)}}
    for name, tensors in parts.items():
        save_file(tensors, tmp_path / name)
    index = tmp_path / INDEX_FILE
    index.write_text(json.dumps({"weight_map": {"x": "a", "y": "b"}}))
    found = read_tensors(tmp_path)
    assert torch.equal(found["x"], torch.ones(2)) and torch.equal(found["y"], torch.zeros(3))
    (tmp_path / "b").rename(tmp_path / "model.safetensors")
    assert list(read_tensors(tmp_path)) == ["y"]
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"/b: no such file"):
        read_tensors(tmp_path)
    for text, damaged in (("{", INDEX_FILE), ('{"weight_map": {"x": "a"}}', "/a")):
        index.write_text(text)
        (tmp_path / "a").write_bytes(b"no model")
        with pytest.raises(UserError, match=f"{damaged}: not a readable model"):
            read_tensors(tmp_path)


def test_older_names_of_the_weight_norm():
    older = "wav2vec2.encoder.pos_conv_embed.conv.weight_g"
    assert from_transformers(older) == "w2v_encoder.w2v_model.encoder.pos_conv.0.weight_g"
