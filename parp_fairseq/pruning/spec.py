"""How a training prunes: every option, its default and its help, for fairseq and transformers."""

# No `from __future__ import annotations`: fairseq reads these types at run time, and omegaconf 2.0
# knows only typing's own generics.
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, List, Optional, Union  # noqa: UP035

from parp_fairseq.pruning.arguments import (
    GRANULARITIES,
    SHAPES,
    PruningError,
    check_choice,
    check_interval,
    check_seed,
    check_sparsity,
)
from parp_fairseq.pruning.methods import FILE, METHODS, Method, method_named
from parp_fairseq.pruning.schedule import SparsitySchedule, StagedSchedule, ramp
from parp_fairseq.pruning.scope import Scope

if TYPE_CHECKING:
    from parp_fairseq.pruning.pruner import Pruner

_LISTS = ("sparsities", "stages", "include", "exclude")
_OF_RAMPS = ("initial_sparsity", "rise", "stages", "schedule")
_FRACTION, _WHOLE, _TEXT = "a fraction (90% is 0.9)", "a whole number", "a name or pattern"
_KINDS = {
    **dict.fromkeys(("sparsity", "sparsities", "initial_sparsity", "rise", "stages"), _FRACTION),
    **dict.fromkeys(("interval", "seed"), _WHOLE),
    **dict.fromkeys(("include", "exclude"), _TEXT),
}
_TYPES = {_FRACTION: (int, float), _WHOLE: (int,), _TEXT: (str,)}


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class PruningSpec:
    """How a training prunes; docs/pruning.md explains the defaults."""

    method: str = field(default="parp", metadata=_help(f"one of {', '.join(METHODS)}"))
    sparsity: float = field(
        default=0.5, metadata=_help("share of the prunable entries that end as zero, in [0, 1]")
    )
    sparsities: List[float] = field(  # noqa: UP006
        default_factory=list,
        metadata=_help("nested: further sparsities to train, rising, above sparsity"),
    )
    initial_sparsity: Optional[float] = field(
        default=None,
        metadata=_help("parp_p, gmp: sparsity at update 0 (default: 0.4 below sparsity; gmp: 0)"),
    )
    rise: float = field(
        default=0.5, metadata=_help("parp_p, gmp: the share of all updates that the ramp takes")
    )
    stages: List[float] = field(  # noqa: UP006
        default_factory=list,
        metadata=_help(
            "parp_p, gmp: sparsities on the way; each is reached and kept for an equal share of "
            "all updates, like a run of its own"
        ),
    )
    initial: Optional[str] = field(
        default=None,
        metadata=_help(
            "initial mask: magnitude, random, random_init or a mask file (default: magnitude; rp: "
            "random)"
        ),
    )
    interval: int = field(default=25, metadata=_help("n: prune again every n units"))
    interval_unit: str = field(default="update", metadata=_help("update or epoch"))
    schedule: Optional[str] = field(
        default=None, metadata=_help("parp_p, gmp: linear or cubic (default: linear; gmp: cubic)")
    )
    granularity: str = field(
        default="global", metadata=_help("global, or tensor for the same sparsity in every matrix")
    )
    include: List[str] = field(  # noqa: UP006
        default_factory=lambda: ["wav2vec2"],
        metadata=_help("presets or patterns of modules whose weights may be pruned"),
    )
    exclude: List[str] = field(  # noqa: UP006
        default_factory=list, metadata=_help("patterns of modules that may not")
    )
    biases: bool = field(default=False, metadata=_help("prune biases with their weights"))
    mask: Optional[str] = field(
        default=None, metadata=_help("method mask: a mask file; omp: a fine-tuned checkpoint")
    )
    seed: int = field(default=2337, metadata=_help("seed of random masks"))

    def __post_init__(self) -> None:
        for name in _LISTS:
            value = getattr(self, name)
            object.__setattr__(self, name, [value] if isinstance(value, str) else list(value))
        for name in ("initial", "mask"):
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, name, os.fspath(value))

    @property
    def behaviour(self) -> Method:
        """The method's entry in the table; PruningError where there is none."""
        return method_named(self.method)

    @property
    def scope(self) -> Scope:
        """What may be pruned."""
        return Scope(tuple(self.include), tuple(self.exclude), self.biases)

    @property
    def initial_mask_kind(self) -> str:
        """The initial mask: one of INITIAL_MASKS, FINETUNED, or the path of a mask file."""
        own = self.behaviour.initial
        return str(self.mask if own == FILE else self.initial or own)

    @property
    def begins_at(self) -> float:
        """The sparsity at update 0 of a method that ramps."""
        if self.initial_sparsity is not None:
            return self.initial_sparsity
        # Rounded, for 0.5 - 0.4 is not 0.1.
        return max(0.0, round(self.sparsity - self.behaviour.below, 10))

    def check(self) -> None:
        """Check all that can be judged without a model. Loads no torch.

        Raises PruningError: names the first option that is wrong.
        """
        for name, wanted in _KINDS.items():
            value = getattr(self, name)
            for one in value if name in _LISTS else [value]:
                # bool is an int in Python, and no number here.
                right = isinstance(one, _TYPES[wanted]) and not isinstance(one, bool)
                if not right and not (name == "initial_sparsity" and one is None):
                    raise PruningError(f"is {one!r}; give {wanted}", name)
        method = self.behaviour
        check_sparsity(self.sparsity)
        check_sparsity(self.begins_at, "initial_sparsity")
        check_sparsity(self.rise, "rise")
        check_choice(self.granularity, GRANULARITIES, "granularity")
        check_choice(self._shape, SHAPES, "schedule")
        check_interval(self.interval, self.interval_unit)
        check_seed(self.seed)
        method.check(self.initial, self.mask)
        if bool(self.sparsities) != method.levels:
            problem = "is missing: give the sparsities to train above sparsity, such as [0.7, 0.9]"
            raise PruningError(
                problem if method.levels else f"is not supported by method {self.method}",
                "sparsities",
            )
        levels = [self.sparsity, *self.sparsities]
        if max(levels) > 1.0 or any(one >= two for one, two in zip(levels, levels[1:])):
            raise PruningError(
                f"is {self.sparsities}: give fractions that rise, above sparsity ({self.sparsity})",
                "sparsities",
            )
        if self.stages and not method.ramps:
            raise PruningError(f"is not supported by method {self.method}", "stages")
        if method.ramps and self._sparsities != sorted(self._sparsities):
            raise PruningError(
                f"is {self.stages or self.begins_at}: the sparsity must rise, from "
                f"initial_sparsity ({self.begins_at}) over stages to sparsity ({self.sparsity})",
                "stages" if self.stages else "initial_sparsity",
            )

    def build(
        self, total_updates: int, *, prefix: str = "", length: str = "total_updates"
    ) -> "Optional[Pruner]":
        """Return the Pruner that the options ask for; None for method "dense".

        `total_updates` is N, the last update (0: not known), which the caller calls `length`; its
        options begin with `prefix` in the state that the Pruner saves. PruningError where an option
        is wrong, or the method ramps and N is not known.
        """
        self.check()
        if self.behaviour.initial is None:
            return None
        schedule = self.schedule_over(total_updates, length)
        from parp_fairseq.pruning.nested import NestedPruner
        from parp_fairseq.pruning.pruner import Pruner

        common: dict[str, Any] = {
            "interval": self.interval,
            "unit": self.interval_unit,
            "total_updates": total_updates,
            "granularity": self.granularity,
            "settings": self.settings(total_updates, prefix=prefix, length=length),
        }
        if self.behaviour.levels:
            return NestedPruner(schedule, levels=self.sparsities, seed=self.seed, **common)
        return Pruner(schedule, static=self.behaviour.static, **common)

    def schedule_over(
        self, total_updates: int, length: str = "total_updates"
    ) -> Union[SparsitySchedule, StagedSchedule]:
        """Return the sparsity over updates; arguments and errors as for `build`."""
        if not self.behaviour.ramps:
            return SparsitySchedule(final=self.sparsity)
        if total_updates < 1:
            raise PruningError(
                f"{length} must be at least 1 (got {total_updates}): method {self.method} ramps "
                "over a share of all updates"
            )
        return ramp(self._sparsities, total_updates, self.rise, self._shape)

    def settings(
        self, total_updates: int, *, prefix: str = "", length: str = "total_updates"
    ) -> dict[str, Any]:
        """Return what a resumed training must share, as plain values by name; as for `build`."""
        plain = {**asdict(self), "initial_sparsity": self.begins_at, "schedule": self._shape}
        if not self.behaviour.levels:
            del plain["sparsities"]
        if not self.behaviour.ramps:
            return {f"{prefix}{key}": value for key, value in plain.items() if key not in _OF_RAMPS}
        # A ramp is a share of all updates.
        return {**{f"{prefix}{key}": value for key, value in plain.items()}, length: total_updates}

    @property
    def _sparsities(self) -> list[float]:
        return [self.begins_at, *self.stages, self.sparsity]

    @property
    def _shape(self) -> str:
        return self.schedule or self.behaviour.schedule
