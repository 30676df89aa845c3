"""`parp mask info` and `iou` on every form that a subnetwork is written in."""

from __future__ import annotations

import json
import shutil

import pytest
from small_model import random_state, save

FORMS = {"fairseq": "stock.pt", "sparse": "small.safetensors", "hf": "folder"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A subnetwork, its exports, and its mask as `mask make` finds it."""
    folder = tmp_path_factory.mktemp("forms")
    save(random_state(sparsity=0.6), folder / "c.pt")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_an_export_has_the_mask_of_its_checkpoint(made, parp, form):
    out = made / FORMS[form]
    assert parp("export", made / "c.pt", "--format", form, "-o", out)[0] == 0
    mask = made / "mask.safetensors"
    code, _, error = parp("mask", "make", made / "c.pt", "--sparsity", "0.6", "-o", mask, "--force")
    assert code == 0, error
    for sources in ([made / "c.pt", out], [out, made / "c.pt"], [mask, out], [out, mask]):
        code, said, error = parp("mask", "iou", *sources, "--json")
        assert code == 0, error
        answer = json.loads(said)
        assert answer["iou"] == [[1.0, 1.0], [1.0, 1.0]]
        assert all(abs(one["sparsity"] - 0.6) < 1e-4 for one in answer["masks"])
    code, said, _ = parp("mask", "info", out)
    assert code == 0 and "9,830 of 16,384 entries pruned in 12 tensors" in said


def test_help_promises_these_forms_of_an_export(parp):
    *some, last = FORMS
    for command in ("info", "iou"):
        said = " ".join(parp("mask", command, "--help")[1].split())
        assert f"exports ({', '.join(some)} or {last})" in said


def test_tiny_is_the_model_that_ships(parp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "m.safetensors"
    assert parp("mask", "make", "tiny", "--sparsity", "0.5", "-o", out)[0] == 0
    code, said, _ = parp("mask", "iou", out, "tiny", "--json")
    assert code == 0 and json.loads(said)["iou"][0][1] == pytest.approx(0.5, abs=1e-5)
    code, said, _ = parp("inspect", "tiny")
    assert code == 0 and "pre-trained wav2vec2" in said
    assert "no repair" in parp("repair", "tiny", "-o", tmp_path / "tiny.pt")[1]


def test_folders_that_hold_no_mask(made, parp, tmp_path):
    broken = tmp_path / "broken"
    parp("export", made / "c.pt", "--format", "hf", "-o", broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    code, said, error = parp("mask", "info", broken)
    assert (code, said) == (2, "") and error.count("\n") == 1
    assert "model.safetensors: not a readable" in error
    shutil.rmtree(broken)
    broken.mkdir()
    assert "holds no masks" in parp("mask", "info", broken)[2]
