"""A fine-tuned model in a file: what is refused before anything is scored or exported."""

import copy

import pytest
import torch
from fairseq.data import Dictionary
from small_model import SYMBOLS, random_state, save

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import build_model
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference.subnetwork import open_subnetwork


@pytest.fixture(scope="module")
def state():
    return random_state()


NAME = "w2v_encoder.w2v_model.encoder.layers.1.fc2.weight"


def test_large_numbers_are_numbers(state, tmp_path):
    large = copy.deepcopy(state)
    large["model"][NAME] = torch.full_like(state["model"][NAME], 60_000).half()
    large["model"]["w2v_encoder.proj.bias"] = torch.full((17,), 3e38)
    finetuned = open_finetuned(save(large, tmp_path / "c.pt"))
    assert finetuned.symbols == SYMBOLS
    assert (finetuned.labels, finetuned.updates) == ("ltr", 7)


def test_another_order_of_an_exports_dictionary_is_refused(state, tmp_path):
    out = tmp_path / "stock" / "model.pt"
    export_fairseq(save(state, tmp_path / "c.pt"), out)
    beside = out.parent / "dict.ltr.txt"
    lines = beside.read_text().splitlines()
    # Counts are not the symbols'.
    beside.write_text("".join(f"{line.split()[0]} 1\n" for line in lines))
    assert open_finetuned(out).symbols == list(open_subnetwork(out).symbols.names[4:]) == SYMBOLS
    beside.write_text("\n".join(lines[::-1]) + "\n")
    for read in (open_finetuned, open_subnetwork):
        with pytest.raises(UserError, match=f"{beside} is not the dictionary that {out} was expor"):
            read(out)
    # A file of stock fairseq's says nothing of its own.
    stock = torch.load(out, weights_only=True)
    del stock["extra_state"]["dictionary_sha256"]
    save(stock, out)
    assert open_finetuned(out).symbols == SYMBOLS[::-1]
    (tmp_path / "dict.ltr.txt").write_text("A 1\n")
    assert open_finetuned(out, tmp_path).symbols == SYMBOLS[::-1]
    (tmp_path / "dict.ltr.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"{beside} and {tmp_path / 'dict.ltr.txt'} number the sym"):
        open_finetuned(out, tmp_path)


@pytest.mark.legacy
def test_the_model_built_is_a_module_like_any_other(state, tmp_path):
    export_sparse(save(state, tmp_path / "c.pt"), tmp_path / "m.safetensors")
    model = build_model(open_finetuned(tmp_path / "m.safetensors"))
    assert model.eval() is model
    assert model.train(False) is model and not model.training
    with pytest.raises(RuntimeError, match="decoding"):
        model.train()


def test_dictionaries_of_checkpoints(state, tmp_path):
    dictionary = Dictionary()
    for symbol in SYMBOLS:
        dictionary.add_symbol(symbol)
    pickled = {**state, "task_state": {"target_dictionary": dictionary}}
    assert open_finetuned(save(pickled, tmp_path / "pickled.pt")).symbols == SYMBOLS
    task = {**state["cfg"]["task"], "data": str(tmp_path)}
    bare = {**state, "task_state": {}, "cfg": {**state["cfg"], "task": task}}
    path = save(bare, tmp_path / "bare.pt")
    with pytest.raises(UserError, match=r"holds no dictionary and .*dict\.ltr\.txt does not exist"):
        open_finetuned(path)
    dictionary.save(str(tmp_path / "dict.ltr.txt"))
    assert open_finetuned(path).symbols == SYMBOLS
    (tmp_path / "dict.ltr.txt").write_text("A 1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"dict\.ltr\.txt has 5 symbols .* but its head has 17"):
        open_finetuned(path)
    del task["labels"]
    with pytest.raises(UserError, match="does not say its labels"):
        open_finetuned(save(bare, path))
