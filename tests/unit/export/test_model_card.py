"""The model card of an exported folder: what it says, and that its sample ends in the text."""

import json

import numpy as np
import pytest
import soundfile
import yaml
from small_model import lively, save

from parp_fairseq.errors import UserError
from parp_fairseq.export.hf import export_hf
from parp_fairseq.export.onnx import export_onnx
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.subnetwork import open_subnetwork
from parp_fairseq.manifests.audio.headers import read_recording


@pytest.fixture
def checkpoint(tmp_path):
    state = lively()
    state["cfg"]["model"]["w2v_path"] = "/models/base.pt"
    prune = {"method": "parp", "sparsity": 0.5, "interval": 25, "interval_unit": "update"}
    state["cfg"]["task"] |= {"data": "/data/10min", "prune": prune}
    return save(state, tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("export", "package"), [(export_hf, "transformers"), (export_onnx, "onnx")]
)
def test_what_a_card_says_and_that_its_sample_runs(
    export, package, checkpoint, tmp_path, monkeypatch, capsys
):
    pytest.importorskip(package)
    score = {
        "checkpoint": str(checkpoint),
        "split": "dev",
        "metric": "WER",
        "weights": "subnetwork",
    }
    score |= {"rate": 12.345, "rate_low": 10.0, "rate_high": 15.0}
    others = [{"checkpoint": "other.pt"}, {"sparsity": 0.99}, {"lm": "4-gram.bin"}]
    (tmp_path / "s.json").write_text(json.dumps([score, *({**score, **one} for one in others)]))
    with pytest.raises(UserError, match=r"no score of .*c\.pt --sparsity 0\.95"):
        export(checkpoint, tmp_path / "cut", scores=tmp_path / "s.json", sparsity=0.95)
    out = tmp_path / "out"
    export(checkpoint, out, scores=tmp_path / "s.json", license="mit")
    card = (out / "README.md").read_text(encoding="utf-8")
    _, front, text = card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert (about["license"], about["library_name"]) == ("mit", package)
    for said in (
        "| base model | base.pt |",
        "| method | parp, sparsity 0.5, every 25 updates |",
        "| training data | 10min |",
        "| dev | WER | 12.35 | 10.00 to 15.00 |",
    ):
        assert text.count(said) == 1, said
    wave = np.random.default_rng(3).normal(0, 0.1, 16_000)
    soundfile.write(out / "utterance.flac", wave, 16_000)
    heard = transcribe(open_subnetwork(checkpoint), read_recording(out / "utterance.flac")).text
    monkeypatch.chdir(out)
    capsys.readouterr()
    exec(compile(text.split("```python\n")[1].split("```")[0], "card", "exec"), {})
    # transformers writes </s>, which this random model is fond of.
    assert capsys.readouterr().out.replace("</s>", "").split() == heard.split() != []


@pytest.mark.parametrize("content", ["[]", "{}", "x", '[{"checkpoint": "other.pt"}]'])
def test_scores_of_another_model_are_refused(content, checkpoint, tmp_path):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(UserError, match=r"--scores .*s\.json"):
        export_hf(checkpoint, tmp_path / "out", scores=tmp_path / "s.json")
    assert not (tmp_path / "out").exists()
