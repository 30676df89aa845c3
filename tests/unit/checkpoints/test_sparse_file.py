"""The sparse file: exact, as small as it says, read by others, and what its page says it is."""

from __future__ import annotations

import copy
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_sparse import EXAMPLE, example_reader
from safetensors import safe_open
from safetensors.torch import save as save_tensors
from safetensors.torch import save_file
from small_model import bits, random_state, save
from small_sparse import DENSE, SPARSER, about

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import is_sparse
from parp_fairseq.checkpoints.sparse_file import MAX_DIMENSIONS, VERSION, read_sparse
from parp_fairseq.checkpoints.strict_json import MAX_DEPTH
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import build_model
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.sparse_export import _pack, export_sparse

DOCS = Path(__file__).resolve().parents[3] / "docs" / "sparse-format.md"


@pytest.fixture(scope="module")
def state():
    """A subnetwork at 90%, with odd values among its weights."""
    made = random_state(width=64)
    fc1 = made["model"]["w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"]
    fc1[0, :4] = torch.tensor([-0.0, -3e4, 1e-42, -1e-42])
    return made


@pytest.fixture(scope="module")
def files(state, tmp_path_factory):
    """Its checkpoint, its sparse file, and what the export said; fp16 and int8 next to it."""
    folder = tmp_path_factory.mktemp("sparse")
    checkpoint, out = save(state, folder / "checkpoint.pt"), folder / "fp32.safetensors"
    for values in ("fp16", "int8"):
        export_sparse(checkpoint, folder / f"{values}.safetensors", values=values)
    return checkpoint, out, export_sparse(checkpoint, out)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    sparsities=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4, unique=True),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
)
def test_every_level_comes_back_bit_by_bit(seed, rows, columns, sparsities, dtype):
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(rows, columns, generator=generator, dtype=torch.float32).to(dtype)
    tensor[torch.rand(rows, columns, generator=generator) < 0.1] = -0.0
    tensor[torch.rand(rows, columns, generator=generator) < 0.01] = float("nan")
    shares = torch.rand(rows, columns, generator=generator)
    levels = sorted(sparsities, reverse=True)
    absent = sum((shares < level).to(torch.uint8) for level in levels)
    parts, lows = _pack(tensor, absent, len(levels))
    if parts is None:
        gone = int((absent == len(levels)).sum()) * tensor.element_size()
        assert not ((absent > 0) & (absent < len(levels))).any()
        assert gone < tensor.numel() / 7 + 512
        return
    said = {
        "levels": levels,
        "dtype": "fp32",
        "packed": {"w": {"shape": [rows, columns], "low": lows}},
    }
    tensors = {"w" + name: content for name, content in parts.items()}
    with tempfile.NamedTemporaryFile() as file:
        file.write(save_tensors(tensors, metadata={"parp-sparse": json.dumps(about(**said))}))
        file.flush()
        for number, level in enumerate(levels):
            again = read_sparse(file.name, level)["model"]["w"]
            expected = tensor.where(absent <= number, torch.zeros_like(tensor))
            assert again.dtype == dtype
            assert torch.equal(again.view(torch.uint8), expected.view(torch.uint8))


@pytest.mark.legacy
def test_the_very_same_weights_come_back(files, state):
    checkpoint, path, summary = files
    assert is_sparse(path) and not is_sparse(checkpoint) and not is_sparse(path.parent / "none")
    read = read_sparse(path)
    assert set(read["model"]) == set(state["model"])
    for name, tensor in state["model"].items():
        assert read["model"][name].dtype == tensor.dtype
        assert read["model"][name].shape == tensor.shape
        assert bits(read["model"][name]) == bits(tensor), name
    assert read["task_state"] == state["task_state"]
    assert summary["bytes"] == path.stat().st_size
    assert read["cfg"]["task"] == {
        "_name": "parp",
        "data": "/gone",
        "labels": "ltr",
        "normalize": False,
        "prune": {"method": "parp"},
    }
    assert read["cfg"]["model"]["w2v_args"]["model"] == state["cfg"]["model"]["w2v_args"]["model"]
    again = path.with_name("again.safetensors")
    export_sparse(checkpoint, again)
    assert again.read_bytes() == path.read_bytes()
    # Others may read it, too.
    assert path.stat().st_mode == checkpoint.stat().st_mode


@pytest.mark.parametrize(("values", "size"), [("fp32", 4), ("fp16", 2), ("int8", 1)])
def test_size_is_what_must_be_held(tmp_path, values, size):
    made = random_state(width=256, sparsity=0.7)
    checkpoint = save(made, tmp_path / "checkpoint.pt")
    out = tmp_path / "model.safetensors"
    summary = export_sparse(checkpoint, out, values=values)
    must = 0.0
    for name, tensor in made["model"].items():
        if ".encoder.layers." in name and name.endswith("weight") and tensor.dim() == 2:
            # The mask's entropy at 70%.
            must += 0.881 * tensor.numel() / 8 + int(tensor.count_nonzero()) * size
        else:
            must += tensor.numel() * (size if tensor.dim() > 2 else max(size, 2))
    assert must <= summary["bytes"] <= 1.07 * must
    assert summary["entries"] >= 12 * 256 * 256 and summary["levels"] == [0.7]
    for name, tensor in read_sparse(out)["model"].items():
        before = made["model"][name]
        assert ".layers." not in name or torch.equal(tensor == 0, before == 0), name
        if values == "fp16":
            assert torch.equal(tensor, before.half().float())
        elif values == "int8" and tensor.dim() > 1 and len(tensor) > 1:
            steps = before.view(len(tensor), -1).abs().amax(1) / 127
            off = (tensor - before).view(len(tensor), -1).abs()
            near = before.view(len(tensor), -1).abs() < steps[:, None] / 2
            # What is kept stays other than zero.
            assert (off <= steps[:, None] * (0.501 + 0.5 * near)).all(), name


@pytest.mark.parametrize("values", ["fp32", "fp16", "int8"])
def test_nested_subnetworks_are_the_checkpoints(tmp_path, values):
    made = random_state(width=64, sparsity=0.5)
    prune = {"method": "nested", "sparsity": 0.5, "sparsities": [0.7, 0.9]}
    made["cfg"]["task"]["prune"] = prune
    # What rounds to zero is kept, and goes with its level.
    made["model"]["w2v_encoder.w2v_model.encoder.layers.1.fc2.weight"][:, :40] *= 1e-6
    checkpoint = save(made, tmp_path / "c.pt")
    made["model"] = dict(open_finetuned(checkpoint, sparsity=0.5).weights)
    checkpoint, out = save(made, tmp_path / "cut.pt"), tmp_path / "model.safetensors"
    assert export_sparse(checkpoint, out, values=values)["levels"] == [0.9, 0.7, 0.5]
    for sparsity in (None, 0.5, 0.7, 0.8, 0.9, 0.95):
        found, expected = (open_finetuned(file, sparsity=sparsity) for file in (out, checkpoint))
        assert found.sparser == expected.sparser
        for name, tensor in expected.weights.items():
            if values == "fp32":
                assert bits(found.weights[name]) == bits(tensor), (sparsity, name)
            elif ".layers." in name and sparsity not in (0.8, 0.95):  # Rounded values are ranked.
                assert torch.equal(found.weights[name] == 0, tensor == 0), (sparsity, name)
        arrays = example_reader(out, sparsity)
        ours = read_sparse(out, sparsity)["model"]
        assert set(arrays) == set(ours)
        for name, array in arrays.items():
            assert np.array_equal(array.astype(np.float32), ours[name].numpy()), name
    refused("--sparsity 0.4 is below its own, 0.5, 0.7, 0.9", open_finetuned, out, sparsity=0.4)
    # One level of it, and all of it again.
    one, again = tmp_path / "one.safetensors", tmp_path / "again.safetensors"
    assert export_sparse(out, one, values=values, sparsity=0.9)["levels"] == [0.9]
    export_sparse(out, again, values=values)
    for file, sparsity in ((one, None), (again, 0.7)):
        weights = open_finetuned(file).weights if file == one else read_sparse(file, 0.7)["model"]
        expected = read_sparse(out, sparsity or 0.9)["model"]
        assert all((weights[n] == 0).equal(expected[n] == 0) for n in expected if ".layers." in n)

    # The parts of denser levels are not even looked at.
    content = bytearray(out.read_bytes())
    length = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:length]).items():
        if ":1:" in name or ":2:" in name:
            begin, end = (length + at for at in entry["data_offsets"])
            content[begin:end] = b"\0" * (end - begin)
    expected = read_sparse(out, 0.9)["model"]
    gone = tmp_path / "gone.safetensors"
    gone.write_bytes(content)
    assert all(torch.equal(t, expected[n]) for n, t in read_sparse(gone, 0.9)["model"].items())
    refused("values for 0 entries kept", read_sparse, gone, 0.7)


def refused(pattern, call, *arguments, **options):
    with pytest.raises(UserError, match=pattern) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cfg", "reason"),
    [
        ({"w2v_args": None}, "does not hold its architecture"),
        ({"odd": float("nan")}, "cannot hold its settings .*not JSON compliant"),
        ({"odd": {1: {2}}}, "cannot hold its settings .*set"),
        ({"odd": 10**30}, "cannot hold its settings .*digits"),
    ],
)
def test_settings_that_no_file_holds(state, tmp_path, cfg, reason):
    changed = {**state, "cfg": {**state["cfg"], "model": {**state["cfg"]["model"], **cfg}}}
    out = tmp_path / "out" / "model.safetensors"
    refused(reason, export_sparse, save(changed, tmp_path / "c.pt"), out)
    assert not out.parent.exists()


def test_what_the_values_do_not_fit(state, files, tmp_path):
    large = copy.deepcopy(state)
    large["model"]["w2v_encoder.proj.weight"][0, 0] = 1e6
    out = tmp_path / "model.safetensors"
    checkpoint = save(large, tmp_path / "c.pt")
    refused("proj.weight holds values beyond fp16", export_sparse, checkpoint, out, values="fp16")
    refused("its dtype is 'int4'", export_sparse, files[0], out, values="int4")
    assert not out.exists()
    with safe_open(str(files[1]), framework="pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        del tensors["w2v_encoder.proj.bias"]
        save_file(tensors, str(out), metadata=handle.metadata())
    refused("cannot build its model", build_model, open_finetuned(out))


def test_nothing_is_left_of_a_file_that_cannot_be_written(files, tmp_path):
    checkpoint, path, _ = files
    refused("is a folder", export_sparse, checkpoint, tmp_path)
    out, new = tmp_path / "kept.safetensors", tmp_path / "a" / "new.file"
    before = path.read_bytes()
    out.write_bytes(before)
    refused("is a file, not", export_sparse, checkpoint, out / "model.safetensors")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, limit[1]))
    try:
        # As on a full disk, writing stops in the middle.
        unfinished = r"kept.* cannot be written \(File too large; .* MiB"
        refused(unfinished, export_sparse, checkpoint, out, force=True)
        for export in (export_sparse, export_fairseq):
            refused(r"new.file cannot be written \(.*; .* MiB", export, checkpoint, new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.safetensors"]
    assert out.read_bytes() == before


@pytest.fixture(scope="module")
def text():
    return DOCS.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def documented(text):
    """The bytes of the worked example, read out of the page."""
    (dump,) = re.findall(r"```hexdump\n(.*?)```", text, re.S)
    content = b""
    for line in dump.strip().split("\n"):
        at, rest = line.split("  ", 1)
        assert int(at, 16) == len(content)
        content += bytes.fromhex(rest[:47])
    return content


def test_the_example_is_read_as_the_page_says(documented, text, tmp_path):
    path = tmp_path / "example.safetensors"
    path.write_bytes(documented)
    for sparsity, w in ((None, DENSE), (0.5, DENSE), (0.7, DENSE), (0.8, SPARSER), (1, SPARSER)):
        state = read_sparse(path, sparsity)
        arrays = example_reader(path, sparsity)
        for tensors in (state["model"], {k: torch.from_numpy(v) for k, v in arrays.items()}):
            assert set(tensors) == {"bias", "w"}
            assert tensors["w"].tolist() == w.tolist()
            assert tensors["bias"].tolist() == [0.5, 0.25]
    assert state["task_state"]["parp_symbols"] == {"symbols": ["|", "É"], "counts": [5, 3]}
    # Where the page says that things lie.
    length = int.from_bytes(documented[:8], "little")
    assert f"the header's length, {length:#x}." in text
    for name, entry in json.loads(documented[8 : 8 + length]).items():
        if "data_offsets" in entry and name != "w:1:low":
            assert f"{8 + length + entry['data_offsets'][0]:04x}: `{name}`" in text
    assert f"at most\n{MAX_DEPTH} levels deep" in text
    assert (
        f"1 to {MAX_DIMENSIONS} integers" in text and f"| `version` | integer | {VERSION} |" in text
    )


def test_the_page_names_every_field(text, files):
    with safe_open(str(files[1]), framework="pt") as handle:
        (written,) = handle.metadata().values()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == set(json.loads(written))
    assert files[1].read_bytes().startswith(b'{"__metadata__":{"parp-sparse":', 8)


def test_the_small_reader_runs_where_torch_is_not(files, state, tmp_path):
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 90
    for gone in ("torch", "parp_fairseq", "fairseq"):
        (tmp_path / f"{gone}.py").write_text(f"raise ImportError('no {gone} here')\n")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(files[1])],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\S+) +(\(.*\)) +[\d.]+%$", done.stdout, re.M)
    assert found == [(name, str(tuple(t.shape))) for name, t in sorted(state["model"].items())]
