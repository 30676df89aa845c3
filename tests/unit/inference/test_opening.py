"""Subnetworks in every form, opened without fairseq; what is refused; the engines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import soundfile
import torch
from fairseq.data import Dictionary
from safetensors.torch import load_file, save_file
from small_model import SYMBOLS, random_state, save

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.checkpoints.shipped import TINY_MODEL
from parp_fairseq.errors import UserError
from parp_fairseq.export.hf import export_hf
from parp_fairseq.export.sparse import export_sparse
from parp_fairseq.inference.audio import read_recording
from parp_fairseq.inference.engines import run_sparse
from parp_fairseq.inference.opening import check_model, open_subnetwork
from parp_fairseq.inference.symbols import Symbols
from parp_fairseq.inference.transcribe import transcribe
from parp_fairseq.kernels import native
from parp_fairseq.pruning import Mask

# Packages that cannot be imported.
NOWHERE = """
import sys

class Nowhere:
    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(name)
"""


@pytest.fixture(scope="module")
def state():
    made = random_state()
    # Without training every frame would look alike; a steep head makes them differ.
    made["model"]["w2v_encoder.proj.weight"].mul_(40)
    return made


@pytest.fixture(scope="module")
def models(state, tmp_path_factory):
    """The same model as a checkpoint, a sparse file and a folder."""
    folder = tmp_path_factory.mktemp("models")
    save(state, folder / "c.pt")
    export_sparse(folder / "c.pt", folder / "c.safetensors")
    export_hf(folder / "c.pt", folder / "hf")
    return {name: folder / name for name in ("c.pt", "c.safetensors", "hf")}


def sound(samples=16_000):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(2)) * 0.1


@pytest.mark.parametrize("name", ["c.pt", "c.safetensors", "hf"])
def test_all_forms_are_the_same_model(name, models, state):
    opened = open_subnetwork(models[name])
    assert opened.symbols == Symbols.of_dictionary(SYMBOLS)
    assert (opened.symbols.blank, opened.symbols.joining) == (0, "letter")
    assert opened.normalize is False
    expected = open_subnetwork(models["c.pt"]).model(sound())
    assert torch.equal(opened.model(sound()), expected)


@pytest.mark.parametrize("name", ["c.pt", "c.safetensors", "hf"])
def test_it_needs_neither_fairseq_nor_transformers(name, models, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound()[0].numpy(), 16_000)
    heavy = ["fairseq", "transformers", "hydra", "matplotlib", "pandas", "sklearn", "scipy"]
    code = (
        f"{NOWHERE}\nsys.meta_path.insert(0, Nowhere({heavy!r}))\n"
        "from parp_fairseq.cli import main\n"
        f"sys.argv = ['parp', 'transcribe', {str(models[name])!r}, {str(tmp_path / 'a.wav')!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 5 and "real-time factor" in done.stderr


def test_dictionaries_of_checkpoints(models, state, tmp_path):
    dictionary = Dictionary()
    for symbol in SYMBOLS:
        dictionary.add_symbol(symbol)
    symbols = open_subnetwork(models["c.pt"]).symbols
    pickled = {**state, "task_state": {"target_dictionary": dictionary}}
    torch.save(pickled, tmp_path / "pickled.pt")
    assert open_subnetwork(tmp_path / "pickled.pt").symbols == symbols
    task = {**state["cfg"]["task"], "data": str(tmp_path)}
    beside = {**state, "task_state": {}, "cfg": {**state["cfg"], "task": task}}
    torch.save(beside, tmp_path / "beside.pt")
    with pytest.raises(UserError, match=r"holds no dictionary and .*dict\.ltr\.txt is not there"):
        open_subnetwork(tmp_path / "beside.pt")
    dictionary.save(str(tmp_path / "dict.ltr.txt"))
    assert open_subnetwork(tmp_path / "beside.pt").symbols == symbols
    (tmp_path / "dict.ltr.txt").write_text("A 1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"its dictionary has 5 symbols .* but its head has 17"):
        open_subnetwork(tmp_path / "beside.pt")


def changed_folder(models, tmp_path, name, **changes):
    folder = tmp_path / "hf"
    if not folder.exists():
        shutil.copytree(models["hf"], folder)
    file = folder / name
    content = json.loads((models["hf"] / name).read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return folder


def test_folders_of_transformers(models, tmp_path):
    """Another order of rows, and other words for blank, delimiter and special symbols."""
    order = [*range(4, 17), 3, 2, 1, 0]
    # What transformers keeps of an export's config.json says nothing.
    folder = changed_folder(
        models, tmp_path, "config.json", written_by="parp-fairseq", pad_token_id=16
    )
    weights = load_file(folder / "model.safetensors")
    for name in ("lm_head.weight", "lm_head.bias"):
        weights[name] = weights[name][order].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    special = {"unk_token": {"content": "[UNK]"}, "pad_token": "[PAD]", "word_delimiter_token": "_"}
    names = ["_", *SYMBOLS[1:], "[UNK]", "</s>", "<s>", "[PAD]"]
    vocabulary = {name: number for number, name in enumerate(names) if name != "</s>"}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")
    (folder / "added_tokens.json").write_text(json.dumps({"</s>": 14}), encoding="utf-8")
    opened, expected = open_subnetwork(folder), open_subnetwork(models["c.pt"])
    assert opened.symbols == expected.symbols
    assert torch.equal(opened.model(sound()), expected.model(sound()))


def test_a_processor_in_one_file(models, tmp_path):
    """transformers 5 writes processor_config.json alone."""
    folder = changed_folder(models, tmp_path, "preprocessor_config.json", do_normalize=True)
    about = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"lacks preprocessor_config\.json, which says"):
        check_model(folder)
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": about}))
    assert check_model(folder) == folder
    assert open_subnetwork(folder).normalize is True


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "vocab.json"])
def test_folders_that_lack_a_file(missing, models, tmp_path):
    shutil.copytree(models["hf"], tmp_path / "hf")
    (tmp_path / "hf" / missing).unlink()
    with pytest.raises(UserError, match=f"hf lacks {missing}; give a folder"):
        check_model(tmp_path / "hf")


def test_folders_that_are_damaged(models, tmp_path):
    cases = [
        ("config.json", {"model_type": "hubert"}, "holds a 'hubert' of transformers"),
        ("config.json", {"add_adapter": True}, "add_adapter=True"),
        ("config.json", {"num_hidden_layers": 3}, "lacks w2v_encoder.*layers.2"),
        ("config.json", {"pad_token_id": 99}, "the CTC blank, is 99"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "8000 samples a second"),
        ("vocab.json", {"en": {"a": 0}}, "one language"),
    ]
    for name, changes, message in cases:
        folder = changed_folder(models, tmp_path, name, **changes)
        with pytest.raises(UserError, match=message):
            open_subnetwork(folder)
        shutil.copy(models["hf"] / name, folder / name)
    (folder / "vocab.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab\.json holds no JSON object"):
        open_subnetwork(folder)
    (folder / "vocab.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab\.json cannot be read as JSON"):
        open_subnetwork(folder)


def test_files_that_are_no_model(models, state, tmp_path):
    with pytest.raises(UserError, match="pre-trained wav2vec2 without a CTC head"):
        open_subnetwork(TINY_MODEL)
    with pytest.raises(UserError, match="pre-trained wav2vec2 without a CTC head"):
        open_subnetwork("tiny")
    save_mask(Mask({"a": torch.ones(3, dtype=torch.bool)}), tmp_path / "mask.safetensors")
    with pytest.raises(UserError, match="is a mask file, which holds no weights"):
        check_model(tmp_path / "mask.safetensors")
    broken = dict(state["model"])
    name = "w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"
    broken[name] = torch.full_like(broken[name], float("nan"))
    torch.save({**state, "model": broken}, tmp_path / "nan.pt")
    with pytest.raises(UserError, match=f"{name} holds NaN"):
        open_subnetwork(tmp_path / "nan.pt")


def test_normalised_as_it_was_trained(models, tmp_path):
    """`normalize` makes a recording's loudness no matter, as fairseq's layer_norm does."""
    folder = changed_folder(models, tmp_path, "preprocessor_config.json", do_normalize=True)
    plain, normalised = open_subnetwork(models["hf"]), open_subnetwork(folder)
    assert (plain.normalize, normalised.normalize) == (False, True)
    wave = sound()[0].numpy()
    soundfile.write(tmp_path / "a.wav", 3 * wave + 0.2, 16_000, subtype="FLOAT")
    recording = read_recording(tmp_path / "a.wav")
    source = torch.from_numpy(3 * wave + 0.2).float()
    expected = torch.nn.functional.layer_norm(source, source.shape)[None]
    for subnetwork, heard in ((normalised, expected), (plain, source[None])):
        path = subnetwork.model(heard)[0].argmax(-1).numpy()
        assert transcribe(subnetwork, recording).text == subnetwork.symbols.text(path)


def test_engines(models, monkeypatch):
    def opened():
        return open_subnetwork(models["c.safetensors"]).model

    dense = opened()
    assert run_sparse(dense, "dense") == 0
    if native.level() == native.REFERENCE:
        pytest.skip("without kernels all stays dense")
    # The small model's layers are below what is worth it.
    monkeypatch.setattr("parp_fairseq.engine.acceleration.LEAST_ENTRIES", 1)
    monkeypatch.setattr("parp_fairseq.engine.acceleration._time", None)
    sparse = opened()
    assert run_sparse(sparse, "auto") == 6
    difference = (sparse(sound()) - dense(sound())).abs().max()
    assert 0 < difference < 1e-4


def test_a_dense_model_stays_dense(tmp_path):
    export_sparse(save(random_state(0.5), tmp_path / "c.pt"), tmp_path / "c.safetensors")
    model = open_subnetwork(tmp_path / "c.safetensors").model
    assert run_sparse(model, "auto") == 0
