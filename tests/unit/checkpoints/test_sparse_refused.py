"""Sparse files that lie: one line that names the file, and no memory for what is not there."""

from __future__ import annotations

import json
import tracemalloc

import pytest
import torch
from small_model import bits
from small_sparse import ABOUT, BIAS, DENSE, TENSORS, about, file_of

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.sparse_file import read_sparse, unpack
from parp_fairseq.errors import UserError

KEPT, MASK = TENSORS["w:kept"], TENSORS["w:mask"]
SETTINGS = ABOUT["cfg"]
UNREADABLE = "not a readable"


def said(**changes):
    """The good file with other things said in its metadata."""
    return file_of(about(**changes))


def shaped(shape):
    return said(packed={"w": shape})


def parts(**changes):
    """The good file with other tensors; `mask` and `kept` are those of w, None takes one out."""
    named = {{"mask": "w:mask", "kept": "w:kept"}.get(k, k): v for k, v in changes.items()}
    return file_of(tensors={k: v for k, v in {**TENSORS, **named}.items() if v is not None})


def masked(*data):
    return parts(mask=("U8", [len(data)], bytes(data)))


def twice(key, value):
    """Metadata with a duplicate key."""
    return file_of(json.dumps(ABOUT)[:-1] + f', "{key}": {json.dumps(value)}}}')


def entry(dtype, shape, offsets):
    """A header that says nothing of the data but one tensor."""
    stored = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    return file_of(
        header=json.dumps({"__metadata__": {"parp-sparse": json.dumps(ABOUT)}, "a": stored})
    )


def symbols(symbols, counts):
    return said(parp_symbols={"symbols": symbols, "counts": counts})


ENTRY = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
BAD = {
    # Shapes.
    **{
        name: (shaped(shape), "the shape of 'w'")
        for name, shape in {
            "negative": [-3, -3],
            "no list": 9,
            "text": "33",
            "fraction": [3.0, 3],
            "bool": [True, 9],
            "zero": [0, 9],
            "scalar": [],
            "many sides": [1] * 1000,
        }.items()
    },
    "huge": (shaped([10**6, 10**6]), "does not hold a mask"),
    "overflow": (shaped([2**32, 2**32]), "does not hold a mask"),
    "overflow to the right size": (shaped([2**62, 4, 9]), "does not hold a mask"),
    "huge number": (shaped([10**30, 1]), "digits"),
    "one less": (shaped([3, 2]), "w:mask.*does not hold|values for"),
    "one more": (shaped([3, 6]), "does not hold a mask"),
    # Bits and values.
    "short bits": (masked(0x46), "does not hold a mask"),
    "long bits": (masked(0x46, 0, 0), "does not hold a mask"),
    "no value for a bit": (masked(0x47, 0), "'w': 3 values for 4"),
    "no bit for a value": (masked(0x42, 0), "'w': 3 values for 2"),
    "bits after the end": (masked(0x42, 0x40), "'w': bits are set after the last entry"),
    "last bit": (masked(0x42, 0x01), "'w': bits are set after the last entry"),
    "signed bits": (parts(mask=("I8", *MASK[1:])), "w:mask' is I8"),
    "bool bits": (parts(mask=("BOOL", *MASK[1:])), "w:mask' is BOOL"),
    "bits in a square": (parts(mask=("U8", [1, 2], MASK[2])), "w:mask' is U8"),
    "kept in a square": (parts(kept=("F32", [1, 3], KEPT[2])), "w:kept' has"),
    "more than there is room": (parts(kept=("F32", [10], bytes(40))), "w:kept' has"),
    "odd type": (parts(kept=("F8_E4M3", [3], bytes(3))), "w:kept' is of the"),
    "odd type, dense": (parts(bias=("U16", [4], bytes(8))), "bias' is of the"),
    "fp32 in fp16": (said(dtype="fp16"), "is F32 in a file of fp16"),
    # Names.
    "no bits": (parts(mask=None), "w:mask' is missing"),
    "no values": (parts(kept=None), "w:kept' is missing"),
    "nothing packed": (said(packed={}), "belongs to no tensor"),
    "surplus bits": (parts(**{"x:mask": ("U8", [1], b"\0")}), "x:mask' belongs to no tensor"),
    "dense and packed": (parts(w=("F32", [2], bytes(8))), "'w' is a duplicate"),
    "packed twice": (twice("packed", {"w": [3, 3]}), "'packed' is a duplicate"),
    "version twice": (twice("version", 1), "'version' is a duplicate"),
    "a name twice": (
        file_of(header=f'{{"__metadata__":{{"parp-sparse":"{{}}"}},"a":{ENTRY},"a":{ENTRY}}}'),
        "'a' is a duplicate",
    ),
    # Headers.
    "no header": (file_of()[:8], UNREADABLE),
    "header beyond the file": (file_of(length=2_000), "a header of 2,000 bytes where"),
    "header of 2^63": (file_of(length=2**63), "a header of 9,223"),
    "no JSON": (file_of(header="{"), UNREADABLE),
    "deep": (file_of(header='{"__metadata__":' + '{"a":' * 50_000), "nested too deeply"),
    "metadata no mapping": (file_of(header='{"__metadata__":[]}'), UNREADABLE),
    "metadata no text": (file_of(header='{"__metadata__":{"parp-sparse":{}}}'), UNREADABLE),
    "no metadata": (file_of(header='{"__metadata__":{}}', tensors={}), "but no sparse model"),
    "another program's": (file_of(key="format"), "but no sparse model"),
    "no tensors": (file_of(tensors={}), "is missing"),
    "negative offsets": (entry("F32", [1], [-4, 0]), UNREADABLE),
    "a terabyte of nothing": (entry("F32", [10**12], [0, 8]), UNREADABLE),
    "offsets beyond": (entry("U8", [99], [0, 99]), UNREADABLE),
    "a hole": (entry("U8", [9], [1, 10]), UNREADABLE),
    # What it says about itself.
    "no JSON inside": (file_of("parp"), UNREADABLE),
    "nothing inside": (file_of(""), UNREADABLE),
    "a list": (file_of([]), "is no object"),
    "deep inside": (file_of("[" * 50_000), "nested too deeply"),
    "not so deep": (said(cfg={"a": json.loads("[" * 99 + "]" * 99)}), "too deeply"),
    "NaN": (said(updates=float("nan")), "NaN is no JSON"),
    "infinite": (file_of(json.dumps(ABOUT).replace("7", "1e999")), "infinite"),
    "half a letter": (file_of(json.dumps(about(cfg={"\ud800": 1}))), "surrogates"),
    **{
        f"version {version!r}": (said(version=version), f"its version is {version!r}")
        for version in (None, 1.0, "1", True)
    },
    "version 2": (said(version=2), "format version 2, .* update parp-fairseq"),
    "version 0": (said(version=0), "format version 0"),
    "dtype": (said(dtype="fp8"), "its dtype is 'fp8'"),
    "dtype a list": (said(dtype=["fp32"]), "its dtype is"),
    "packed a list": (said(packed=["w"]), "its packed is no object"),
    "updates": (said(updates=-1), "its updates are -1"),
    "updates true": (said(updates=True), "its updates are True"),
    "no cfg": (said(cfg=None), "its cfg.model is no object"),
    "cfg.model": (said(cfg={**SETTINGS, "model": []}), "its cfg.model is no object"),
    "cfg.task": (said(cfg={**SETTINGS, "task": 1}), "its cfg.task is no object"),
    "labels": (said(cfg={**SETTINGS, "task": {"labels": "/../../evil"}}), "task.labels are"),
    "labels a list": (said(cfg={**SETTINGS, "task": {"labels": ["ltr"]}}), "task.labels are"),
    "code": (said(cfg={**SETTINGS, "model": {"conv_feature_layers": "exit(1)"}}), "which is code"),
    "no dictionary": (said(parp_symbols=None), "no list of symbols"),
    "dictionary a list": (said(parp_symbols=[1]), "no list of symbols"),
    "numbers for symbols": (symbols([1], [1]), "no list of symbols"),
    "text for symbols": (symbols("E|", [1, 2]), "no list of symbols"),
    "texts for counts": (symbols(["E"], ["1"]), "no list of counts"),
    "counts true": (symbols(["E"], [True]), "no list of counts"),
    "a count too few": (symbols(["E", "|"], [1]), "no list of counts"),
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


def test_unpack_on_its_own():
    def unpacked(byte, shape):
        return unpack(torch.tensor([byte], dtype=torch.uint8), torch.tensor([1.0, 2.0]), shape)

    assert unpacked(0b10100000, (1, 3)).tolist() == [[1.0, 0.0, 2.0]]
    for byte, shape, reason in (
        (0b10110000, (1, 3), "after the last entry"),
        (0b10100001, (1, 3), "after the last entry"),
        (0b10100000, (-1, -3), "do not hold a mask"),
        (0b10000000, (8,), "2 values for 1"),
    ):
        with pytest.raises(ValueError, match=reason):
            unpacked(byte, shape)
