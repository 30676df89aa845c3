"""docs/sparse-format.md and examples/read_sparse.py say and read what the program writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from reading_sparse import EXAMPLE, example_reader
from safetensors import safe_open
from small_model import bits, random_state, save

from parp_fairseq.checkpoints.sparse_file import MAX_DIMENSIONS, VERSION, read_sparse
from parp_fairseq.checkpoints.strict_json import MAX_DEPTH
from parp_fairseq.export.sparse_export import export_sparse

DOCS = Path(__file__).resolve().parents[3] / "docs" / "sparse-format.md"


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("format")
    state = random_state(width=64)
    fc1 = state["model"]["w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"]
    fc1[0, :4] = torch.tensor([-0.0, -3e4, 1e-42, -1e-42])
    checkpoint = save(state, folder / "c.pt")
    export_sparse(checkpoint, folder / "fp32.safetensors")
    export_sparse(checkpoint, folder / "fp16.safetensors", dtype="fp16")
    return state, folder


def test_the_example_is_read_as_the_page_says(documented, text, tmp_path):
    path = tmp_path / "example.safetensors"
    path.write_bytes(documented)
    w = np.array([[0, 1.5, 0], [0, 0, -2], [-0.0, 0, 0]], np.float32)
    state = read_sparse(path)
    arrays = example_reader(path)
    for tensors in (state["model"], {k: torch.from_numpy(v) for k, v in arrays.items()}):
        assert set(tensors) == {"bias", "w"}
        assert bits(tensors["w"]) == w.tobytes()
        assert tensors["bias"].tolist() == [0.5, 0.25]
    assert state["task_state"]["parp_symbols"] == {"symbols": ["|", "É"], "counts": [5, 3]}
    # Where the page says that things lie.
    length = int.from_bytes(documented[:8], "little")
    assert f"the header's length, {length:#x}." in text
    for name, begin in (("bias", 0), ("w:kept", 8), ("w:mask", 20)):
        assert f"{8 + length + begin:04x}: `{name}`" in text
    assert f"at most\n{MAX_DEPTH} levels deep" in text
    assert (
        f"1 to {MAX_DIMENSIONS} integers" in text and f"| `version` | integer | {VERSION} |" in text
    )


def test_the_page_names_every_field(text, exported):
    with safe_open(str(exported[1] / "fp32.safetensors"), framework="pt") as handle:
        (written,) = handle.metadata().values()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == set(json.loads(written))
    content = (exported[1] / "fp32.safetensors").read_bytes()
    assert content.startswith(b'{"__metadata__":{"parp-sparse":', 8)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_the_small_reader_reads_the_same(dtype, exported):
    state, folder = exported
    path = folder / f"{dtype}.safetensors"
    arrays, ours = example_reader(path), read_sparse(path)["model"]
    assert set(arrays) == set(ours) == set(state["model"])
    for name, array in arrays.items():
        if dtype == "fp32":
            assert array.tobytes() == bits(ours[name]) == bits(state["model"][name]), name
        elif array.dtype == np.float16:
            assert np.array_equal(array.astype(np.float32), ours[name].numpy()), name
            assert np.array_equal(array, state["model"][name].numpy().astype(np.float16)), name


def test_the_small_reader_runs_where_torch_is_not(exported, tmp_path):
    state, folder = exported
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 50
    for gone in ("torch", "parp_fairseq", "fairseq"):
        (tmp_path / f"{gone}.py").write_text(f"raise ImportError('no {gone} here')\n")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(folder / "fp32.safetensors")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\S+) +(\(.*\)) +[\d.]+%$", done.stdout, re.M)
    assert found == [(name, str(tuple(t.shape))) for name, t in sorted(state["model"].items())]
