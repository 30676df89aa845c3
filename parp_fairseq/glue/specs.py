"""What one fine-tuning on GLUE is: task, method, sparsity, seed, and where its mask comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.glue.tasks import Task
from parp_fairseq.pruning.methods import INITIAL_MASKS, METHODS, method_named

OMP, IMP = "omp", "imp"
SOURCES = (OMP, IMP)
"""How the mask of a task is found: by one dense fine-tuning, or in rounds."""

CHOICES = (*METHODS, IMP)
"""What `--method` takes."""


@dataclass(frozen=True)
class Source:
    """The mask of a task at the run's own sparsity and seed."""

    task: str
    kind: str

    def __str__(self) -> str:
        return f"{self.task}-{self.kind}"


@dataclass(frozen=True)
class PruningOptions:
    """Options of the methods that prune while they train (see `hf.PruningCallback`).

    n of algorithm 1 is an epoch here, as it is counted in the paper's scripts. With one update, a
    step of Adam's is far too small for a pruned weight to pass the threshold in between.
    """

    interval: int = 1
    interval_unit: str = "epoch"
    initial: str | None = None
    initial_sparsity: float | None = None
    rise: float = 0.5
    schedule: str | None = None
    granularity: str = "global"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One fine-tuning.

    Attributes:
        task: what is trained and scored.
        method: a name in `pruning.methods.METHODS`; OMP and IMP are `mask` with a source.
        sparsity: the target, in [0, 1]; 0 for "dense".
        seed: of head, batches, dropout and random masks.
        source: the task whose mask is held (`mask`) or is the first one (`parp`, …).
        file: a mask file of the user's in the place of `source`.
        options: of methods that prune while they train.
    """

    task: Task
    method: str
    sparsity: float
    seed: int
    source: Source | None = None
    file: Path | None = None
    options: PruningOptions = field(default_factory=PruningOptions)

    @property
    def label(self) -> str:
        """The method as a user names it: "omp" for a mask of the task's own."""
        own = self.method == "mask" and self.source and self.source.task == self.task.name
        return self.source.kind if own and self.source else self.method

    @property
    def name(self) -> str:
        """Of its folder, below its task's and above its seed's."""
        if self.method == "dense":
            return "dense"
        parts = [self.label, f"{self.sparsity:g}"]
        if self.label == self.method and self.source:
            parts.append(str(self.source))
        if self.file:
            parts.append(self.file.stem)
        elif self.options.initial:
            parts.append(self.options.initial)
        return "_".join(parts)

    @property
    def used(self) -> dict[str, Any]:
        """The options that have a meaning for the method, for the callback that prunes."""
        method = METHODS[self.method]
        settings: dict[str, Any] = {}
        options = self.options
        if method.first is None:
            return settings
        settings.update(include=list(options.include), exclude=list(options.exclude))
        if self.file is None or self.method != "mask":
            # Of the mask that magnitudes give: the run's own, or the one of its source.
            settings.update(granularity=options.granularity)
        if not method.static:
            settings.update(interval=options.interval, interval_unit=options.interval_unit)
        if method.ramps:
            first = options.initial_sparsity
            if first is None:
                first = 0.0 if method.static else max(0.0, round(self.sparsity - 0.1, 6))
            settings.update(
                initial_sparsity=first,
                rise=options.rise,
                schedule=options.schedule or method.schedule,
            )
            settings.update(interval=options.interval, interval_unit=options.interval_unit)
        return settings


def spec_of(
    task: Task,
    method: str,
    sparsity: float,
    seed: int,
    mask: Path | None = None,
    options: PruningOptions | None = None,
) -> Spec:
    """Make a Spec of what a user asked for.

    Args:
        task: what is trained.
        method: one of `CHOICES`.
        sparsity: the target, in [0, 1]; has no meaning for "dense".
        seed: of everything random.
        mask: a mask file: held (`mask`), or the first one of `parp`, `parp_p`, `gmp`.
        options: of methods that prune while they train.

    Raises:
        UserError: an unknown method, or options that do not go together.
    """
    options = options or PruningOptions()
    if method in SOURCES:
        _no_mask(method, mask)
        if options.initial:
            raise UserError(f"--initial has no meaning for method {method}")
        return Spec(task, "mask", sparsity, seed, Source(task.name, method), None, options)
    if method not in METHODS:
        with options_named("--"):
            method_named(method, (IMP,))
    how = METHODS[method]
    if method == "dense":
        _no_mask(method, mask)
        return Spec(task, method, 0.0, seed, None, None, options)
    if method == "mask" and mask is None:
        raise UserError("--mask is missing: method mask needs a mask file")
    if mask is not None and method != "mask" and not how.any_file:
        _no_mask(method, mask)
    if mask is not None and options.initial:
        raise UserError("--initial and --mask both name the first mask; give one of them")
    if options.initial:
        if options.initial not in INITIAL_MASKS:
            raise UserError(
                f"--initial is {options.initial!r}; use {', '.join(INITIAL_MASKS)}, or --mask for "
                "a mask file"
            )
        with options_named("--"):
            how.check(options.initial, None)
    return Spec(task, method, sparsity, seed, None, mask, options)


def _no_mask(method: str, mask: Path | None) -> None:
    if mask is not None:
        raise UserError(f"--mask goes with method mask, parp, parp_p or gmp, not {method}")
