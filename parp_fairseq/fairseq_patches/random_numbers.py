"""numpy's random numbers, made a function of the seed and the update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def numpy_seeded(seed: int, update: int, micro_batch: int, rank: int) -> Iterator[None]:
    """Seed what fairseq draws from numpy in a forward pass, and put everything back after it.

    fairseq draws its span masks from `numpy.random.default_rng()` (`compute_mask_indices`), which
    takes fresh entropy; in 0.12.2, and for layerdrop in both, from numpy's global generator. It
    reseeds torch before every update, but neither of these, so that a resumed run would differ.

    Args:
        seed: common.seed.
        update: updates done so far.
        micro_batch: how many batches of this update came before.
        rank: of this worker. Span masks differ between workers; layerdrop must not, since
            pytorch_ddp expects the same layers everywhere.
    """
    before = np.random.get_state()
    default_rng = np.random.default_rng
    sequence = np.random.SeedSequence((seed, update, micro_batch, rank))

    def seeded_rng(given: Any = None) -> np.random.Generator:
        return default_rng(sequence.spawn(1)[0] if given is None else given)

    np.random.seed(np.random.SeedSequence((seed, update, micro_batch)).generate_state(4))
    np.random.default_rng = seeded_rng
    try:
        yield
    finally:
        np.random.default_rng = default_rng
        np.random.set_state(before)
