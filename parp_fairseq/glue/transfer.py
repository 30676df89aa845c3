"""Masks found on one task, fine-tuned on another: held, or as the first mask of PARP (table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_json
from parp_fairseq.glue.runs import GlueRuns
from parp_fairseq.glue.specs import SOURCES, PruningOptions, Source, Spec, spec_of
from parp_fairseq.glue.store import OVERLAP, Store, read_object
from parp_fairseq.glue.tasks import Task

REGULAR, PARP = "regular", "parp"
MPI = "mpi"


@dataclass(frozen=True)
class Plan:
    """Which runs make up a transfer experiment.

    Attributes:
        tasks: sources and targets, two or more.
        sparsity: of all masks, above 0 and below 1.
        kind: how a task's mask is found, "omp" or "imp".
        seeds: of all runs.
        alone: methods that are run on every task by themselves.
        options: of methods that prune while they train.
    """

    tasks: tuple[Task, ...]
    sparsity: float
    kind: str = "omp"
    seeds: tuple[int, ...] = (1,)
    alone: tuple[str, ...] = ()
    options: PruningOptions = field(default_factory=PruningOptions)

    def check(self) -> None:
        """Raise UserError where the options cannot be."""
        if len(self.tasks) < 2 or len(set(self.tasks)) < len(self.tasks):
            raise UserError("--tasks names fewer than two different tasks; give cola,mrpc,…")
        if self.kind not in SOURCES:
            raise UserError(f"--source is {self.kind!r}; use {' or '.join(SOURCES)}")
        if not 0.0 < self.sparsity < 1.0:
            raise UserError(
                f"--sparsity is {self.sparsity:g}; masks to transfer need more than 0, less than 1"
            )
        for method in self.alone:
            if method in ("mask", "dense"):
                raise UserError(f"--alone {method}: give methods such as parp,parp_p,mpi,rp")
        self.specs(self.seeds[0])

    def dense(self, task: Task, seed: int) -> Spec:
        """The task's ordinary fine-tuning."""
        return spec_of(task, "dense", 0.0, seed, None, self.options)

    def cell(self, way: str, source: Task, target: Task, seed: int) -> Spec:
        """The fine-tuning on `target` of the mask of `source`, `way` being REGULAR or PARP."""
        method = "mask" if way == REGULAR else PARP
        mask = Source(source.name, self.kind)
        return Spec(target, method, self.sparsity, seed, mask, None, self.options)

    def single(self, method: str, task: Task, seed: int) -> Spec:
        """A method by itself."""
        return spec_of(task, method, self.sparsity, seed, None, self.options)

    def specs(self, seed: int) -> list[Spec]:
        """All runs of a seed, in their order: what the table needs most comes first."""
        tasks = self.tasks
        found = [self.dense(task, seed) for task in tasks]
        found += [self.cell(REGULAR, task, task, seed) for task in tasks]
        for target in tasks:
            for source in tasks:
                if source is not target:
                    found += [self.cell(way, source, target, seed) for way in (REGULAR, PARP)]
        found += [self.cell(PARP, task, task, seed) for task in tasks]
        found += [self.single(method, task, seed) for method in self.alone for task in tasks]
        return found


def run_transfer(plan: Plan, runs: GlueRuns) -> None:
    """Make all runs of a plan that are not there, seed by seed, and compare the masks.

    Raises:
        UserError: what a run needs is missing or does not fit; told before any training.
    """
    specs = [spec for seed in plan.seeds for spec in plan.specs(seed)]
    runs.check(specs)
    for seed in plan.seeds:
        for spec in plan.specs(seed):
            runs.run(spec, keep_model=spec.method == "dense")
            runs.done += 1
            sources = [Source(name, plan.kind) for name in names_of(plan)]
            if all(runs.store.mask(source, plan.sparsity, seed).is_file() for source in sources):
                write_overlap(plan, runs, seed)


def write_overlap(plan: Plan, runs: GlueRuns, seed: int) -> None:
    """Write the IOU of every two tasks' masks, and of each with MPI's, into the runs' folder."""
    from parp_fairseq.masks.files import load_mask
    from parp_fairseq.pruning import iou

    file = overlap_file(runs.store, plan, seed)
    if file.is_file() and set(names_of(plan)) <= set(read_object(file).get("masks", ())):
        return
    masks = [
        load_mask(
            runs.mask(Source(task.name, plan.kind), plan.sparsity, seed, plan.dense(task, seed))
        )[0]
        for task in plan.tasks
    ]
    masks.append(runs.magnitude_mask(plan.single(MPI, plan.tasks[0], seed)))
    matrix = [[round(iou(a, b), 6) for b in masks] for a in masks]
    write_json(file, {"masks": [*names_of(plan), MPI], "iou": matrix})


def overlap_file(store: Store, plan: Plan, seed: int) -> Path:
    """Where the overlap of a plan's masks is written."""
    return store.root / f"{OVERLAP}{plan.kind}_{plan.sparsity:g}_seed{seed}.json"


def names_of(plan: Plan) -> list[str]:
    """The names of a plan's tasks."""
    return [task.name for task in plan.tasks]


def plan_of(
    tasks: Sequence[Task],
    sparsity: float,
    kind: str,
    seeds: Sequence[int],
    alone: Sequence[str],
    options: PruningOptions,
) -> Plan:
    """Make and check a plan. Raises what `Plan.check` raises."""
    plan = Plan(tuple(tasks), sparsity, kind, tuple(seeds), tuple(alone), options)
    plan.check()
    return plan
