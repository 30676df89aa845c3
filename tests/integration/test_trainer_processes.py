"""Data-parallel training of transformers: two processes on the CPU, by accelerate's launcher."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytest.importorskip("transformers")
pytest.importorskip("accelerate")

WORKER = Path(__file__).with_name("trainer_worker.py")


def launch(*arguments):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--cpu"),
        *("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"),
        *("--dynamo_backend", "no", "--main_process_port", str(port)),
        *map(str, (WORKER, *arguments)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]


def test_two_processes_find_one_subnetwork_and_resume(tmp_path):
    launch(tmp_path / "a")
    tensors = load_file(str(tmp_path / "a" / "end" / "model.safetensors"))
    layers = [
        t
        for name, t in tensors.items()
        if t.ndim == 2 and ("encoder.layer" in name or "pooler" in name)
    ]
    total = sum(t.size for t in layers)
    assert sum(int((t == 0).sum()) for t in layers) == round(0.6 * total)
    # Cut off after update 4, and resumed.
    for checkpoint in (tmp_path / "a").glob("checkpoint-8*"):
        checkpoint.rename(tmp_path / "later")
    launch(tmp_path / "a", "resume")
    again = load_file(str(tmp_path / "a" / "end" / "model.safetensors"))
    assert all(np.array_equal(again[name], tensor) for name, tensor in tensors.items())
