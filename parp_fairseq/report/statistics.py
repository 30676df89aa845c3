"""Means with ranges or 95% t-intervals, paired differences, verdicts, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEVEL = 0.95
SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"


def mean(values: Iterable[float]) -> float:
    """Of one value at least."""
    values = list(values)
    return sum(values) / len(values)


@dataclass(frozen=True)
class Spread:
    """A number over seeds."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """Mean, smallest and largest; None where a value is missing or there are none."""
        numbers = list(values)
        if not numbers or any(number is None for number in numbers):
            return None
        return cls(sum(numbers) / len(numbers), min(numbers), max(numbers), len(numbers))

    def shown(self) -> str:
        """With one decimal; the range in brackets where there are several."""
        if self.count == 1:
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} ({self.low:.1f}–{self.high:.1f})"  # noqa: RUF001


@dataclass(frozen=True)
class Estimate:
    """A mean with its Student t-interval."""

    mean: float  # of the values
    half: float | None  # half the width of the 95% interval; None with a single value
    count: int  # number of values
    p: float | None = None  # two-sided p-value of a mean of 0; None with a single value

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """mean ± t · s / √k, with k - 1 degrees of freedom."""
        count = len(values)
        mean = math.fsum(values) / count
        if count < 2:
            return cls(mean, None, count)
        from scipy.stats import t

        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        error = math.sqrt(variance / count)
        half = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * error
        if error == 0:
            return cls(mean, half, count, 1.0 if mean == 0 else 0.0)
        return cls(mean, half, count, 2 * float(t.sf(abs(mean) / error, count - 1)))

    @property
    def low(self) -> float:
        """The interval's lower end; the mean with a single value."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """The interval's upper end; the mean with a single value."""
        return self.mean + (self.half or 0.0)

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


def paired(better: Mapping[Hashable, float], worse: Mapping[Hashable, float]) -> Estimate | None:
    """`better` - `worse` over the keys (seeds, languages) that both have; None without any."""
    keys = sorted(set(better) & set(worse), key=repr)
    return Estimate.of([better[key] - worse[key] for key in keys]) if keys else None


def sign_of_intervals(
    better: Sequence[tuple[float, float]], worse: Sequence[tuple[float, float]]
) -> int:
    """-1 where all intervals of `better` lie below all of `worse`, 1 above, 0 where they meet.

    For single runs: bootstrap intervals over utterances, which do not contain training's chance.
    """
    if max(high for _, high in better) < min(low for low, _ in worse):
        return -1
    if min(low for low, _ in better) > max(high for _, high in worse):
        return 1
    return 0


def verdict(sign: int, difference_claimed: bool = True) -> str:
    """What the sign of "better - worse" says of a claim about errors.

    Args:
        sign: -1, 0 or 1; 0 means no measurable difference.
        difference_claimed: the claim is "fewer errors"; False: the claim is "no difference", which
            a measured difference contradicts and nothing supports.
    """
    if sign == 0:
        return INCONCLUSIVE
    return SUPPORTED if difference_claimed and sign < 0 else CONTRADICTED


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: p-values to compare with one level for the whole family."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted


DESIGN = ("constant, static", "constant, dynamic", "ramp, static", "ramp, dynamic")
"""Sparsity and mask: MPI, PARP, GMP with a linear ramp, PARP-P."""


class Effects(NamedTuple):
    """A two by two design over seeds; negative is fewer errors."""

    regrowth: Estimate  # of a dynamic mask, averaged over both schedules
    schedule: Estimate  # of a ramp, averaged over static and dynamic masks
    interaction: Estimate  # how much more regrowth does under a ramp than at a constant sparsity


def design_effects(cells: Mapping[str, Mapping[int, float]]) -> Effects | None:
    """Effects within each seed, then over the seeds that all four cells have.

    Args:
        cells: one of DESIGN → seed → error rate in percent.

    Returns:
        None where no seed has all four.
    """
    seeds = sorted(set.intersection(*(set(cells.get(cell, {})) for cell in DESIGN)))
    if not seeds:
        return None
    rows = [[cells[cell][seed] for cell in DESIGN] for seed in seeds]
    return Effects(
        Estimate.of([(b - a + d - c) / 2 for a, b, c, d in rows]),
        Estimate.of([(c - a + d - b) / 2 for a, b, c, d in rows]),
        Estimate.of([(d - c) - (b - a) for a, b, c, d in rows]),
    )
