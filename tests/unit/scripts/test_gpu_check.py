"""scripts/gpu_check.py, on a CPU: a GPU is where it tells something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")
ROOT = Path(__file__).resolve().parents[3]


def gpu_check(*arguments):
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [ROOT / "scripts" / "gpu_check.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_its_parts_pass():
    done = gpu_check("--device", "cpu", "--width", "16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        *["masks"] * 3,
        "time",
        "resume",
        "main",
    ]


def test_it_says_that_there_is_no_gpu():
    if __import__("torch").cuda.is_available():
        pytest.skip("there is one")
    done = gpu_check()
    assert done.returncode == 2
    assert "no GPU can be seen" in done.stderr
