"""How alike masks are, shown: every pair (figure 2), and each with MPI's (figure 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from experiments.figures import draw_points, legend, make_figure
from experiments.overlaps import Compared, Comparison, comparisons, read
from experiments.plan import FineTuning, IouClaim, Plan, Result
from experiments.scores import Scored
from experiments.series import Series
from experiments.statistics import Estimate
from experiments.tables import NOT_RUN, Table, percent, title_of
from experiments.verdicts import HELD, NOT_HELD, Verdict, Verdicts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MPI = "mpi"
_CHANCE = "independent random masks"


def chance(sparsity: float) -> float:
    """IOU to expect of two independent random masks, in [0, 1]: (1 - s)² of 1 - s²."""
    return (1 - sparsity) / (1 + sparsity)


def label(ft: FineTuning, comparison: Comparison) -> str:
    """What tells a mask from the others that it is compared with."""
    alike = [one for one in comparison.masks if one.method == ft.method]
    trained = {one.method for one in comparison.masks} - {_MPI, "rp"}
    several = ft.method != _MPI and len({one.world for one in alike}) > 1
    parts = [ft.world.name] if several or trained == {"omp"} == {ft.method} else []
    if not parts or len(trained) > 1:
        parts.insert(0, title_of(ft))
    if len({one.seed for one in alike if one.world == ft.world}) > 1:
        parts.append(f"seed {ft.seed}")
    return " ".join(parts)


def overlap_tables(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> list[Table]:
    """The matrix of each comparison, and the pairs summed up."""
    found = []
    for comparison in comparisons(result):
        compared = read(plan, comparison)
        names = [label(ft, comparison) for ft in comparison.masks]
        title = f"IOU, {comparison.model}, {percent(comparison.sparsity)}"
        if compared is None:
            body = [[name, *[NOT_RUN] * len(names)] for name in names]
        else:
            body = [[name, *map(digits, line)] for name, line in zip(names, compared.matrix)]
        found.append(Table(title, ["mask", *names], body))
    return [*found, *_summary(plan, result)]


def _summary(plan: Plan, result: Result) -> list[Table]:
    rows = []
    for comparison in comparisons(result):
        compared = read(plan, comparison)
        groups: dict[str, list[float]] = {}
        for one, other in combinations(comparison.masks, 2):
            if compared is not None:
                groups.setdefault(_relation(one, other), []).append(compared.between(one, other))
        start = [comparison.model, percent(comparison.sparsity)]
        for name, values in groups.items():
            mean = digits(sum(values) / len(values))
            rows.append([*start, name, str(len(values)), mean, digits(min(values))])
        rows.append([*start, _CHANCE, "-", digits(chance(comparison.sparsity)), "-"])
    header = ["model", "sparsity", "between", "pairs", "mean IOU", "lowest IOU"]
    return [Table("pairs", header, rows, 3)] if rows else []


def _relation(one: FineTuning, other: FineTuning) -> str:
    names = [title_of(one), title_of(other)]
    if one.gives_mask is None or other.gives_mask is None:
        return " and ".join(names)
    differ = ["world"] if one.world != other.world else []
    differ += ["seed"] if one.seed != other.seed else []
    where = f"another {' and '.join(differ)}" if differ else "the same seed"
    return f"{' and '.join(dict.fromkeys(names))}, {where}"


def overlap_figure(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Figure | None:
    """A heat map for each model and sparsity, with one scale from chance to 1.

    Of more than two sparsities the one next to 50%; the others stand in the tables.
    """
    from matplotlib.figure import Figure

    made = [one for one in (read(plan, each) for each in comparisons(result)) if one is not None]
    if not made:
        return None
    sparsities = {one.comparison.sparsity for one in made}
    if len(sparsities) > 2:
        shown = min(sparsities, key=lambda sparsity: abs(sparsity - 0.5))
        made = [one for one in made if one.comparison.sparsity == shown]
    most = max(len(one.matrix) for one in made)
    columns = min(len(made), 2 if most > 8 else 3)
    lines = -(-len(made) // columns)
    longest = max(len(label(ft, one.comparison)) for one in made for ft in one.comparison.masks)
    side = 0.9 + 0.085 * longest + 0.42 * most
    figure = Figure(figsize=(side * columns + 0.9, (side + 0.4) * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False)
    low = min(chance(one.comparison.sparsity) for one in made)
    image = None
    for axes, compared in zip(panels.flat, made):
        names = [label(ft, compared.comparison) for ft in compared.comparison.masks]
        image = axes.imshow(compared.matrix, cmap="cividis", vmin=low, vmax=1.0)
        axes.set_title(f"{compared.comparison.model}, {percent(compared.comparison.sparsity)}")
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        for y, line in enumerate(compared.matrix):
            for x, value in enumerate(line):
                colour = "black" if value > (low + 1) / 2 else "white"
                text = "1" if x == y else f"{min(value, 0.999):.3f}"[1:]
                axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color=colour)
    for axes in list(panels.flat)[len(made) :]:
        axes.set_visible(False)
    figure.colorbar(image, ax=panels, shrink=0.6, label="IOU of kept weights")
    return figure


def first_tables(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> list[Table]:
    """IOU with MPI's mask, a row a setting."""
    rows = []
    for members, found in _with_mpi(plan, result):
        ft = members[0]
        cells = [NOT_RUN] * 2
        if found:
            cells = [digits(sum(found) / len(found)), digits(min(found))]
        line = [ft.world.name, title_of(ft), percent(ft.sparsity), *cells]
        rows.append([*line, digits(chance(ft.sparsity)), f"{len(found)} of {len(members)}"])
    header = ["world", "method", "sparsity", "mean IOU", "lowest IOU", "by chance", "seeds"]
    return [Table("IOU with MPI's mask", header, rows, 2)]


def first_figure(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Figure | None:
    """IOU with MPI's mask over sparsity, a panel a world; below in full, above magnified."""
    made = [(members[0], found) for members, found in _with_mpi(plan, result) if found]
    if not made:
        return None
    worlds = list(dict.fromkeys(ft.world.name for ft, _ in made))
    figure, panels = make_figure(len(worlds), 4.6)
    for axes, world in zip(panels, worlds):
        here = [(ft, found) for ft, found in made if ft.world.name == world]
        for method in dict.fromkeys(ft.method for ft, _ in here):
            found = {ft.sparsity: (ft, values) for ft, values in here if ft.method == method}
            xs = sorted(found)
            series = Series(method, title_of(found[xs[0]][0]), ())
            draw_points(
                axes,
                [100 * x for x in xs],
                [Estimate.of(found[x][1]) for x in xs],
                label=series.label,
                **series.look,
            )
        xs = sorted({ft.sparsity for ft, _ in here})
        axes.plot(
            [100 * x for x in xs],
            [chance(x) for x in xs],
            ":",
            color="#666666",
            label=_CHANCE,
        )
        axes.set_title(world)
        axes.set_xlabel("sparsity (%)")
        axes.grid(color="#dddddd")
    panels[0].set_ylabel("IOU with MPI's mask (PARP's first)")
    panels[0].set_ylim(0, 1.03)
    legend(figure, panels, "mean over seeds, bars: 95% t-intervals", 3)
    return figure


def _with_mpi(plan: Plan, result: Result) -> Iterable[tuple[list[FineTuning], list[float]]]:
    """Fine-tunings that differ in their seed alone, and the IOU of those that were compared."""
    groups: dict[tuple[str, str], tuple[list[FineTuning], list[float]]] = {}
    for comparison in comparisons(result):
        compared = read(plan, comparison)
        mpi = next((ft for ft in comparison.masks if ft.method == _MPI), None)
        for ft in comparison.masks:
            if ft.method == _MPI:
                continue
            members, found = groups.setdefault((ft.world.name, ft.setting), ([], []))
            members.append(ft)
            if compared is not None and mpi is not None:
                found.append(compared.between(ft, mpi))
    order = {ft.method: place for place, ft in reversed(list(enumerate(result.masks)))}
    return sorted(groups.values(), key=lambda one: (order[one[0][0].method], one[0][0].sparsity))


def verdicts(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Verdicts:
    """The claims about IOU: *held* where every pair that was compared is above the bound."""
    made = [one for one in (read(plan, each) for each in comparisons(result)) if one is not None]
    rows = []
    for claim in result.claims:
        assert isinstance(claim, IouClaim)
        values = [value for one in made for value in _values(claim, one)]
        if not values:
            rows.append(Verdict(claim.says, paper=claim.paper))
            continue
        verdict = HELD if min(values) > claim.above else NOT_HELD
        shown = digits(min(values))
        rows.append(Verdict(claim.says, verdict, shown, len(values), claim.why, claim.paper))
    return Verdicts("lowest IOU", "pairs", rows)


def _values(claim: IouClaim, compared: Compared) -> list[float]:
    """Of every pair that a claim speaks of."""
    masks: Sequence[FineTuning] = compared.comparison.masks
    keys = {claim.of, claim.and_of}
    return [
        compared.between(one, other)
        for one, other in combinations(masks, 2)
        if {one.setting, other.setting} == keys
        and (not claim.worlds_differ or one.world != other.world)
    ]


def digits(value: Any) -> str:
    """Four digits; a one only where the masks are the same."""
    return "1" if value == 1 else f"{min(value, 0.9999):.4f}"
