"""Sparse files that lie: one line that names the file, and no memory for what is not there."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch
from small_model import bits
from small_sparse import ABOUT, BIAS, DENSE, TENSORS, about, file_of

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.sparse_file import read_sparse, unpack
from parp_fairseq.errors import UserError

KEPT, MASK = TENSORS["w:kept"], TENSORS["w:mask"]


def shaped(shape):
    return file_of(about(packed={"w": shape}))


def tensors(**changes):
    """The good file's tensors, some replaced; `mask`, `kept` stand for w's parts."""
    named = {{"mask": "w:mask", "kept": "w:kept"}.get(k, k): v for k, v in changes.items()}
    return {k: v for k, v in {**TENSORS, **named}.items() if v is not None}


def with_key_twice(key, value):
    """Metadata that say a key twice."""
    return json.dumps(ABOUT)[:-1] + f', "{key}": {json.dumps(value)}}}'


def header(**entries):
    """A header that says nothing of the data but this."""
    return json.dumps({"__metadata__": {"parp-sparse": json.dumps(ABOUT)}, **entries})


ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
TWICE = f'{{"__metadata__":{{"parp-sparse":"{{}}"}},"a":{ENTRY},"a":{ENTRY}}}'
DEEP = '{"__metadata__":' + '{"a":' * 50_000
SETTINGS = ABOUT["cfg"]

BAD = {
    # Shapes.
    "negative": (shaped([-3, -3]), "the shape of 'w'"),
    "huge": (shaped([10**6, 10**6]), "does not hold a mask"),
    "overflow": (shaped([2**32, 2**32]), "does not hold a mask"),
    "overflow to the right size": (shaped([2**62, 4, 9]), "does not hold a mask"),
    "huge number": (shaped([10**30, 1]), "digits"),
    "no list": (shaped(9), "the shape of 'w'"),
    "text": (shaped("33"), "the shape of 'w'"),
    "fraction": (shaped([3.0, 3]), "the shape of 'w'"),
    "bool": (shaped([True, 9]), "the shape of 'w'"),
    "zero": (shaped([0, 9]), "the shape of 'w'"),
    "scalar": (shaped([]), "the shape of 'w'"),
    "many sides": (shaped([1] * 1000), "the shape of 'w'"),
    "one less": (shaped([3, 2]), "w:mask.*does not hold|values for"),
    "one more": (shaped([3, 6]), "does not hold a mask"),
    # Bits and values.
    "short bits": (file_of(tensors=tensors(mask=("U8", [1], b"\x46"))), "does not hold a mask"),
    "long bits": (file_of(tensors=tensors(mask=("U8", [3], b"\x46\0\0"))), "does not hold a mask"),
    "no value for a bit": (
        file_of(tensors=tensors(mask=("U8", [2], b"\x47\0"))),
        "'w': 3 values for 4",
    ),
    "no bit for a value": (
        file_of(tensors=tensors(mask=("U8", [2], b"\x42\0"))),
        "'w': 3 values for 2",
    ),
    "bits behind the end": (
        file_of(tensors=tensors(mask=("U8", [2], b"\x42\x40"))),
        "'w': bits are set after the last entry",
    ),
    "last bit": (
        file_of(tensors=tensors(mask=("U8", [2], b"\x42\x01"))),
        "'w': bits are set after the last entry",
    ),
    "signed bits": (file_of(tensors=tensors(mask=("I8", *MASK[1:]))), "w:mask' is I8"),
    "bool bits": (file_of(tensors=tensors(mask=("BOOL", *MASK[1:]))), "w:mask' is BOOL"),
    "bits in a square": (file_of(tensors=tensors(mask=("U8", [1, 2], MASK[2]))), "w:mask' is U8"),
    "kept in a square": (file_of(tensors=tensors(kept=("F32", [1, 3], KEPT[2]))), "w:kept' has"),
    "more than there is room": (
        file_of(tensors=tensors(kept=("F32", [10], bytes(40)))),
        "w:kept' has",
    ),
    "odd type": (file_of(tensors=tensors(kept=("F8_E4M3", [3], bytes(3)))), "w:kept' is of the"),
    "odd type, dense": (file_of(tensors=tensors(bias=("U16", [4], bytes(8)))), "bias' is of the"),
    "fp32 in fp16": (file_of(about(dtype="fp16")), "is F32 in a file of fp16"),
    # Names.
    "no bits": (file_of(tensors=tensors(mask=None)), "w:mask' is missing"),
    "no values": (file_of(tensors=tensors(kept=None)), "w:kept' is missing"),
    "nothing packed": (file_of(about(packed={})), "belongs to no tensor"),
    "surplus bits": (
        file_of(tensors={**TENSORS, "x:mask": ("U8", [1], b"\0")}),
        "x:mask' belongs to no tensor",
    ),
    "dense and packed": (
        file_of(tensors={**TENSORS, "w": ("F32", [2], bytes(8))}),
        "'w' is a duplicate",
    ),
    "packed twice": (file_of(with_key_twice("packed", {"w": [3, 3]})), "'packed' is a dup"),
    "version twice": (file_of(with_key_twice("version", 1)), "'version' is a duplicate"),
    "a name twice": (file_of(header=TWICE), "'a' is a duplicate"),
    # Headers.
    "no header": (file_of()[:8], "no readable|not a readable|is not"),
    "header beyond the file": (file_of(length=2_000), "a header of 2,000 bytes where"),
    "header of 2^63": (file_of(length=2**63), "a header of 9,223"),
    "no JSON": (file_of(header="{"), "not a readable"),
    "deep": (file_of(header=DEEP), "nested too deeply"),
    "metadata no mapping": (file_of(header='{"__metadata__":[]}'), "not a readable"),
    "metadata no text": (file_of(header='{"__metadata__":{"parp-sparse":{}}}'), "not a readable"),
    "no metadata": (file_of(header='{"__metadata__":{}}', tensors={}), "but no sparse model"),
    "another program's": (file_of(key="format"), "but no sparse model"),
    "no tensors": (file_of(header=header(), tensors={}), "is missing"),
    "negative offsets": (
        file_of(header=header(a={"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]})),
        "not a readable",
    ),
    "a terabyte of nothing": (
        file_of(header=header(a={"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]})),
        "not a readable",
    ),
    "offsets beyond": (
        file_of(header=header(a={"dtype": "U8", "shape": [99], "data_offsets": [0, 99]})),
        "not a readable",
    ),
    "a hole": (
        file_of(header=header(a={"dtype": "U8", "shape": [9], "data_offsets": [1, 10]})),
        "not a readable",
    ),
    # What it says about itself.
    "no JSON inside": (file_of("parp"), "not a readable"),
    "nothing inside": (file_of(""), "not a readable"),
    "a list": (file_of([]), "is no object"),
    "deep inside": (file_of("[" * 50_000), "nested too deeply"),
    "not so deep": (file_of(about(cfg={"a": json.loads("[" * 99 + "]" * 99)})), "too deeply"),
    "NaN": (file_of(about(updates=float("nan"))), "NaN is no JSON"),
    "infinite": (file_of(json.dumps(ABOUT).replace("7", "1e999")), "infinite"),
    "half a letter": (file_of(json.dumps(about(cfg={"\ud800": 1}))), "surrogates"),
    "no version": (file_of(about(version=None)), "its version is None"),
    "version 1.0": (file_of(about(version=1.0)), "its version is 1.0"),
    "version '1'": (file_of(about(version="1")), "its version is '1'"),
    "version true": (file_of(about(version=True)), "its version is True"),
    "version 2": (file_of(about(version=2)), "format version 2, .* update parp-fairseq"),
    "version 0": (file_of(about(version=0)), "format version 0"),
    "dtype": (file_of(about(dtype="fp8")), "its dtype is 'fp8'"),
    "dtype a list": (file_of(about(dtype=["fp32"])), "its dtype is"),
    "packed a list": (file_of(about(packed=["w"])), "its packed is no object"),
    "updates": (file_of(about(updates=-1)), "its updates are -1"),
    "updates true": (file_of(about(updates=True)), "its updates are True"),
    "no cfg": (file_of(about(cfg=None)), "its cfg.model is no object"),
    "cfg.model": (file_of(about(cfg={**SETTINGS, "model": []})), "its cfg.model is no object"),
    "cfg.task": (file_of(about(cfg={**SETTINGS, "task": 1})), "its cfg.task is no object"),
    "labels": (
        file_of(about(cfg={**SETTINGS, "task": {"labels": "/../../evil"}})),
        "its cfg.task.labels are",
    ),
    "labels a list": (
        file_of(about(cfg={**SETTINGS, "task": {"labels": ["ltr"]}})),
        "its cfg.task.labels are",
    ),
    "code": (
        file_of(about(cfg={**SETTINGS, "model": {"conv_feature_layers": "exit(1)"}})),
        "which is code",
    ),
    "no dictionary": (file_of(about(parp_symbols=None)), "no list of symbols"),
    "dictionary a list": (file_of(about(parp_symbols=[1])), "no list of symbols"),
    "numbers for symbols": (
        file_of(about(parp_symbols={"symbols": [1], "counts": [1]})),
        "no list of symbols",
    ),
    "text for symbols": (
        file_of(about(parp_symbols={"symbols": "E|", "counts": [1, 2]})),
        "no list of symbols",
    ),
    "texts for counts": (
        file_of(about(parp_symbols={"symbols": ["E"], "counts": ["1"]})),
        "no list of counts",
    ),
    "counts true": (
        file_of(about(parp_symbols={"symbols": ["E"], "counts": [True]})),
        "no list of counts",
    ),
    "a count too few": (
        file_of(about(parp_symbols={"symbols": ["E", "|"], "counts": [1]})),
        "2 symbols and 1 counts",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_lies(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=reason) as caught:
            read_sparse(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line and line.isprintable()
    assert "copy it again" in line or "write one with" in line or "update" in line or "code" in line
    assert peak < 4_000_000, "more memory than a file of this size can need"


def test_the_good_file_that_the_bad_ones_are_made_of(tmp_path):
    path = tmp_path / "good.safetensors"
    path.write_bytes(file_of())
    state = read_sparse(path)
    assert bits(state["model"]["w"]) == DENSE.tobytes()
    assert bits(state["model"]["bias"]) == BIAS.tobytes()
    assert state["cfg"] == ABOUT["cfg"]
    assert state["optimizer_history"] == [{"num_updates": 7}]
    # What a later writer may add.
    path.write_bytes(file_of(about(more={"a": 1})))
    assert bits(read_sparse(path)["model"]["w"]) == DENSE.tobytes()
    # It holds no model that could be built.
    with pytest.raises(UserError, match=r"good.safetensors"):
        open_finetuned(path)


def test_a_header_longer_than_any(tmp_path):
    path = tmp_path / "bad.safetensors"
    with path.open("wb") as handle:
        handle.write((100_000_001).to_bytes(8, "little") + b"{")
        handle.truncate(100_000_100)  # Without blocks on the disk.
    with pytest.raises(UserError, match=r"a header of 100,000,001 bytes, over 100,000,000"):
        read_sparse(path)


def test_unpack_on_its_own():
    mask = torch.tensor([0b10100000], dtype=torch.uint8)
    kept = torch.tensor([1.0, 2.0])
    assert unpack(mask, kept, (1, 3)).tolist() == [[1.0, 0.0, 2.0]]
    for bad in (0b10110000, 0b10100001):
        with pytest.raises(ValueError, match="after the last entry"):
            unpack(torch.tensor([bad], dtype=torch.uint8), kept, (1, 3))
    with pytest.raises(ValueError, match="do not hold a mask"):
        unpack(mask, kept, (-1, -3))
    with pytest.raises(ValueError, match="2 values for 1"):
        unpack(torch.tensor([0b10000000], dtype=torch.uint8), kept, (8,))
    assert np.prod(unpack(mask, kept, (8,)).shape) == 8
