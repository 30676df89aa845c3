"""Options under `task.prune`."""

# No `from __future__ import annotations` here: fairseq reads the dataclass's types as they stand,
# and omegaconf 2.0 understands typing's own generics alone.
from dataclasses import dataclass, field
from typing import Any, List, Optional, Union  # noqa: UP035

from fairseq.dataclass import FairseqDataclass

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning import Pruner, SparsitySchedule, StagedSchedule
from parp_fairseq.pruning.arguments import (
    check_granularity,
    check_seed,
    check_shape,
    check_sparsity,
)
from parp_fairseq.pruning.methods import FILE, FINETUNED, METHODS, method_named
from parp_fairseq.pruning.schedule import ramp

# Options that decide how a run goes; resuming it under others is refused.
FINGERPRINT = (
    "method",
    "sparsity",
    "initial_sparsity",
    "rise",
    "stages",
    "initial",
    "mask",
    "interval",
    "interval_unit",
    "schedule",
    "granularity",
    "include",
    "exclude",
    "biases",
    "seed",
)


_LISTS = ("include", "exclude", "stages")
PREFIX = "task.prune."


@dataclass
class PruneConfig(FairseqDataclass):
    """How a run prunes (the yaml files explain each)."""

    method: str = field(default="parp", metadata={"help": f"one of {', '.join(METHODS)}"})
    sparsity: float = field(
        default=0.5, metadata={"help": "share of the prunable entries set to zero, in [0, 1]"}
    )
    initial_sparsity: float = field(
        default=0.0, metadata={"help": "parp_p, gmp: the sparsity at update 0"}
    )
    rise: float = field(
        default=0.5, metadata={"help": "parp_p, gmp: the share of all updates over which it climbs"}
    )
    stages: List[float] = field(  # noqa: UP006
        default_factory=list,
        metadata={
            "help": "parp_p, gmp: sparsities on the way; each is reached and held for an equal "
            "share of all updates, like a run of its own"
        },
    )
    initial: Optional[str] = field(
        default=None,
        metadata={
            "help": "first mask: magnitude, random, random_init or a mask file "
            "(default: magnitude; for rp: random)"
        },
    )
    # Often: examples/wav2vec/interval has the errors over n.
    interval: int = field(default=25, metadata={"help": "n: prune again every n units"})
    interval_unit: str = field(default="update", metadata={"help": "update or epoch"})
    schedule: Optional[str] = field(
        default=None,
        metadata={"help": "parp_p, gmp: linear or cubic (default: linear; for gmp: cubic)"},
    )
    granularity: str = field(default="global", metadata={"help": "global or tensor"})
    include: List[str] = field(  # noqa: UP006
        default_factory=lambda: ["wav2vec2"],
        metadata={"help": "presets or patterns of modules whose weights may be pruned"},
    )
    exclude: List[str] = field(  # noqa: UP006
        default_factory=list, metadata={"help": "patterns of modules that may not"}
    )
    biases: bool = field(default=False, metadata={"help": "prune biases with their weights"})
    mask: Optional[str] = field(
        default=None,
        metadata={"help": "mask: a mask file; omp: a fine-tuned checkpoint"},
    )
    seed: int = field(default=2337, metadata={"help": "seed of random masks"})


def check(cfg: Any) -> None:
    """Check the options that can be judged without a model.

    Args:
        cfg: a PruneConfig, or a config node like it.

    Raises:
        UserError: names the first option that is wrong.
    """
    with options_named(PREFIX):
        method = method_named(cfg.method)
        check_sparsity(cfg.sparsity)
        check_sparsity(cfg.initial_sparsity, "initial_sparsity")
        check_shape(_shape(cfg))
        check_granularity(cfg.granularity)
        check_seed(cfg.seed)
        method.check(cfg.initial, cfg.mask)
    if not 0.0 <= cfg.rise <= 1.0:
        raise UserError(f"task.prune.rise is {cfg.rise}; it is a share of all updates, 0 to 1")
    if cfg.stages and not method.ramps:
        raise UserError(f"task.prune.stages has no meaning for task.prune.method={cfg.method}")
    climb = [cfg.initial_sparsity, *cfg.stages, cfg.sparsity]
    if cfg.stages and climb != sorted(climb):
        raise UserError(
            f"task.prune.stages is {list(cfg.stages)}; it climbs from task.prune.initial_sparsity "
            f"({cfg.initial_sparsity}) to task.prune.sparsity ({cfg.sparsity})"
        )


def initial_mask_kind(cfg: Any) -> str:
    """Return the initial mask: one of INITIAL_MASKS, FINETUNED, or a mask file's path."""
    first = METHODS[cfg.method].first
    if first == FILE:
        return cfg.mask
    return first if first == FINETUNED else cfg.initial or first


def schedule(cfg: Any, total_updates: int) -> Union[SparsitySchedule, StagedSchedule]:
    """Return the sparsity over updates that the options ask for.

    Args:
        cfg: a PruneConfig, or a config node like it.
        total_updates: N, the last update of the run.

    Raises:
        UserError: a sparsity out of range, one to begin with above the target, or a climb in a run
            whose length is not known.
    """
    method = METHODS[cfg.method]
    if not method.ramps:
        return SparsitySchedule(final=cfg.sparsity)
    if total_updates < 1:
        raise UserError(
            f"optimization.max_update is {total_updates}: task.prune.method={cfg.method} climbs "
            "over a share of all updates, so it must know how many there are; set it to 1 or more"
        )
    sparsities = [cfg.initial_sparsity, *cfg.stages, cfg.sparsity]
    with options_named(PREFIX):
        return ramp(sparsities, total_updates, cfg.rise, _shape(cfg))


def make_pruner(cfg: Any, total_updates: int) -> Optional[Pruner]:
    """Return the Pruner that the options ask for; None for a dense run.

    Args:
        cfg: a PruneConfig, or a config node like it, that `check` has passed.
        total_updates: N, the last update of the run; 0 where it is not known.

    Raises:
        UserError: names the first option that is wrong.
    """
    method = METHODS[cfg.method]
    if method.first is None:
        return None
    with options_named(PREFIX):
        return Pruner(
            schedule(cfg, total_updates),
            interval=cfg.interval,
            unit=cfg.interval_unit,
            total_updates=total_updates,
            static=method.static,
            granularity=cfg.granularity,
            settings=fingerprint(cfg, total_updates),
        )


def fingerprint(cfg: Any, total_updates: int) -> dict[str, Any]:
    """Return the options that a resumed run must share, as plain values by full key.

    Args:
        cfg: a PruneConfig, or a config node like it.
        total_updates: N; a climb is a share of it, so there it counts too.
    """
    plain = {**{key: cfg[key] for key in FINGERPRINT}, "schedule": _shape(cfg)}
    options = {
        f"{PREFIX}{key}": list(value) if key in _LISTS else value for key, value in plain.items()
    }
    if METHODS[cfg.method].ramps:
        options["optimization.max_update"] = total_updates
    return options


def _shape(cfg: Any) -> str:
    return cfg.schedule or METHODS[cfg.method].schedule
