"""Options under `task.prune`."""

# No `from __future__ import annotations` here: fairseq reads the dataclass's types as they stand,
# and omegaconf 2.0 understands typing's own generics alone.
from dataclasses import dataclass, field
from typing import Any, List, Optional, Union  # noqa: UP035

from fairseq.dataclass import FairseqDataclass

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import SparsityChain, SparsitySchedule
from parp_fairseq.pruning.magnitude import check_granularity, check_sparsity

METHODS = ("parp", "parp_p", "mpi", "rp", "omp", "mask", "dense")
HELD = ("mpi", "rp", "omp", "mask")
FIRST_MASKS = ("magnitude", "random", "random_init")
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


@dataclass
class PruneConfig(FairseqDataclass):
    """How a run prunes (names: `METHODS`, `FIRST_MASKS`; the yaml files explain each)."""

    method: str = field(default="parp", metadata={"help": f"one of {', '.join(METHODS)}"})
    sparsity: float = field(
        default=0.5, metadata={"help": "share of the prunable entries set to zero, in [0, 1]"}
    )
    initial_sparsity: float = field(
        default=0.0, metadata={"help": "parp_p: the sparsity at update 0"}
    )
    rise: float = field(
        default=0.5, metadata={"help": "parp_p: the share of all updates over which it climbs"}
    )
    stages: List[float] = field(  # noqa: UP006
        default_factory=list,
        metadata={
            "help": "parp_p: sparsities on the way; each is reached and held for an equal share "
            "of all updates, like a run of its own"
        },
    )
    initial: Optional[str] = field(
        default=None,
        metadata={
            "help": "first mask: magnitude, random, random_init or a mask file "
            "(default: magnitude; for rp: random)"
        },
    )
    interval: int = field(default=50, metadata={"help": "n: prune again every n units"})
    interval_unit: str = field(default="epoch", metadata={"help": "update or epoch"})
    schedule: str = field(default="linear", metadata={"help": "parp_p: linear or cubic"})
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
    if cfg.method not in METHODS:
        raise UserError(f"task.prune.method is {cfg.method!r}; use one of {', '.join(METHODS)}")
    check_sparsity(cfg.sparsity)
    check_granularity(cfg.granularity)
    if not 0.0 <= cfg.rise <= 1.0:
        raise UserError(f"task.prune.rise is {cfg.rise}; it is a share of all updates, 0 to 1")
    if cfg.stages and cfg.method != "parp_p":
        raise UserError(f"task.prune.stages has no meaning for task.prune.method={cfg.method}")
    climb = [cfg.initial_sparsity, *cfg.stages, cfg.sparsity]
    if cfg.stages and climb != sorted(climb):
        raise UserError(
            f"task.prune.stages is {list(cfg.stages)}; it climbs from task.prune.initial_sparsity "
            f"({cfg.initial_sparsity}) to task.prune.sparsity ({cfg.sparsity})"
        )
    if cfg.method in ("mask", "omp") and not cfg.mask:
        what = "a mask file" if cfg.method == "mask" else "a fine-tuned checkpoint"
        raise UserError(f"task.prune.method={cfg.method} needs task.prune.mask: {what}")
    if cfg.mask and cfg.method not in ("mask", "omp"):
        raise UserError(
            f"task.prune.mask goes with task.prune.method=mask or omp, not {cfg.method}; "
            "for a first mask that may change, use task.prune.initial"
        )
    if cfg.method == "mpi" and cfg.initial not in (None, "magnitude"):
        raise UserError("task.prune.method=mpi begins with magnitude; leave task.prune.initial out")
    if cfg.method == "rp" and cfg.initial not in (None, "random", "random_init"):
        raise UserError("task.prune.method=rp takes task.prune.initial=random or random_init")
    if cfg.method in ("omp", "mask", "dense") and cfg.initial is not None:
        raise UserError(f"task.prune.initial has no meaning for task.prune.method={cfg.method}")


def first_mask_kind(cfg: Any) -> str:
    """Return what the first mask is: one of FIRST_MASKS, "omp", or the path of a mask file."""
    if cfg.method == "omp":
        return "omp"
    if cfg.method == "mask":
        return cfg.mask
    return cfg.initial or ("random" if cfg.method == "rp" else "magnitude")


def schedule(cfg: Any, total_updates: int) -> Union[SparsitySchedule, SparsityChain]:
    """Return the sparsity over updates that the options ask for.

    Args:
        cfg: a PruneConfig, or a config node like it.
        total_updates: N, the last update of the run.

    Raises:
        UserError: a sparsity out of range, or one to begin with above the target.
    """
    if cfg.method != "parp_p":
        return SparsitySchedule(final=cfg.sparsity)
    points = [cfg.initial_sparsity, *cfg.stages, cfg.sparsity]
    length = total_updates // (len(points) - 1)
    legs = tuple(
        SparsitySchedule(end, begin, round(cfg.rise * length), cfg.schedule)
        for begin, end in zip(points, points[1:])
    )
    return legs[0] if len(legs) == 1 else SparsityChain(legs, max(1, length))


def fingerprint(cfg: Any) -> dict[str, Any]:
    """Return the options that a resumed run must share, as plain values by full key."""
    plain = {key: cfg[key] for key in FINGERPRINT}
    return {
        f"task.prune.{key}": list(value) if key in _LISTS else value for key, value in plain.items()
    }
