"""What the runs of a transfer experiment found: cells, averages as in table 4, overlaps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from parp_fairseq.glue.specs import Spec
from parp_fairseq.glue.store import Store, read_object
from parp_fairseq.glue.transfer import MPI, PARP, REGULAR, Plan, names_of, overlap_file


@dataclass(frozen=True)
class Outcome:
    """What the runs of a plan found so far; cells without a run are empty.

    Attributes:
        plan: what was to be run.
        settings: of all runs.
        values: (way or method, source or None, target) → main score in percent, one a seed.
        overlaps: seed → IOU of the masks, with MPI's mask last.
        seconds: of all fine-tunings together.
        results: what each run left.
    """

    plan: Plan
    settings: dict[str, Any]
    values: dict[tuple[str, str | None, str], list[float]]
    overlaps: dict[int, list[list[float]]]
    results: list[dict[str, Any]]

    @property
    def seconds(self) -> float:
        """Of all fine-tunings together."""
        return sum(result["seconds"] for result in self.results)

    @property
    def planned(self) -> int:
        """How many runs the plan has."""
        return sum(len(self.plan.specs(seed)) for seed in self.plan.seeds)

    def mean(self, way: str, source: str | None, target: str) -> float | None:
        """The main score of a cell, its mean over seeds; None where there is no run."""
        values = self.values.get((way, source, target))
        return sum(values) / len(values) if values else None

    def average(self, way: str, target: str) -> float | None:
        """The mean over the other tasks' masks, as table 4 has it; None until all were run."""
        others = [task.name for task in self.plan.tasks if task.name != target]
        means = [self.mean(way, source, target) for source in others]
        known = [mean for mean in means if mean is not None]
        return sum(known) / len(known) if len(known) == len(means) else None

    def overlap(self) -> list[list[float]] | None:
        """IOU of the masks, the mean over seeds; MPI's last."""
        matrices = list(self.overlaps.values())
        if not matrices:
            return None
        size = range(len(matrices[0]))
        return [[sum(m[a][b] for m in matrices) / len(matrices) for b in size] for a in size]

    def lowest_overlap(self) -> float | None:
        """The smallest IOU of two tasks' masks."""
        tasks = range(len(self.plan.tasks))
        overlaps = [m[a][b] for m in self.overlaps.values() for a in tasks for b in tasks if a != b]
        return min(overlaps) if overlaps else None

    def to_json(self) -> dict[str, Any]:
        """As JSON: settings, cells, averages, overlap; None where there is no run."""
        names = names_of(self.plan)
        ways = (REGULAR, PARP)
        lone = {method: {t: self.mean(method, None, t) for t in names} for method in self.methods}
        return {
            "tasks": names,
            "sparsity": self.plan.sparsity,
            "source": self.plan.kind,
            "seeds": list(self.plan.seeds),
            "settings": self.settings,
            "runs": len(self.results),
            "planned": self.planned,
            "seconds": round(self.seconds, 1),
            "same_task": {t: self.mean(REGULAR, t, t) for t in names},
            "cross_task": {
                way: {t: self.average(way, t) for t in names} for way in (REGULAR, PARP)
            },
            "matrix": {
                way: {a: {b: self.mean(way, a, b) for b in names} for a in names} for way in ways
            },
            "alone": lone,
            "overlap": {"masks": [*names, MPI], "iou": self.overlap()},
        }

    @property
    def methods(self) -> tuple[str, ...]:
        """Dense fine-tuning, and the methods that were run alone."""
        return ("dense", *self.plan.alone)


def read_outcome(plan: Plan, store: Store) -> Outcome:
    """Read what the runs of a plan left in a folder; nothing is trained.

    Raises:
        UserError: the folder holds no runs on GLUE.
    """
    settings = store.settings()
    values: dict[tuple[str, str | None, str], list[float]] = {}
    results, overlaps = [], {}
    for seed in plan.seeds:
        for key, spec in _keys(plan, seed):
            result = store.result(spec)
            if result is None:
                continue
            values.setdefault(key, []).append(result["scores"]["dev"][0]["value"])
            results.append(result)
        file = overlap_file(store, plan, seed)
        if file.is_file():
            content = read_object(file)
            wanted = [*names_of(plan), MPI]
            if set(wanted) <= set(content["masks"]):
                rows = [content["masks"].index(name) for name in wanted]
                overlaps[seed] = [[content["iou"][a][b] for b in rows] for a in rows]
    return Outcome(plan, asdict(settings), values, overlaps, results)


def _keys(plan: Plan, seed: int) -> list[tuple[tuple[str, str | None, str], Spec]]:
    cells: list[tuple[tuple[str, str | None, str], Spec]] = []
    for target in plan.tasks:
        cells.append((("dense", None, target.name), plan.dense(target, seed)))
        for source in plan.tasks:
            for way in (REGULAR, PARP):
                spec = plan.cell(way, source, target, seed)
                cells.append(((way, source.name, target.name), spec))
        for method in plan.alone:
            cells.append(((method, None, target.name), plan.single(method, target, seed)))
    return cells
