"""Sparse files that break a rule of the format: one line that names the file and the rule."""

from __future__ import annotations

import json

import numpy as np
import pytest
from reading_sparse import example_reader
from small_sparse import ABOUT, ABOUT_1, BIAS, DENSE, DENSE_1, TENSORS, TENSORS_1, about, file_of

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.sparse_file import read_sparse
from parp_fairseq.errors import UserError

SETTINGS = ABOUT["cfg"]


def said(**changes):
    """The good file with other things said in its metadata."""
    return file_of(about(**changes))


def packed(shape=(2, 5), low=(1, 0)):
    return said(packed={"w": {"shape": list(shape), "low": list(low)}})


def parts(text=ABOUT, tensors=TENSORS, **changes):
    """The good file with other tensors; `_` is a colon, None takes one out."""
    named = {key.replace("_", ":"): value for key, value in changes.items()}
    return file_of(text, {k: v for k, v in {**tensors, **named}.items() if v is not None})


def first(shape=(3, 3), **changes):
    """The good file of version 1."""
    return parts({**ABOUT_1, "packed": {"w": list(shape)}}, TENSORS_1, **changes)


def bits(*each):
    return ("U8", [len(each)], bytes(each))


ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
NOTHING = {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}
METADATA = {"parp-sparse": json.dumps(ABOUT)}
# Values replaced by anything are in test_sparse_fuzz.py; here is what would be wrong in silence.
BAD = {
    "huge": (packed([10**6, 10**6]), "w:0:high' is U8.1., which does not hold a mask"),
    "overflow to the right size": (packed([2**62, 4, 10]), "does not hold a mask"),
    "more than its bits account for": (packed([2, 9]), "does not hold a mask"),
    "negative": (packed([-2, -5]), "the shape of 'w'"),
    "low bits of one level": (packed(low=[1]), "the low bits of 'w'"),
    "eight low bits": (packed(low=[8, 0]), "the low bits of 'w'"),
    "levels that rise": (said(levels=[0.5, 0.8]), "its levels are"),
    "levels of a text": (said(levels=[0.8, "0.5"]), "its levels are"),
    "no value for a bit": (parts(w_0_high=bits(0b00101001)), "'w': 2 values for 3"),
    "bytes after the end": (parts(w_0_high=bits(0b00101000, 0)), "bytes after their end"),
    "low bits after the end": (parts(w_0_low=bits(0b11100000)), "too few or too many"),
    "an entry after the last": (parts(w_0_high=bits(0b00100100)), "after the last of 10"),
    "one after those that are left": (packed([2, 4]), "after the last of 8"),
    "signed bits": (parts(w_0_high=("I8", [1], b"\x28")), "w:0:high' is I8"),
    "low bits of one more": (parts(w_0_low=bits(0b11000000, 0)), "w:0:low' does not hold 1 bits"),
    "more than there is room": (parts(w_1_kept=("I8", [9], bytes(9))), "w:1:kept' has the shape"),
    "two types": (parts(w_1_kept=("F16", [3], bytes(6))), "'w' are of several types"),
    "odd type": (first(w_kept=("F8_E4M3", [3], bytes(3))), "'w' is of the type"),
    "fp32 in int8": (parts(bias=("F32", [2], bytes(8))), "is F32 in a file of int8"),
    "a scale of fp32": (parts(about(dtype="fp32")), "w:scale' belongs to no tensor"),
    "scales of one row": (parts(w_scale=("F32", [1], bytes(4))), "w:scale' is not one number a"),
    "a scale of zero": (parts(w_scale=("F32", [2], bytes(8))), "w:scale' is not above 0"),
    "an infinite scale": (parts(w_scale=("F32", [2], b"\0\0\x80\x7f" * 2)), "not above 0"),
    "no bits": (parts(w_1_high=None), "w:1:high' is missing"),
    "nothing packed": (said(packed={}), "belongs to no tensor"),
    "a level too many": (parts(w_2_high=bits(0)), "'w:2:high' belongs to no tensor"),
    "dense and packed": (parts(w=("F16", [2], bytes(4))), "'w' is a duplicate"),
    "packed twice": (
        file_of(f'{json.dumps(ABOUT)[:-1]}, "packed": {{"w": [3, 3]}}}}'),
        "'packed' is a duplicate",
    ),
    "1: huge": (first([10**6, 10**6]), "w:mask' is U8.2., which does not hold a mask"),
    "1: one more": (first([3, 6]), "does not hold a mask"),
    "1: one less": (first([2, 4]), "bytes after their end"),
    "1: no value for a bit": (first(w_mask=bits(0x47, 0)), "'w': 3 values for 4"),
    "1: bits after the end": (first(w_mask=bits(0x42, 0x40)), "after the last of 9"),
    "1: int8": (parts({**ABOUT_1, "dtype": "int8"}, TENSORS_1), "its dtype is 'int8'"),
    "1: fp32 in fp16": (parts({**ABOUT_1, "dtype": "fp16"}, TENSORS_1), "is F32 in a file of fp16"),
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
    "version 3": (said(version=3), "format version 3, .* update parp-fairseq"),
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
    for content, w in ((file_of(), DENSE), (said(more={"a": 1}), DENSE), (first(), DENSE_1)):
        path.write_bytes(content)
        state = read_sparse(path)
        assert state["model"]["w"].numpy().tobytes() == w.tobytes()
        assert example_reader(path)["w"].astype(np.float32).tobytes() == w.tobytes()
        assert state["model"]["bias"].numpy().tobytes() == BIAS.tobytes()
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
