"""The examples that README and docs give, run as they stand there."""

import re
from pathlib import Path

import pytest

transformers = pytest.importorskip("transformers")

from safetensors.numpy import load_file  # noqa: E402
from trainings import tiny_bert, trainer  # noqa: E402

from parp_fairseq.hf import PruningCallback, prunable_parameters  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def examples(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "hf" in code]


def sparsity(folder):
    tensors = load_file(str(folder / "model.safetensors"))
    chosen = [tensors[name] for name in prunable_parameters(tiny_bert())]
    return sum(int((t == 0).sum()) for t in chosen) / sum(t.size for t in chosen)


@pytest.mark.parametrize("name", ["README.md", "docs/transformers.md"])
def test_three_lines(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = trainer(tmp_path / "out", tiny_bert())
    exec(examples(name)[0], {"trainer": run})
    run.save_model("subnetwork")
    assert sparsity(tmp_path / "subnetwork") == pytest.approx(0.7, abs=1e-4)


def test_rounds_of_imp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dense = trainer(tmp_path / "out", tiny_bert())
    dense.train()
    dense.save_model("dense")
    text = (ROOT / "docs/transformers.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"```python\n([^`]*round_sparsities.*?)```", text, re.DOTALL)
    make = {"make_trainer": lambda: trainer(tmp_path / "out", tiny_bert(), max_steps=3)}
    exec(loop, {**make, "PruningCallback": PruningCallback})
    names = prunable_parameters(tiny_bert())
    zeros = set()
    for tenths in range(1, 8):
        folder = tmp_path / f"imp-{tenths / 10}"
        assert sparsity(folder) == pytest.approx(tenths / 10, abs=1e-4)
        tensors = load_file(str(folder / "model.safetensors"))
        now = {(n, i) for n in names for i in (tensors[n].ravel() == 0).nonzero()[0].tolist()}
        assert zeros <= now, "an entry came back"
        zeros = now
