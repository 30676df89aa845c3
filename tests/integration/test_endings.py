"""Whatever ends a training ends it in one line, and leaves whole files."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytestmark = pytest.mark.legacy

BIN = Path(sys.executable).parent
NAMES = ("checkpoint_best.pt", "checkpoint_last.pt")
EVERY = ("checkpoint.save_interval_updates=1", "dataset.validate_interval_updates=1")


def ended(run, code, *expected):
    """A run that ended in one line, the last."""
    assert run.code == code, run.tail
    assert run.error, run.tail
    assert run.output.splitlines()[-1] == run.error
    for words in expected:
        assert words in run.error
    assert "Traceback" not in run.output
    assert not list(run.folder.rglob("*.part*"))
    assert not list(run.folder.rglob("crash.pt"))


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of so many megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mounted(size):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root can mount a file system")
        return folder

    yield mounted
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


@pytest.mark.parametrize(
    ("size", "names"),
    [
        # The first file of the first save fits, and its copy does not.
        (30, {"checkpoint_1_1.pt"}),
        # All of the first save fits, and nothing more.
        (68, {"checkpoint_1_1.pt", *NAMES}),
    ],
)
def test_a_full_disk(trainer_in, disk, size, names):
    run = trainer_in(disk(size))(*EVERY, "checkpoint.keep_interval_updates=1")
    ended(run, 2, "cannot be written", "No space left on device")
    assert {path.name for path in (run.folder / "checkpoints").glob("*.pt")} == names
    for name in names:
        assert run.checkpoint(name)["optimizer_history"][-1]["num_updates"] == 1


def test_a_save_that_fails_leaves_the_checkpoints_before_it(train):
    first = train("optimization.max_update=2", *EVERY)
    assert first.code == 0, first.tail
    before = {name: (first.folder / "checkpoints" / name).read_bytes() for name in NAMES}
    options = ("optimization.max_update=4", "task.resume_with_changes=true", *EVERY)
    run = train(*options, largest=4_000_000)
    ended(run, 2, "checkpoint_", "cannot be written", "File too large")
    assert before == {name: (run.folder / "checkpoints" / name).read_bytes() for name in NAMES}
    again = train(*options)
    assert again.code == 0, again.tail


def test_ctrl_c(trainer_in, tmp_path):
    trainer = trainer_in(tmp_path)
    options = ("optimization.max_update=3000", "dataset.num_workers=2")
    process = trainer(*options, wait=False)
    record = tmp_path / "run" / "checkpoints" / "run.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive() and not record.exists():
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    run = trainer.ended(process)
    assert run.code == 130, run.tail
    assert run.output.splitlines()[-1] == "stopped; rerun the same command to begin it again"
    assert "Traceback" not in run.output


def test_audio_that_holds_nan(train, data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    lines = (folder / "train.tsv").read_text().splitlines()
    frames = int(lines[5].split("\t")[1])
    samples = np.full(frames, np.nan, dtype=np.float32)
    soundfile.write(folder / "nan.wav", samples, 16000, subtype="FLOAT")
    lines[5] = f"{folder / 'nan.wav'}\t{frames}"
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    run = train(f"task.data={folder}", "dataset.num_workers=1")
    ended(run, 2, f"{folder / 'train.tsv'} row 6: {folder / 'nan.wav'} holds NaN or infinity")


def test_a_loss_that_is_not_finite(train):
    run = train("optimization.lr=[1e30]", "lr_scheduler.phase_ratio=[0,0.5,0.5]")
    ended(run, 2, "the loss or its gradients are not finite")
    assert "Detected nan" not in run.output


def test_a_checkpoint_of_another_model(train, tmp_path):
    first = train("optimization.max_update=2")
    assert first.code == 0, first.tail
    state = first.checkpoint()
    state["model"]["w2v_encoder.proj.weight"] = torch.zeros(5, 128)
    torch.save(state, tmp_path / "other.pt")
    shutil.rmtree(first.folder)
    run = train(f"checkpoint.finetune_from_model={tmp_path / 'other.pt'}")
    ended(run, 2, "other.pt: it is of another model", "w2v_encoder.proj.weight")
