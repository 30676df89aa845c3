"""What is not sparse runs elsewhere: the same outputs for any length, and nothing that is not."""

from __future__ import annotations

import copy
import importlib.util
import io
import subprocess
import sys

import pytest
import torch
from small_model import random_state
from torch import nn

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.engine import EngineError, accelerate, acceleration, parts
from parp_fairseq.evaluation.fairseq_model import build_model
from parp_fairseq.inference.network import Wav2Vec2Ctc

LIBRARIES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            any(importlib.util.find_spec(one) is None for one in needed),
            reason=f"needs {' and '.join(needed)}",
        ),
    )
    for name, needed in {
        "openvino exact": ["openvino"],
        "openvino bf16": ["openvino"],
        "openvino int8": ["openvino", "nncf"],
        "torch exact": [],
        "torch bf16": [],
    }.items()
]
# Share of the output's norm. A random network's noise is larger than a trained one's.
ERRORS = {"exact": 1e-5, "bf16": 0.1, "int8": 0.4}


@pytest.fixture
def always(monkeypatch):
    """Take what is there whatever the measurement says: small models gain nothing."""
    monkeypatch.setattr(acceleration, "MARGIN", float("inf"))
    monkeypatch.setattr(acceleration, "LEAST_ENTRIES", 0)


@pytest.fixture
def precision(request, monkeypatch):
    library, precision = request.param.split()
    if library == "torch":
        monkeypatch.setattr(parts, "_has", lambda name: False)
    return precision


def ours(path):
    torch.save(random_state(sparsity=0.9), path)
    source = open_finetuned(path)
    model = Wav2Vec2Ctc.from_finetuned(source.settings()["model"], source.weights)
    return model, lambda model, wave, padding: model(wave, padding)


def fairseqs(path):
    torch.save(random_state(sparsity=0.9), path)

    def call(model, wave, padding):
        return model(source=wave, padding_mask=padding)["encoder_out"].transpose(0, 1)

    return build_model(open_finetuned(path)), call


def transformers(path):
    from test_accelerate import SPEECH, prune

    library = pytest.importorskip("transformers")
    torch.manual_seed(1)
    model = prune(library.Wav2Vec2ForCTC(library.Wav2Vec2Config(**SPEECH)))

    def call(model, wave, padding):
        return model(wave, attention_mask=None if padding is None else ~padding).logits

    return model, call


@pytest.mark.parametrize("precision", LIBRARIES, indirect=True)
@pytest.mark.parametrize("make", [ours, fairseqs, transformers])
def test_outputs_are_those_of_torch(make, precision, always, tmp_path):
    model, call = make(tmp_path / "model.pt")
    dense = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(3)
    calls = None
    if precision == "int8":
        waves = [torch.randn(2, samples, generator=draw) for samples in (9_000, 12_000)]
        calls = [{"source": wave, "padding_mask": None} for wave in waves]
        if make is not fairseqs:
            calls = waves
    found = accelerate(model, precision=precision, calls=calls)
    names = {part.name for part in found.parts}
    if importlib.util.find_spec("openvino") and parts._has("openvino"):
        wanted = ["feature_extractor", "pos_conv"]
        assert names == {""} or all(any(one in name for name in names) for one in wanted), names
        assert make is fairseqs or names == {""}
    elif precision == "bf16":
        assert sum("conv" in name for name in names) >= 2, names
    for batch, samples, padded in ((1, 4_321, 0), (3, 16_000, 5_000), (2, 11_111, 0), (1, 700, 0)):
        wave = torch.randn(batch, samples, generator=draw)
        padding = None
        if padded:
            padding = torch.zeros(batch, samples, dtype=torch.bool)
            padding[1, samples - padded :] = True
        with torch.inference_mode():
            expected, found = (call(one, wave, padding) for one in (dense, model))
        if padded:
            frames = found.shape[1] // 2
            expected, found = expected[:, :frames], found[:, :frames]
        assert found.shape == expected.shape
        assert (found - expected).norm() < ERRORS[precision] * expected.norm()


class Baked(nn.Module):
    """Computes with a length that a trace takes for a constant."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 8, 3), nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x):
        x = self.first(x[:, None])
        return self.second(x) / float(x.shape[-1])


@pytest.mark.parametrize("precision", LIBRARIES[:2], indirect=True)
def test_a_part_that_depends_on_one_length_stays_in_torch(precision, always):
    model = Baked().eval()
    waves = [torch.randn(1, samples) for samples in (50, 80, 200)]
    with torch.inference_mode():
        expected = [model(wave) for wave in waves]
        found = accelerate(model, precision=precision)
        assert {part.name for part in found.parts} == {"first", "second"}
        for wave, one in zip(waves, expected):
            torch.testing.assert_close(model(wave), one, rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", LIBRARIES[:1] + LIBRARIES[-2:-1], indirect=True)
def test_what_was_replaced_is_for_inference_and_copies_are_torchs(precision, always):
    model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(1), nn.LazyLinear(4)).eval()
    calls = [torch.randn(batch, 1, 10) for batch in (1, 2)]
    expected = model(calls[1]).detach()
    assert accelerate(model, precision=precision, calls=calls).parts
    with pytest.raises(EngineError, match="is for inference"):
        model(calls[1]).sum().backward()
    with pytest.raises(RuntimeError, match="load the weights before"):
        model.load_state_dict(model.state_dict())
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    for copied in (copy.deepcopy(model), torch.load(stored, weights_only=False)):
        assert torch.equal(copied(calls[1]), expected)
        copied(calls[1]).sum().backward()


def test_what_precision_needs_is_said(monkeypatch):
    model = nn.Sequential(nn.Conv1d(1, 4, 3)).eval()
    with pytest.raises(EngineError, match="precision is 'fp4'; use exact, bf16, int8"):
        accelerate(model, precision="fp4")
    monkeypatch.setattr(parts, "_has", lambda name: name != "nncf")
    with pytest.raises(EngineError, match=r"precision int8 needs nncf; pip install"):
        accelerate(model, precision="int8", calls=[torch.randn(1, 1, 9)] * 2)
    monkeypatch.setattr(parts, "_has", lambda name: True)
    with pytest.raises(EngineError, match="give recordings as calls"):
        accelerate(model, precision="int8")


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
def test_signals_are_still_handled_when_graphs_are_gone():
    # OpenVINO's plugins, when they go, leave the thread an unmapped stack for signals.
    program = """
import gc, signal, torch
from parp_fairseq.engine import parts
module = torch.nn.Linear(4, 4)
call = parts.recorded_call(module, torch.randn(2, 4))
graphs = [parts.Graph(module, [call], "exact") for _ in range(2)]
while graphs:
    del graphs[0]
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
