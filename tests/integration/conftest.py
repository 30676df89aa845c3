import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import MAIN_JOB, SMALL, Trainer

from parp_fairseq.checkpoints.formats import TINY_MODEL


@pytest.fixture
def train(tmp_path, data):
    """Train in this test's own folder."""
    return Trainer(tmp_path, data)


@pytest.fixture(scope="session")
def trainer_in(data):
    """Train in any folder, for fixtures that several tests share."""
    return lambda folder: Trainer(folder, data)


@pytest.fixture(scope="session")
def finetuned(trainer_in, tmp_path_factory):
    """A checkpoint at 90%, trained until it hears something."""
    run = trainer_in(tmp_path_factory.mktemp("finetuned"))(
        "optimization.max_update=40",
        "optimization.lr=[0.001]",
        "lr_scheduler.phase_ratio=[0.1,0.8,0.1]",
        "model.freeze_finetune_updates=0",
        "task.prune.sparsity=0.9",
    )
    checkpoint = run.folder / "checkpoints" / "checkpoint_last.pt"
    assert checkpoint.is_file(), run.tail
    return checkpoint


@pytest.fixture(scope="session")
def main_job(tmp_path_factory, data):
    """A folder outside of the clone, in which the README's training has run."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "DIR").symlink_to(data)
    (folder / "wav2vec_small.pt").write_bytes(TINY_MODEL.read_bytes())
    program, *options = MAIN_JOB.split()
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *options, *SMALL],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    # Its checkpoints need the pre-trained model no more.
    (folder / "wav2vec_small.pt").unlink()
    return folder
