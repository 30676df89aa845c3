"""Any bytes at all: the reader gives what the file says or one UserError, never anything else."""

from __future__ import annotations

import copy
import json
import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading_sparse import example_reader
from safetensors import SafetensorError
from small_model import random_state, save
from small_sparse import ABOUT, ABOUT_1, TENSORS, TENSORS_1, file_of

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.sparse_file import read_sparse
from parp_fairseq.errors import UserError
from parp_fairseq.export.sparse_export import export_sparse

GOOD = [(ABOUT_1, TENSORS_1), (ABOUT, TENSORS)]
"""By version."""
BYTES = [file_of(*good) for good in GOOD]
MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))

flips = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)
odd = st.sampled_from(
    [None, True, -1, 0, 2, 10**12, 2**63, 10**40, 1.5, "", "w", "F32", [], [9], {}, {"w": [3, 3]}]
)
leaves = st.one_of(odd, st.integers(), st.floats(), st.text(max_size=4))
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def real(folder):
    """A sparse file as `parp export` writes it, of three levels."""
    state = random_state(0.5, width=16)
    nested = {"method": "nested", "sparsity": 0.5, "sparsities": [0.7, 0.9]}
    state["cfg"]["task"]["prune"] = nested
    out = folder / "real.safetensors"
    export_sparse(save(state, folder / "c.pt"), out, values="int8")
    return out.read_bytes()


def check(folder, content, reader=read_sparse):
    """Read bytes: what comes back has the shapes that they claim, anything else is one line."""
    path = folder / "fuzzed.safetensors"
    path.write_bytes(content)
    try:
        state = reader(path)
    except UserError as error:
        line = str(error)
        assert str(path) in line and "\n" not in line and line.isprintable() and len(line) < 1_000
        return None
    if reader is read_sparse:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["parp-sparse"])
        for name, tensor in state["model"].items():
            said = about["packed"].get(name) or header[name]
            assert list(tensor.shape) == (said["shape"] if isinstance(said, dict) else said)
    try:
        example_reader(path)
    except (ValueError, SafetensorError):
        pytest.fail("the small reader refuses what the reader takes")
    return state


def places(item, way=()):
    """The ways to all values inside of lists and dictionaries."""
    pairs = item.items() if isinstance(item, dict) else enumerate(item)
    for key, inner in list(pairs):
        yield (*way, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*way, key))


def rewritten(good, place, value):
    """A good file with one value of its metadata or header replaced; `place` counts them."""
    about, tensors = good
    made = {
        "about": copy.deepcopy(about),
        "tensors": {name: [dtype, list(shape)] for name, (dtype, shape, _) in tensors.items()},
    }
    ways = [way for way in places(made) if way[0] == "about" or len(way) > 2]
    *way, last = ways[place % len(ways)]
    holder = made
    for key in way:
        holder = holder[key]
    # A copy: Hypothesis draws some of its lists again.
    holder[last] = copy.deepcopy(value)
    named = {name: (*made["tensors"][name], data) for name, (*_, data) in tensors.items()}
    return file_of(made["about"], named)


def test_cut_at_every_byte_of_the_header(folder, real):
    path = folder / "cut.safetensors"
    for content in (*BYTES, real):
        path.write_bytes(content)
        for cut in reversed(range(8 + int.from_bytes(content[:8], "little") + 1)):
            os.truncate(path, cut)
            with pytest.raises(UserError, match=r"cut\.safetensors: not a readable sparse model"):
                read_sparse(path)


def flipped(content, flips, within):
    changed = bytearray(content)
    for place, value in flips:
        changed[place % within] = value
    return bytes(changed)


@MANY
@given(st.sampled_from(BYTES), flips)
def test_bytes_that_changed(folder, good, flips):
    check(folder, flipped(good, flips, len(good)))


@settings(parent=MANY, max_examples=150)
@given(flips)
def test_bytes_of_a_real_header_that_changed(folder, real, flips):
    content = flipped(real, flips, 8 + int.from_bytes(real[:8], "little"))
    check(folder, content, open_finetuned if flips[0][0] % 4 == 0 else read_sparse)


@MANY
@given(st.sampled_from(GOOD), st.integers(0, 1_000), anything)
def test_values_that_are_something_else(folder, good, place, value):
    check(folder, rewritten(good, place, value))


@settings(parent=MANY, max_examples=100)
@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes(folder, header, data):
    check(folder, header)
    check(folder, len(header).to_bytes(8, "little") + header + data)


def test_no_memory_is_asked_for(folder):
    """In an address space with no room for what a small file claims."""
    claims = [[10**12, 1], [10**6, 10**6], [2**31, 2**31], [2**62, 4]]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    try:
        for claim in claims:
            for (said, tensors), w in zip(GOOD, (claim, {"shape": claim, "low": [7, 0]})):
                assert check(folder, file_of({**said, "packed": {"w": w}}, tensors)) is None
                bias = ("F32", claim, tensors["bias"][2])
                assert check(folder, file_of(said, {**tensors, "bias": bias})) is None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
