"""The densest of a model's nested subnetworks that meets a budget of time or bytes."""

from __future__ import annotations

import math
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import is_sparse, named_checkpoint
from parp_fairseq.checkpoints.sparse_file import level_bytes
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.inference.recognise import CONTEXT_SECONDS, SECONDS, transcribe
from parp_fairseq.inference.subnetwork import AUTO, Subnetwork, open_subnetwork, run_sparse
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE, opened

_TIMES = {"ms": 1.0, "s": 1e3}
_SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


class Budget(NamedTuple):
    """What a subnetwork may take at most.

    Attributes:
        text: as the user gave it.
        most: milliseconds for a second of speech, or bytes that are read of a sparse file.
        of_time: which of the two.
    """

    text: str
    most: float
    of_time: bool

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read "200ms" (for a second of speech), "0.2s", "30MB" or "900kB".

        Raises:
            UserError: it is none of these, or not above 0.
        """
        units = {**_TIMES, **_SIZES}
        found = re.fullmatch(rf"(\d+\.?\d*|\.\d+) ?({'|'.join(units)})", text.strip())
        most = float(found[1]) * units[found[2]] if found else 0.0
        if found is None or not 0.0 < most < math.inf:
            raise UserError(
                f"--budget {text}: give a time for a second of speech, such as 200ms, or a size, "
                "such as 30MB"
            )
        return cls(text, most, found[2] in _TIMES)

    def shown(self, taken: float) -> str:
        """What a subnetwork takes, in words."""
        if self.of_time:
            return f"{taken:.1f} ms for a second of speech"
        return f"{taken / 1e6:.2f} MB"


def milliseconds(subnetwork: Subnetwork, window: float = SECONDS) -> float:
    """How long a second of a long recording takes: the median of three measurements.

    Windows overlap, so a second takes more than its share of a window.

    Args:
        subnetwork: made sparse or not.
        window: seconds that are run at a time, as for `transcribe`.
    """
    import soundfile

    taken = []
    with tempfile.TemporaryDirectory() as folder:
        noise = np.random.default_rng(1).normal(0, 0.1, round(window * SAMPLE_RATE))
        path = Path(folder, "noise.wav")
        soundfile.write(path, noise.clip(-1, 1), SAMPLE_RATE)
        with opened(path) as (_, recording):
            pass
        for _ in range(3):
            start = time.perf_counter()
            transcribe(subnetwork, recording, window)
            taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken) / (window - 2 * CONTEXT_SECONDS)


class LevelCost(NamedTuple):
    """What a level takes."""

    sparsity: float
    milliseconds: float  # for a second of speech
    size: int | None  # bytes that are read, of a sparse file


def level_costs(path: PathLike, engine: str = AUTO) -> list[LevelCost]:
    """Measure each nested subnetwork of a model, the densest first; of any other model its own.

    Raises:
        UserError: it cannot be opened in plain torch.
    """
    path = named_checkpoint(path)
    finetuned = open_finetuned(path)
    levels = (finetuned.sparsity, *finetuned.sparser)
    sizes = level_bytes(path) if is_sparse(path) else []
    found = []
    for number, level in enumerate(levels):
        subnetwork = open_subnetwork(path, level if number else None)
        run_sparse(subnetwork.model, engine)
        # Of a file of one level that was cut from several, levels above are not in the file.
        size = sizes[number] if len(sizes) == len(levels) else None
        found.append(LevelCost(level, milliseconds(subnetwork), size))
    return found


def within(
    path: PathLike,
    budget: Budget,
    engine: str = AUTO,
    precision: str | None = None,
    window: float = SECONDS,
) -> tuple[Subnetwork, int, float, float]:
    """Open the densest level that meets the budget.

    Args:
        path: a checkpoint of method "nested", or a sparse file made of one.
        budget: a size is that of a sparse file, as far as it is read.
        engine, precision: see `run_sparse`.
        window: seconds that are run at a time; a time is measured with SECONDS at most.

    Returns:
        The subnetwork, how many groups of its layers run sparse, its sparsity, and what it takes,
        as `Budget.most`.

    Raises:
        UserError: no level meets it, the model has one level only, or a size is asked of a model
            that is no sparse file.
    """
    path = named_checkpoint(path)
    finetuned = open_finetuned(path)
    levels = (finetuned.sparsity, *finetuned.sparser)
    if len(levels) < 2:
        raise UserError(
            f"{path}: --budget chooses among the levels of a nested training, and this model has "
            "one; leave it out, or train with task.prune.method=nested"
        )
    if not budget.of_time and not is_sparse(path):
        raise UserError(
            f"{path}: --budget {budget.text} chooses among the levels of a sparse file; write one "
            "with parp export --format sparse"
        )
    sizes = [0] * len(levels) if budget.of_time else level_bytes(path)
    for level, size in zip(levels, sizes):
        if size > budget.most:
            taken: float = size
            continue
        subnetwork = open_subnetwork(path, None if level == levels[0] else level)
        groups = run_sparse(subnetwork.model, engine, precision)
        taken = milliseconds(subnetwork, min(window, SECONDS)) if budget.of_time else size
        if taken <= budget.most:
            return subnetwork, groups, level, taken
    raise UserError(
        f"{path}: --budget {budget.text}: its sparsest level, {level:g}, takes "
        f"{budget.shown(taken)}; give at least that"
    )
