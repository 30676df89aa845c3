"""How a training with transformers prunes: the options of `PruningCallback`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike
from parp_fairseq.pruning import Pruner, SparsitySchedule, StagedSchedule
from parp_fairseq.pruning.arguments import (
    check_granularity,
    check_seed,
    check_shape,
    check_sparsity,
)
from parp_fairseq.pruning.methods import Method, method_named
from parp_fairseq.pruning.schedule import ramp


@dataclass(frozen=True)
class PruningOptions:
    """See `PruningCallback` for their meaning."""

    method: str
    sparsity: float
    interval: int
    interval_unit: str
    initial: str | None
    initial_sparsity: float
    rise: float
    stages: tuple[float, ...]
    schedule: str | None
    granularity: str
    mask: PathLike | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    seed: int

    @property
    def how(self) -> Method:
        """The method."""
        return method_named(self.method)

    def check(self) -> None:
        """Raise UserError where an option is wrong, or does not go with the others."""
        self._check_types()
        with options_named(""):
            check_sparsity(self.sparsity)
            check_sparsity(self.initial_sparsity, "initial_sparsity")
            check_granularity(self.granularity)
            check_seed(self.seed)
            check_shape(self._shape)
            self.how.check(self.initial, None if self.mask is None else str(self.mask))
        climbing = [self.initial_sparsity, *self.stages, self.sparsity]
        if self.stages and not self.how.ramps:
            raise UserError(f"stages has no meaning for method {self.method}")
        if self.how.ramps and climbing != sorted(climbing):
            raise UserError(
                f"the sparsity climbs from initial_sparsity ({self.initial_sparsity}) over stages "
                f"({list(self.stages)}) to sparsity ({self.sparsity}); put them in that order"
            )
        # With any number of updates: a Pruner checks the rest.
        self.pruner(1)

    def _check_types(self) -> None:
        # bool is an int in Python, and no number here.
        for name in ("sparsity", "initial_sparsity", "rise"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UserError(f"{name} is {value!r}; give a fraction (90% is 0.9)")
        for share in self.stages:
            if isinstance(share, bool) or not isinstance(share, (int, float)):
                raise UserError(f"stages holds {share!r}; give fractions (90% is 0.9)")
        for name in ("interval", "seed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(f"{name} is {value!r}; give a whole number")
        for name in ("include", "exclude"):
            for pattern in getattr(self, name):
                if not isinstance(pattern, str):
                    raise UserError(f"{name} holds {pattern!r}; give patterns of parameter names")

    def pruner(self, total_updates: int) -> Pruner | None:
        """Return the Pruner that the options ask for; None for method "dense".

        Args:
            total_updates: N, the last update of the training.

        Raises:
            UserError: an option is wrong, or the method climbs and N is not known.
        """
        if self.how.first is None:
            return None
        with options_named(""):
            return Pruner(
                self._schedule(total_updates),
                interval=self.interval,
                unit=self.interval_unit,
                total_updates=total_updates,
                static=self.how.static,
                granularity=self.granularity,
                settings=self._settings(total_updates),
            )

    def _schedule(self, total_updates: int) -> SparsitySchedule | StagedSchedule:
        if not self.how.ramps:
            return SparsitySchedule(final=self.sparsity)
        if total_updates < 1:
            raise UserError(
                f"method {self.method} climbs over a share of all updates, and their number is not "
                "known; give the Trainer max_steps or num_train_epochs"
            )
        sparsities = [self.initial_sparsity, *self.stages, self.sparsity]
        return ramp(sparsities, total_updates, self.rise, self._shape)

    def _settings(self, total_updates: int) -> dict[str, Any]:
        """What a resumed training must share, as plain values."""
        plain = {key: _plain(value) for key, value in asdict(self).items()}
        plain["schedule"] = self._shape
        return {**plain, "max_steps": total_updates} if self.how.ramps else plain

    @property
    def _shape(self) -> str:
        return self.schedule or self.how.schedule


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
