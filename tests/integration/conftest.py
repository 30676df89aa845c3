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
