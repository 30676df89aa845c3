"""The folder for ONNX runtimes against `parp eval`."""

import importlib.util
import json
from itertools import groupby

import numpy as np
import pytest
import soundfile
import torch
from small_model import KINDS_OF_SYMBOLS, SYMBOLS, lively, save

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import evaluate
from parp_fairseq.export import onnx_graph
from parp_fairseq.export.onnx import export_onnx

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

KINDS = {
    "base": {},
    "xlsr": {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True},
}
# Samples; the last is the shortest that makes a frame.
LENGTHS = (16_000, 9_001, 12_345, 3_600, 400)


def waves():
    """Loud and quiet noise and tones, off zero, in float32."""
    random = np.random.default_rng(11)
    made = []
    for number, length in enumerate(LENGTHS):
        tone = np.sin(np.arange(length) * (0.02 + 0.11 * number))
        wave = 0.1 * tone + random.normal(0, 0.02 * (number + 1), length) + 0.05
        made.append(np.round(wave * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16))
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of manifests over these waves, with dictionaries of three kinds of symbols."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number, wave in enumerate(waves()):
        soundfile.write(folder / f"{number}.flac", wave, 16_000)
        rows.append(f"{number}.flac\t{len(wave)}\n")
    (folder / "test.tsv").write_text(f"{folder}\n{''.join(rows)}")
    for labels, symbols in KINDS_OF_SYMBOLS.items():
        (folder / f"test.{labels}").write_text(f"{symbols[1]} {symbols[2]}\n" * len(rows))
        lines = "".join(f"{symbol} 9\n" for symbol in symbols)
        (folder / f"dict.{labels}.txt").write_text(lines)
    return folder


def session(folder):
    return onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )


def run(model, batch):
    """Log probabilities of a batch, padded with what is no silence."""
    lengths = np.array([len(wave) for wave in batch], np.int64)
    padded = np.full((len(batch), max(lengths)), 0.7, np.float32)
    for row, wave in enumerate(batch):
        padded[row, : len(wave)] = wave / np.float32(2**15)
    (out,) = model.run(["logprobs"], {"input_values": padded, "input_lengths": lengths})
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_equal_fairseqs(kind, tmp_path):
    from torch.nn import functional as F

    from parp_fairseq.checkpoints.finetuned import open_finetuned
    from parp_fairseq.evaluation.fairseq_model import build_model, build_task

    checkpoint = save(lively(**KINDS[kind]), tmp_path / "c.pt")
    done = export_onnx(checkpoint, tmp_path / "onnx")
    config = json.loads((tmp_path / "onnx" / "config.json").read_text())
    assert (config["model_type"], config["subsampling_factor"]) == ("wav2vec2-ctc", 320)
    assert config["labels"] == "ltr" and done["difference"] < 1e-4
    assert {path.name for path in (tmp_path / "onnx").iterdir()} == set(done["files"])
    assert len({path.stat().st_mode for path in (tmp_path / "onnx").iterdir()}) == 1
    finetuned = open_finetuned(checkpoint)
    fairseqs = build_model(finetuned, build_task(finetuned, tmp_path))
    model = session(tmp_path / "onnx")
    for batch in ([waves()[0]], waves()):
        source = torch.zeros(len(batch), max(map(len, batch)))
        padding = torch.ones(source.shape, dtype=torch.bool)
        for row, wave in enumerate(batch):
            heard = torch.from_numpy(wave / np.float32(2**15))
            heard = F.layer_norm(heard, heard.shape) if kind == "xlsr" else heard
            source[row, : len(wave)], padding[row, : len(wave)] = heard, False
        with torch.no_grad():
            out = fairseqs(source=source, padding_mask=padding)
        theirs = out["encoder_out"].transpose(0, 1).log_softmax(-1).numpy()
        ours = run(model, batch)
        assert ours.shape == theirs.shape
        for row, wave in enumerate(batch):
            frames = (len(wave) - 400) // 320 + 1
            gap = np.abs(ours[row, :frames] - theirs[row, :frames])
            assert (gap < 1e-4 * np.maximum(1, np.abs(theirs[row, :frames]) / 20)).all()
            # After an utterance's end the blank is certain.
            assert (ours[row, frames:].argmax(-1) == 0).all()
            assert (ours[row, frames:, 0] == 0).all()
        assert np.abs(np.exp(ours).sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize("labels", KINDS_OF_SYMBOLS)
def test_its_vocabulary_writes_what_parp_eval_hears(labels, data, tmp_path):
    """Decoded as onnx-asr does: tokens one after the other, U+2581 as a space."""
    checkpoint = save(lively(labels, **KINDS["xlsr"]), tmp_path / "c.pt")
    export_onnx(checkpoint, tmp_path / "onnx")
    lines = (tmp_path / "onnx" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    tokens = {int(row): token for token, row in (line.rsplit(" ", 1) for line in lines)}
    score = evaluate(checkpoint, data, "test", device="cpu", num_workers=0)
    said = [" ".join(utterance.hypothesis.split()) for utterance in score.utterances]
    assert len(set(said)) == len(said) and max(map(len, said)) > 15
    model, heard = session(tmp_path / "onnx"), []
    for best in run(model, waves()).argmax(-1):
        merged = [tokens[row] for row, _ in groupby(best.tolist())]
        text = "".join(token for token in merged if token != "<blk>")
        heard.append(" ".join(text.replace("\u2581", " ").split()))
    assert heard == said


def test_nothing_is_left_of_a_graph_that_computes_something_else(tmp_path, monkeypatch):
    checkpoint = save(lively(), tmp_path / "c.pt")
    right = onnx_graph.Graph.forward

    def wrong(self, input_values, input_lengths):
        out = right(self, input_values, input_lengths)
        return out + 1e-3 if torch.onnx.is_in_onnx_export() else out

    monkeypatch.setattr(onnx_graph.Graph, "forward", wrong)
    with pytest.raises(UserError, match=r"differ by 1\.\de-03"):
        export_onnx(checkpoint, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
    monkeypatch.setattr(onnx_graph, "difference", lambda *_: float("nan"))
    with pytest.raises(UserError, match="differ by nan"):
        export_onnx(checkpoint, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_what_is_refused(tmp_path, monkeypatch):
    state = lively()
    checkpoint = save(state, tmp_path / "c.pt")
    export_onnx(checkpoint, tmp_path / "onnx")
    before = (tmp_path / "onnx" / "model.onnx").read_bytes()
    with pytest.raises(UserError, match=r"already exists.*--force"):
        export_onnx(checkpoint, tmp_path / "onnx")
    (tmp_path / "onnx" / "mine.txt").write_text("x")
    export_onnx(checkpoint, tmp_path / "onnx", force=True)
    assert (tmp_path / "onnx" / "mine.txt").exists()
    assert (tmp_path / "onnx" / "model.onnx").read_bytes() == before
    from parp_fairseq.export.hf import export_hf

    # Neither kind of folder takes the place of the other.
    with pytest.raises(UserError, match="already exists and is no export of parp of this format"):
        export_hf(checkpoint, tmp_path / "onnx", force=True)
    state["task_state"]["parp_symbols"]["symbols"] = ["|", "<blk>", *SYMBOLS[2:]]
    with pytest.raises(UserError, match=r"bad.pt: the symbol .* cannot be in vocab.txt"):
        export_onnx(save(state, tmp_path / "bad.pt"), tmp_path / "out")
    monkeypatch.setattr("parp_fairseq.export.onnx._LARGEST", 1000)
    with pytest.raises(UserError, match="one file of ONNX holds 2 GB"):
        export_onnx(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_packages(missing, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == missing else found(n))
    with pytest.raises(UserError, match=rf"--format onnx needs {missing}; .*pip install '\.\[onnx"):
        export_onnx(tmp_path / "c.pt", tmp_path / "out")
