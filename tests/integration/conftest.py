"""Fixtures that train."""

from __future__ import annotations

import pytest
from running import Trainer


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
