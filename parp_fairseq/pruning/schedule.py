"""Sparsity over the updates of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parp_fairseq.pruning.arguments import SHAPES, PruningError, check_choice, check_sparsity


@dataclass(frozen=True)
class SparsitySchedule:
    """Sparsity that ramps from `initial` to `final` and stays there (PARP-P, paper section 3.3)."""

    final: float  # the target sparsity, in [0, 1]
    initial: float = 0.0  # sparsity at update 0, at most `final`
    rise: int = 0  # updates after which `final` is reached; 0 means constant at `final`
    # "linear", or "cubic" (fast at first: final + (initial - final) * (1 - t)³, the usual gradual
    # schedule of Zhu and Gupta, 2017).
    shape: str = "linear"

    def __post_init__(self) -> None:
        check_sparsity(self.final)
        check_sparsity(self.initial, "initial_sparsity")
        if self.rise > 0 and self.initial > self.final:
            raise PruningError(
                f"is {self.initial}, above the sparsity to reach ({self.final})", "initial_sparsity"
            )
        check_choice(self.shape, SHAPES, "schedule")

    @property
    def ramps(self) -> bool:
        """Whether the sparsity changes over the updates."""
        return self.rise > 0 and self.initial < self.final

    def at(self, update: int) -> float:
        """Return the sparsity after `update` updates (0 or more), in [0, 1]."""
        if update >= self.rise:
            return self.final
        left = 1.0 - update / self.rise
        if self.shape == "cubic":
            left = left**3
        return self.final + (self.initial - self.final) * left


@dataclass(frozen=True)
class StagedSchedule:
    """Schedules one after the other, each for the same number of updates.

    The chain 60 → 80 → 90 of the paper's table 1 took two runs, each with a ramp and then a
    constant sparsity; this is both in one.
    """

    phases: tuple[SparsitySchedule, ...]  # the schedules, each beginning where the one before ends
    length: int  # updates in a phase, at least 1

    @property
    def final(self) -> float:
        """The target sparsity."""
        return self.phases[-1].final

    @property
    def ramps(self) -> bool:
        """Whether the sparsity changes over the updates."""
        return self.phases[0].initial < self.final

    def at(self, update: int) -> float:
        """Return the sparsity after `update` updates (0 or more), in [0, 1]."""
        phase = min(update // self.length, len(self.phases) - 1)
        return self.phases[phase].at(update - phase * self.length)


def ramp(
    sparsities: Sequence[float], total_updates: int, rise: float = 0.5, shape: str = "linear"
) -> SparsitySchedule | StagedSchedule:
    """Return a schedule over a run, in one phase or in several.

    Of `sparsities` the first is the one to begin with; each other is reached and kept for an equal
    share of all updates, like a run of its own, its ramp taking the share `rise` of them.
    PruningError where `rise` or a sparsity is out of [0, 1], or the sparsities fall.
    """
    check_sparsity(rise, "rise")
    length = total_updates // (len(sparsities) - 1)
    phases = tuple(
        SparsitySchedule(end, begin, round(rise * length), shape)
        for begin, end in zip(sparsities, sparsities[1:])
    )
    return phases[0] if len(phases) == 1 else StagedSchedule(phases, max(1, length))
