"""Masks moved between worlds: held, and as PARP's first mask (in the manner of figure 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.claims import Judgement
from experiments.plan import FineTuning, Plan, Result, World
from experiments.scores import Scored, Setting, settings_of
from experiments.statistics import paired
from experiments.tables import NOT_RUN, Table, metric_of, percent
from experiments.verdicts import BY_SIGN, Verdicts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = {"held": "mask held", "parp": "PARP"}
RANDOM = "random (RP)"
ANOTHER_SEED = "own, another seed"


@dataclass(frozen=True)
class Matrix:
    """Errors of one model and sparsity, mask by mask and world by world.

    Attributes:
        model: the pre-trained model's file, without its ending.
        sparsity: of all masks.
        worlds: whose masks, and on which they are fine-tuned.
        rates: (way, whose mask, target) → seed → errors in percent on the first test set; whose
            mask is a world's name, ANOTHER_SEED or RANDOM.
    """

    model: str
    sparsity: float
    worlds: tuple[World, ...]
    rates: Mapping[tuple[str, str, str], Mapping[int, float]]

    @property
    def sources(self) -> list[str]:
        """Whose masks, a row each."""
        names = [world.name for world in self.worlds]
        reseeded = any(source == ANOTHER_SEED for _, source, _ in self.rates)
        return [*names, *([ANOTHER_SEED] if reseeded else []), RANDOM]

    def mean(self, way: str, source: str, target: str) -> float | None:
        """Errors, the mean over seeds; None where it was not run."""
        found = self.rates.get((way, source, target), {}).values()
        return sum(found) / len(found) if found else None

    def change(self, way: str, source: str, target: str) -> float | None:
        """Errors over those with the target's own mask, less 1, in percent; positive is worse."""
        own, moved = self.mean(way, target, target), self.mean(way, source, target)
        return None if own is None or moved is None else 100 * (moved / own - 1)

    def group(self, name: str) -> dict[tuple[str, int], float]:
        """Errors of one of TRANSFER_GROUPS by target and seed.

        Of masks of several worlds it is their mean. A target and seed of which a mask's run is
        missing is left out.
        """
        whose, way = name.split()
        found = {}
        for target in self.worlds:
            others = [world.name for world in self.worlds if world.name != target.name]
            chosen = {
                "own": [target.name],
                "reseeded": [ANOTHER_SEED],
                "moved": others,
                "random": [RANDOM],
            }[whose]
            runs = [self.rates.get((way, source, target.name), {}) for source in chosen]
            for seed in set.intersection(*map(set, runs)) if runs else ():
                found[target.name, seed] = sum(run[seed] for run in runs) / len(runs)
        return found


def matrices(result: Result, scores: Mapping[str, Scored]) -> list[Matrix]:
    """Sort a result's fine-tunings into matrices, model by model."""
    members: dict[tuple[str, float], list[Setting]] = {}
    for setting in settings_of(result, scores):
        if _place(setting.first) is not None:
            key = (setting.first.world.model, setting.first.sparsity)
            members.setdefault(key, []).append(setting)
    found = []
    for (model, sparsity), settings in members.items():
        worlds = {setting.first.world.name: setting.first.world for setting in settings}
        rates = {}
        for setting in settings:
            place = _place(setting.first)
            if place is not None:
                rates[(*place, setting.first.world.name)] = setting.rates(_split(setting.first))
        found.append(Matrix(Path(model).stem, sparsity, tuple(worlds.values()), rates))
    return found


def _place(ft: FineTuning) -> tuple[str, str] | None:
    """The way, and whose mask; None for what is no part of a matrix, such as dense."""
    if ft.method == "omp":
        return "held", ft.world.name
    if ft.source is not None:
        whose = ft.source.name if ft.source_seed is None else ANOTHER_SEED
        return ("held" if ft.method == "mask" else "parp"), whose
    if ft.method == "rp":
        return "held", RANDOM
    if ft.method == "parp" and ft.option("initial") == "random":
        return "parp", RANDOM
    return None


def _split(ft: FineTuning) -> str:
    return ft.world.test[0]


def transfer_tables(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> list[Table]:
    """Errors, and their change against the target's own mask, a table a way."""
    metric = metric_of(settings_of(result, scores))
    tables = []
    for matrix in matrices(result, scores):
        targets = [world.name for world in matrix.worlds]
        about = f"{matrix.model}, {percent(matrix.sparsity)}"
        for way, title in WAYS.items():
            rates, changes = [], []
            for source in matrix.sources:
                means = [matrix.mean(way, source, target) for target in targets]
                rates.append([source, *(_shown(mean, "{:.1f}") for mean in means)])
                found = [matrix.change(way, source, target) for target in targets]
                changes.append([source, *(_shown(change, "{:+.1f}") for change in found)])
            changes.append(_moved(matrix, way, targets))
            header = ["mask of", *targets]
            tables.append(Table(f"{metric} on the test set, {title}, {about}", header, rates))
            tables.append(
                Table(f"change against the own mask, %, {title}, {about}", header, changes)
            )
    return tables


def _moved(matrix: Matrix, way: str, targets: Sequence[str]) -> list[str]:
    line = ["mean of the others'"]
    for target in targets:
        found = [matrix.change(way, source, target) for source in targets if source != target]
        known = [change for change in found if change is not None]
        whole = bool(known) and len(known) == len(found)
        line.append(_shown(sum(known) / len(known) if whole else None, "{:+.1f}"))
    return line


def _shown(value: float | None, form: str) -> str:
    # A sum with zero has no sign where it is nothing.
    return NOT_RUN if value is None else form.format(round(value, 1) + 0.0)


def transfer_figure(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Figure | None:
    """Heat maps of the change, a row a model, a column a way; one scale that random may leave."""
    from matplotlib.figure import Figure

    made = [one for one in matrices(result, scores) if any(one.rates.values())]
    if not made:
        return None
    most = max(len(one.worlds) for one in made)
    longest = max(len(world.name) for one in made for world in one.worlds)
    side = 1.5 + 0.09 * max(longest, len(RANDOM)) + 0.62 * most
    figure = Figure(figsize=(2 * side + 1.0, len(made) * (side + 0.3)), layout="constrained")
    panels = figure.subplots(len(made), len(WAYS), squeeze=False)
    reach = max([abs(change) for one in made for change in _of_worlds(one)] + [1.0])
    image = None
    for line, matrix in zip(panels, made):
        targets = [world.name for world in matrix.worlds]
        for axes, (way, title) in zip(line, WAYS.items()):
            cells = [
                [matrix.change(way, source, target) for target in targets]
                for source in matrix.sources
            ]
            values = [[float("nan") if cell is None else cell for cell in row] for row in cells]
            image = axes.imshow(values, cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="auto")
            axes.axhline(len(targets) - 0.5, color="black", linewidth=1.0)
            axes.set_xticks(range(len(targets)), targets, rotation=45)
            axes.set_yticks(range(len(matrix.sources)), matrix.sources)
            axes.tick_params(length=0)
            axes.set_title(f"{title} ({matrix.model}, {percent(matrix.sparsity)})", fontsize=10)
            axes.set_xlabel("fine-tuned on")
            _write(axes, cells, reach)
        line[0].set_ylabel("mask of")
    metric = metric_of(settings_of(result, scores))
    figure.colorbar(
        image,
        ax=panels,
        shrink=0.7,
        extend="max",
        label=f"change of {metric} against the own mask (%)\norange: more errors",
    )
    return figure


def _of_worlds(matrix: Matrix) -> list[float]:
    names = [world.name for world in matrix.worlds]
    found = [matrix.change(way, a, b) for way in WAYS for a in names for b in names]
    return [change for change in found if change is not None]


def _write(axes: Any, cells: Sequence[Sequence[float | None]], reach: float) -> None:
    for y, line in enumerate(cells):
        for x, value in enumerate(line):
            text = _shown(value, "{:+.1f}")
            colour = "white" if value is not None and abs(value) > 0.62 * reach else "black"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)


def verdicts(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Verdicts:
    """Claims "this group makes fewer errors than that", within targets and seeds."""
    metric = metric_of(settings_of(result, scores))
    rows = []
    for claim in result.claims:
        for matrix in matrices(result, scores):
            found = paired(matrix.group(claim.fewer), matrix.group(claim.than))
            where = f"{matrix.model}, {percent(matrix.sparsity)}"
            judged = Judgement(NOT_RUN if found is None else BY_SIGN[found.sign], found)
            rows.append(judged.told(claim, where, metric))
    note = "Intervals of these claims are over target worlds and seeds, differences within them."
    return Verdicts("difference", "targets and seeds", rows, note)
