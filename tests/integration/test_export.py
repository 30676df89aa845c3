"""A trained subnetwork, taken away in each form and read back by others."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import build_model, build_task
from parp_fairseq.export.fairseq import export_fairseq

# Stock fairseq where nothing of this package can be imported; its answer is saved.
STOCK = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "parp_fairseq":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nowhere())
import torch
from fairseq import checkpoint_utils

checkpoint, folder, split, answer = sys.argv[1:]
load = checkpoint_utils.load_model_ensemble_and_task
# Without a folder of data it finds the dictionary next to the checkpoint.
_, _, alone = load([checkpoint])
(model,), cfg, task = load([checkpoint], {"data": folder})
model.make_generation_fast_()
task.load_dataset(split)
dataset = task.dataset(split)
batch = dataset.collater([dataset[index] for index in range(4)])
with torch.no_grad():
    logits = model.get_logits(model(**batch["net_input"]))
torch.save(
    {
        "names": (cfg.task._name, cfg.criterion._name, cfg.optimizer._name),
        "same_symbols": alone.target_dictionary.symbols == task.target_dictionary.symbols,
        "weights": torch.load(checkpoint, weights_only=True)["model"],
        "logits": logits,
    },
    answer,
)
"""


def stock(checkpoint, answer, data, split):
    """What stock fairseq makes of a checkpoint."""
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(checkpoint), str(data), split, str(answer)],
        cwd=answer.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(answer, weights_only=True)


def our_logits(checkpoint, data, split):
    """Logits of the original checkpoint for the first four utterances."""
    threads = torch.get_num_threads()
    # As many as the other program has: taking off weight norm adds up, too.
    torch.set_num_threads(1)
    try:
        finetuned = open_finetuned(checkpoint, data)
        task = build_task(finetuned, data)
        model = build_model(finetuned, task)
        task.load_dataset(split)
        dataset = task.dataset(split)
        batch = dataset.collater([dataset[index] for index in range(4)])
        with torch.no_grad():
            return model.get_logits(model(**batch["net_input"]))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.legacy
def test_stock_fairseq_has_the_same_weights_and_logits(finetuned, data, tmp_path):
    out = tmp_path / "stock" / "model.pt"
    summary = export_fairseq(finetuned, out)
    assert summary["bytes"] == out.stat().st_size
    assert sorted(entry.name for entry in out.parent.iterdir()) == ["dict.ltr.txt", "model.pt"]
    answer = stock(out, tmp_path / "answer.pt", data, "test-clean")
    assert answer["names"] == ("audio_finetuning", "ctc", "adam") and answer["same_symbols"]
    # Weights are equal bit by bit (below); sums in kernels may round by where memory lies.
    torch.testing.assert_close(
        answer["logits"], our_logits(finetuned, data, "test-clean"), rtol=0, atol=1e-4
    )
    original = torch.load(finetuned, weights_only=True)
    assert list(answer["weights"]) == list(original["model"])
    for name, tensor in original["model"].items():
        assert torch.equal(answer["weights"][name], tensor), name
    assert sum(int((tensor == 0).sum()) for tensor in answer["weights"].values()) > 1_000_000

    state = torch.load(out, weights_only=True)
    del state["model"]
    words = json.dumps(state).replace(str(tmp_path), "")
    assert "parp" not in words and "prune" not in words
    assert state["last_optimizer_state"] is None
    assert (out.parent / "dict.ltr.txt").read_text() == (data / "dict.ltr.txt").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A 1\nB 1\n", r"dict\.ltr\.txt is another dictionary than the one of"),
        ("A 1\nB\n", r"dict\.ltr\.txt row 2: expected"),
        ("\udce9 1\n", r"dict\.ltr\.txt is not UTF-8 text"),
    ],
)
def test_a_dictionary_in_the_way_is_never_replaced(finetuned, tmp_path, content, message):
    (tmp_path / "dict.ltr.txt").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message):
        export_fairseq(finetuned, tmp_path / "model.pt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["dict.ltr.txt"]


def test_a_dictionary_with_other_counts_stays(finetuned, data, tmp_path):
    counted = (data / "dict.ltr.txt").read_text(encoding="utf-8").replace("94802", "3")
    (tmp_path / "dict.ltr.txt").write_text(counted, encoding="utf-8")
    export_fairseq(finetuned, tmp_path / "model.pt")
    assert (tmp_path / "dict.ltr.txt").read_text(encoding="utf-8") == counted
