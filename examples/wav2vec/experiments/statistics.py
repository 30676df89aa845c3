"""Means, effects and their 95% intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval.

    Attributes:
        mean: of the values.
        half: half the width of the 95% t-interval; None with a single value.
        count: number of values.
    """

    mean: float
    half: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Student's t-interval: mean ± t · s / √k, with k - 1 degrees of freedom."""
        count = len(values)
        mean = math.fsum(values) / count
        if count < 2:
            return cls(mean, None, count)
        from scipy.stats import t

        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * math.sqrt(variance / count)
        return cls(mean, half, count)

    @property
    def low(self) -> float | None:
        """The interval's lower end; None with a single value."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """The interval's upper end; None with a single value."""
        return None if self.half is None else self.mean + self.half

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies on that side of 0, else 0."""
        if self.half is None or abs(self.mean) <= self.half:
            return 0
        return 1 if self.mean > 0 else -1

    def shown(self, signed: bool = False) -> str:
        """With one decimal: 65.4 ± 2.1."""
        mean = f"{self.mean:+.1f}" if signed else f"{self.mean:.1f}"
        return mean if self.half is None else f"{mean} ± {self.half:.1f}"


CELLS = ("constant, held", "constant, free", "climbing, held", "climbing, free")


@dataclass(frozen=True)
class Effects:
    """A two by two design over seeds; negative is fewer errors.

    Attributes:
        revival: letting what is pruned move, averaged over both schedules.
        schedule: letting the sparsity climb, averaged over held and free.
        interaction: how much more revival does under a climb than under a constant sparsity.
    """

    revival: Estimate
    schedule: Estimate
    interaction: Estimate


def effects(cells: Mapping[str, Mapping[int, float]]) -> Effects | None:
    """Effects within each seed, then over the seeds that all four cells have.

    Args:
        cells: one of CELLS → seed → error rate in percent.

    Returns:
        None where no seed has all four.
    """
    seeds = sorted(set.intersection(*(set(cells.get(cell, {})) for cell in CELLS)))
    if not seeds:
        return None
    rows = [[cells[cell][seed] for cell in CELLS] for seed in seeds]
    return Effects(
        Estimate.of([(b - a + d - c) / 2 for a, b, c, d in rows]),
        Estimate.of([(c - a + d - b) / 2 for a, b, c, d in rows]),
        Estimate.of([(d - c) - (b - a) for a, b, c, d in rows]),
    )


def paired(better: Mapping[int, float], worse: Mapping[int, float]) -> Estimate | None:
    """`better` - `worse` over the seeds that both have; None where there are none."""
    seeds = sorted(set(better) & set(worse))
    return Estimate.of([better[seed] - worse[seed] for seed in seeds]) if seeds else None
