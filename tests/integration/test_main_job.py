"""The literal command of the README, as a user gives it, and stock fairseq on what it leaves."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch
from running import PRUNABLE, entries, zeros
from stock_infer import run_fairseq_infer

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def job(main_job):
    """The checkpoints of the run."""
    return main_job / "runs" / "parp_10min" / "parp_0.5_seed2337" / "checkpoints"


@pytest.fixture(scope="module")
def plain_python(tmp_path_factory):
    """The Python of an environment that has everything but this package."""
    folder = tmp_path_factory.mktemp("plain")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    for entry in Path(torch.__file__).parents[1].iterdir():
        if "parp" not in entry.name and entry.name != "hydra_plugins":
            (site / entry.name).symlink_to(entry)
    python = folder / "bin" / "python"
    missing = subprocess.run(
        [str(python), "-c", "import parp_fairseq"], cwd=folder, capture_output=True
    )
    assert missing.returncode != 0
    return python


@pytest.mark.legacy
def test_masked_entries_are_zero_on_disk(job):
    state = torch.load(job / "checkpoint_best.pt", weights_only=True)
    weights = {n: t for n, t in state["model"].items() if PRUNABLE.search(n) and t.dim() == 2}
    assert len(weights) == 36
    assert zeros(weights) == round(0.5 * entries(weights))
    assert {path.name for path in job.iterdir()} == {
        ".lock",
        "checkpoint_best.pt",
        "checkpoint_last.pt",
        "mask.safetensors",
        "mask_first.safetensors",
        "run.json",
        "sparsity.json",
    }


@pytest.mark.legacy
def test_stock_infer_decodes_it_without_the_plugin(job, data, plain_python, tmp_path):
    checkpoint = job / "checkpoint_best.pt"
    theirs = run_fairseq_infer(
        checkpoint,
        data,
        "test-clean",
        tmp_path / "infer",
        python=plain_python,
        overrides=("dataset.required_batch_size_multiple=1",),
    )
    command = [str(BIN / "parp"), "eval", str(checkpoint), "--data", str(data)]
    ours = subprocess.run(
        [*command, "--split", "test-clean", "--json", "-"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert ours.returncode == 0, ours.stderr[-2000:]
    score = json.loads(ours.stdout)[0]
    assert (score["errors"], score["length"]) == (theirs["errors"], theirs["length"])
    assert len(theirs["files"]["ref.word"]) == 8
