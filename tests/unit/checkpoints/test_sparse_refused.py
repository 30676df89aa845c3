"""Sparse files that break a rule of the format: one line that names the file and the rule."""

from __future__ import annotations

import json

import pytest
from small_model import bits
from small_sparse import ABOUT, BIAS, DENSE, TENSORS, about, file_of

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.sparse_file import read_sparse
from parp_fairseq.errors import UserError

KEPT, MASK = TENSORS["w:kept"], TENSORS["w:mask"]
SETTINGS = ABOUT["cfg"]


def said(**changes):
    """The good file with other things said in its metadata."""
    return file_of(about(**changes))


def shaped(shape):
    return said(packed={"w": shape})


def parts(**changes):
    """The good file with other tensors; `mask` and `kept` are those of w, None takes one out."""
    named = {{"mask": "w:mask", "kept": "w:kept"}.get(k, k): v for k, v in changes.items()}
    return file_of(tensors={k: v for k, v in {**TENSORS, **named}.items() if v is not None})


ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
NOTHING = {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}
METADATA = {"parp-sparse": json.dumps(ABOUT)}
# Values replaced by anything are in test_sparse_fuzz.py; here is what would be wrong in silence.
BAD = {
    "huge": (shaped([10**6, 10**6]), "does not hold a mask"),
    "overflow to the right size": (shaped([2**62, 4, 9]), "does not hold a mask"),
    "negative": (shaped([-3, -3]), "the shape of 'w'"),
    "one more": (shaped([3, 6]), "does not hold a mask"),
    "no value for a bit": (parts(mask=("U8", [2], b"\x47\0")), "'w': 3 values for 4"),
    "bits after the end": (parts(mask=("U8", [2], b"\x42\x40")), "set after the last entry"),
    "signed bits": (parts(mask=("I8", *MASK[1:])), "w:mask' is I8"),
    "more than there is room": (parts(kept=("F32", [10], bytes(40))), "w:kept' has"),
    "odd type": (parts(kept=("F8_E4M3", [3], bytes(3))), "w:kept' is of the"),
    "fp32 in fp16": (said(dtype="fp16"), "is F32 in a file of fp16"),
    "no bits": (parts(mask=None), "w:mask' is missing"),
    "nothing packed": (said(packed={}), "belongs to no tensor"),
    "dense and packed": (parts(w=("F32", [2], bytes(8))), "'w' is a duplicate"),
    "packed twice": (
        file_of(f'{json.dumps(ABOUT)[:-1]}, "packed": {{"w": [3, 3]}}}}'),
        "'packed' is a duplicate",
    ),
    "a name twice": (
        file_of(header=f'{{"__metadata__":{{"parp-sparse":"{{}}"}},"a":{ENTRY},"a":{ENTRY}}}'),
        "'a' is a duplicate",
    ),
    "header beyond the file": (file_of(length=2_000), "a header of 2,000 bytes where"),
    "header of 2^63": (file_of(length=2**63), "a header of 9,223"),
    "no metadata": (file_of(header='{"__metadata__":{}}', tensors={}), "but no sparse model"),
    "a terabyte of nothing": (
        file_of(header=json.dumps({"__metadata__": METADATA, "a": NOTHING})),
        "not a readable",
    ),
    "NaN": (said(updates=float("nan")), "NaN is no JSON"),
    "version true": (said(version=True), "its version is True"),
    "version 2": (said(version=2), "format version 2, .* update parp-fairseq"),
    "updates": (said(updates=-1), "its updates are -1"),
    "labels": (said(cfg={**SETTINGS, "task": {"labels": "/../../evil"}}), "task.labels are"),
    "code": (said(cfg={**SETTINGS, "model": {"conv_feature_layers": "exit(1)"}}), "which is code"),
    "a count too few": (
        said(parp_symbols={"symbols": ["E", "|"], "counts": [1]}),
        "no list of counts",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_lies(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_sparse(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and line.isprintable()
    assert "copy it again" in line or "write one with" in line or "update" in line or "code" in line


def test_the_good_file_that_the_bad_ones_are_made_of(tmp_path):
    path = tmp_path / "good.safetensors"
    # A later writer may add fields.
    for content in (file_of(), said(more={"a": 1})):
        path.write_bytes(content)
        state = read_sparse(path)
        assert bits(state["model"]["w"]) == DENSE.tobytes()
        assert bits(state["model"]["bias"]) == BIAS.tobytes()
        assert state["cfg"] == ABOUT["cfg"]
        assert state["optimizer_history"] == [{"num_updates": 7}]
    # It holds no model that could be built.
    with pytest.raises(UserError, match=r"good\.safetensors"):
        open_finetuned(path)


def test_a_header_longer_than_any(tmp_path):
    path = tmp_path / "bad.safetensors"
    with path.open("wb") as handle:
        handle.write((100_000_001).to_bytes(8, "little") + b"{")
        handle.truncate(100_000_100)  # Without blocks on the disk.
    with pytest.raises(UserError, match=r"a header of 100,000,001 bytes, over 100,000,000"):
        read_sparse(path)
