"""What can be told without torch is told before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from parp_fairseq.checkpoints.shipped import TINY_MODEL
from parp_fairseq.evaluation import decode

# Runs each command in turn, and prints what it said and what it had imported.
PROGRAM = """
import contextlib, io, json, sys
from parp_fairseq import cli

results = []
for command in json.load(sys.stdin):
    sys.argv = ["parp", *command]
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    heavy = [name for name in ("torch", "fairseq", "matplotlib", "rich") if name in sys.modules]
    results.append([code, error.getvalue(), heavy])
print(json.dumps(results))
"""

BAD = {
    "mask make tiny --sparsity 2 -o OUT": "--sparsity is 2.0",
    "mask make tiny --sparsity 0.5 --method random --seed 18446744073709551616 -o OUT": (
        "--seed is 18446744073709551616; give one from -2^63 to 2^64 - 1"
    ),
    "mask make tiny --sparsity half -o OUT": "Invalid value for '--sparsity'",
    "mask make tiny --sparsity 0.5 --method x -o OUT": "--method is 'x'",
    "mask make tiny --sparsity 0.5 --granularity x -o OUT": "--granularity is 'x'",
    "mask make none.pt --sparsity 0.5 -o OUT": "none.pt: no such checkpoint",
    "mask make notes.txt --sparsity 0.5 -o OUT": "notes.txt is not a checkpoint",
    "mask make tiny --sparsity 0.5 -o notes.txt": "notes.txt is there and is not a mask file",
    "mask info none": "none: no such mask, checkpoint or run folder",
    "mask iou none.pt tiny": "none.pt: no such mask",
    "mask iou tiny tiny --png notes.txt": "notes.txt is there and is not a PNG",
    "inspect none.pt": "none.pt: no such checkpoint",
    "inspect tiny --against none": "--against none: no such mask or checkpoint",
    "inspect tiny --png notes.txt": "notes.txt is there and is not a PNG",
    "export none.pt --format fairseq -o OUT": "none.pt: no such checkpoint",
    "export none.pt --format sparse -o OUT": "none.pt: no such checkpoint",
    "export none.pt --format hf -o OUT": "none.pt: no such checkpoint",
    "export none.pt --format onnx -o OUT": "none.pt: no such checkpoint",
    "export tiny.pt --format onnx -o notes.txt": "notes.txt is a file, not a folder",
    "export c.pt --format hf --dtype fp16 -o OUT": "--dtype goes with --format sparse",
    "export tiny.pt --format hf -o notes.txt": "notes.txt is a file, not a folder",
    "repair none.pt -o OUT": "none.pt: no such checkpoint",
    "eval none.pt --data data --split a": "none.pt: no such checkpoint",
    "eval tiny.pt --data none --split a": "none: no such folder",
    "eval tiny.pt --data data --split b": "b.tsv: no such manifest; the splits in data are: a",
    "eval tiny.pt --data data --split a --split a": "the split a is given twice",
    "eval tiny.pt --data data --split a --device gpuu": "device gpuu: use cpu, cuda",
    "eval tiny.pt --data data --split a --device cuda:x": "device cuda:x: use cpu, cuda",
    "eval tiny.pt --data data --split a --engine x": "engine x: use one of",
    "eval tiny.pt --data data --split a --engine sparse --device cuda": "works on the CPU",
    "eval tiny.pt --data data --split a --max-tokens 0": "--max-tokens is 0",
    "eval tiny.pt --data data --split a --max-tokens 9223372036854775808": (
        "--max-tokens is 9223372036854775808, expected 9223372036854775807 or less"
    ),
    "eval tiny.pt --data data --split a --batch-size 99999999999999999999999": "--batch-size is 99",
    "eval tiny.pt --data data --split a --workers -1": "--workers is -1",
    "eval tiny.pt --data data --split a --w2v-path none.pt": "none.pt: no such checkpoint",
    "eval tiny.pt --data data --split a --json notes.txt": "notes.txt is there and is not",
    "configs show parp_10mni": "did you mean parp_10min",
    "configs show parp_10min --gpus 3": "--gpus 3",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each bad command said: command → exit code, error, heavy imports."""
    folder = tmp_path_factory.mktemp("cheap")
    (folder / "data").mkdir()
    (folder / "data" / "a.tsv").write_text("/gone\n")
    (folder / "notes.txt").write_text("mine\n")
    (folder / "tiny.pt").symlink_to(TINY_MODEL)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([command.split() for command in BAD]),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["data", "notes.txt", "tiny.pt"]
    return dict(zip(BAD, json.loads(done.stdout)))


@pytest.mark.parametrize("command", BAD)
def test_before_anything_heavy_is_imported(results, command):
    code, error, heavy = results[command]
    assert code == 2 and BAD[command] in error, error
    assert "Traceback" not in error
    assert heavy == []


def test_repeated_splits_add_up(parp, monkeypatch, tmp_path):
    asked = []

    def evaluate_all(*_, splits, **__):
        asked.extend(splits)
        return iter(())

    monkeypatch.setattr(decode, "evaluate_all", evaluate_all)
    parp("eval", "c.pt", "--data", tmp_path, "--split", "a,b", "--split", "c", "--split", "d, e")
    assert asked == ["a", "b", "c", "d", "e"]
