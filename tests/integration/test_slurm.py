"""Runs as jobs of Hydra's submitit launcher: requeued, they resume."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("submitit")
pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

PROGRAM = str(Path(sys.executable).with_name("fairseq-hydra-train"))
# Saved every fourth update, and long enough to be stopped before its end.
RUN = (
    "--config-name",
    "parp_demo",
    "common.user_dir=parp_fairseq",
    "model.w2v_path=tiny",
    "dataset.valid_subset=dev-other",
    "dataset.max_tokens=160000",
    "optimization.max_update=12",
    "task.prune.interval=3",
    "dataset.validate_interval_updates=0",
    "checkpoint.save_interval_updates=4",
)
CHECKPOINTS = "runs/parp_demo/parp*/checkpoints"
LOCAL = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=9")


def jobs_in(folder):
    """Processes of jobs that were sent from a folder."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            command = (place / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in command and any(str(folder) in part for part in command):
            found.append(int(place.name))
    return found


def weights(folder):
    (file,) = folder.glob(f"{CHECKPOINTS}/checkpoint_last.pt")
    return torch.load(file, weights_only=True)["model"]


def start(folder, data, *more):
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    with open(folder / "output.txt", "w") as log:
        return subprocess.Popen(
            [PROGRAM, *(["-m"] if more else []), *RUN, f"task.data={data}", *more],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**environment, "OMP_NUM_THREADS": "1"},
        )


def wait(child, folder, condition):
    """Until the condition holds; the child must live that long."""
    deadline = time.monotonic() + 300
    while not condition():
        assert child.poll() is None and time.monotonic() < deadline, output(folder)
        time.sleep(0.05)


def output(folder):
    return (folder / "output.txt").read_text()[-2000:]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the job under /proc")
def test_a_requeued_job_ends_with_the_same_weights(tmp_path, data):
    whole = start(tmp_path / "whole", data)
    assert whole.wait(timeout=500) == 0, output(tmp_path / "whole")

    folder = tmp_path / "sent"
    sent = start(folder, data, *LOCAL)
    try:
        wait(sent, folder, lambda: list(folder.glob(f"{CHECKPOINTS}/checkpoint_*_4.pt")))
        for job in jobs_in(folder):
            os.kill(job, signal.SIGUSR2)
        assert sent.wait(timeout=500) == 0, output(folder)
    finally:
        sent.kill()
        for job in jobs_in(folder):
            os.kill(job, signal.SIGKILL)
    errors = "".join(file.read_text() for file in folder.glob("runs/parp_demo/.submitit/*/*.err"))
    assert errors.count("Caught signal SIGUSR2") == 1
    expected = weights(tmp_path / "whole")
    for name, tensor in weights(folder).items():
        assert torch.equal(tensor, expected[name]), name


def test_what_slurm_gets(tmp_path, data, monkeypatch):
    """A pretended sbatch takes the job; nothing ever runs it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (
        ("sbatch", 'cp "$1" "$KEPT"; echo Submitted batch job 4242'),
        ("srun", "exit 0"),
        ("sacct", "echo 'JobID|State'; echo '4242_0|FAILED'; echo '4242|FAILED'"),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    kept = tmp_path / "job.sh"
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("KEPT", str(kept))
    slurm = ("hydra/launcher=parp_slurm", "hydra.launcher.partition=mine")
    child = start(tmp_path / "sent", data, *slurm, "task.prune.sparsity=0.5,0.9")
    try:
        wait(child, tmp_path / "sent", lambda: kept.is_file() and "srun" in kept.read_text())
    finally:
        child.kill()
        child.wait()
    told = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", kept.read_text(), re.MULTILINE))
    assert told["partition"] == "mine"
    assert told["gpus-per-node"] == "4" and told["ntasks-per-node"] == "1"
    assert told["time"] == "2880" and told["signal"] == "USR2@120"
    assert told["array"].startswith("0-1")
