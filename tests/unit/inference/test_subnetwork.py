"""Subnetworks in every form, opened without fairseq; what is refused; the engines."""

import json
import shutil
import subprocess
import sys

import pytest
import soundfile
import torch
from small_model import SYMBOLS, random_state, save

from parp_fairseq.checkpoints.dictionary import Symbols
from parp_fairseq.export.hf import export_hf
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.subnetwork import open_subnetwork, run_sparse
from parp_fairseq.kernels import native
from parp_fairseq.manifests.audio.headers import read_recording

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
    assert opened.symbols == Symbols.of_dictionary(SYMBOLS, "letter")
    assert (opened.symbols.blank, opened.symbols.joining) == (0, "letter")
    assert opened.normalize is False
    expected = open_subnetwork(models["c.pt"]).model(sound())
    assert torch.equal(opened.model(sound()), expected)


@pytest.mark.parametrize("name", ["c.pt", "c.safetensors", "hf/model.safetensors"])
def test_a_file_that_is_written_over_later_changes_no_model(name, models, tmp_path):
    copy = tmp_path / name
    shutil.copytree(models["hf"], tmp_path / "hf")
    if copy.parent == tmp_path:
        shutil.copy(models[name], copy)
    model = open_subnetwork(tmp_path / name.split("/")[0]).model
    expected = model(sound())
    with copy.open("r+b") as file:  # In place, as torch.save does.
        file.write(bytes(copy.stat().st_size))
    assert torch.equal(model(sound()), expected)


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


def changed_folder(models, tmp_path, name, **changes):
    folder = tmp_path / "hf"
    if not folder.exists():
        shutil.copytree(models["hf"], folder)
    file = folder / name
    content = json.loads((models["hf"] / name).read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return folder


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


def test_engines(models, monkeypatch, tmp_path):
    def opened(file=models["c.safetensors"]):
        return open_subnetwork(file).model

    dense = opened()
    assert run_sparse(dense, "dense") == 0
    if native.level() == native.REFERENCE:
        pytest.skip("without kernels all stays dense")
    # The small model's layers are below what is worth it.
    monkeypatch.setattr("parp_fairseq.engine.acceleration.LEAST_ENTRIES", 1)
    monkeypatch.setattr("parp_fairseq.engine.acceleration._time", None)
    sparse = opened()
    assert run_sparse(sparse, "auto") == 10
    difference = (sparse(sound()) - dense(sound())).abs().max()
    assert 0 < difference < 1e-4
    export_sparse(save(random_state(0.5), tmp_path / "c.pt"), tmp_path / "half.safetensors")
    assert run_sparse(opened(tmp_path / "half.safetensors"), "auto") == 0
