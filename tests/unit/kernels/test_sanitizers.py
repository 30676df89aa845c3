"""The kernels' tests once more, on kernels that watch every address and every sum."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parp_fairseq.kernels import build

HERE = Path(__file__).resolve().parent
FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-g",
    "-fno-omit-frame-pointer",
)
TESTS = ("test_bits.py", "test_rank.py", "test_cut.py", "test_sparse_linear.py")


@pytest.mark.slow
def test_nothing_is_read_or_written_outside_of_the_arrays(tmp_path):
    command = build.compiler()
    out = tmp_path / build.NAME
    build.build(out, FLAGS)
    runtime = subprocess.run(
        [*command, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {
        **os.environ,
        "KERNELS_UNDER_TEST": str(out),
        "LD_PRELOAD": runtime,
        # Python itself never gives everything back.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
    }
    probe = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, env=environment
    )
    assert probe.returncode != 0 and "heap-buffer-overflow" in probe.stderr, "it does not watch"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
        + [str(HERE / name) for name in TESTS],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]


# A mask that is too short by a byte.
PROBE = """
import os, pathlib, torch
from parp_fairseq.kernels import native
native.BINARY = pathlib.Path(os.environ["KERNELS_UNDER_TEST"])
from parp_fairseq.kernels.cut import zero_unset
zero_unset([torch.ones(128)], [torch.zeros(15, dtype=torch.uint8)])
"""
