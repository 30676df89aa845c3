"""Figures of results, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.languages import by_group, draw_languages
from experiments.plan import Plan, Result
from experiments.scores import Scored, Setting, settings_of
from experiments.statistics import CELLS, Estimate
from experiments.tables import by_cell, metric_of, percent, title_of
from parp_fairseq.analysis.figures import check_drawing
from parp_fairseq.files import replacing
from parp_fairseq.pruning.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMP_STYLE = ("#F0E442", "<")
_CELL_STYLES = {
    "constant, held": ("mpi", "full"),
    "constant, free": ("parp", "full"),
    "climbing, held": ("gmp", "full"),
    "climbing, free": ("parp_p", "full"),
}


def draw(plan: Plan, result: Result, scores: Mapping[str, Scored], folder: Path) -> list[Path]:
    """Draw what was run into `folder/SCALE.png` and `.pdf`; nothing where nothing was.

    Raises:
        UserError: matplotlib is not installed.
    """
    check_drawing()
    settings = [setting for setting in settings_of(result, scores) if setting.by_seed]
    if not settings:
        return []
    kinds = {"rates": _rates, "effects": _effects, "views": _views, "languages": _languages}
    figure = kinds[result.kind](settings)
    files = [folder / f"{plan.scale}.{ending}" for ending in ("png", "pdf")]
    for file in files:
        # Without dates and versions, so that the same scores give the same bytes.
        metadata: dict[str, Any] = {"Software": None}
        if file.suffix == ".pdf":
            metadata = {"Creator": None, "Producer": None, "CreationDate": None}
        with replacing(file) as partial:
            figure.savefig(partial, dpi=150, metadata=metadata)
    return files


def _style(method: str) -> tuple[str, str]:
    return (METHODS[method].colour, METHODS[method].marker) if method in METHODS else _IMP_STYLE


def _figure(columns: int = 1, height: float = 4.4) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.8, 3.4 * columns), height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=True)[0]


def _points(axes: Any, xs: Sequence[float], estimates: Sequence[Estimate], **style: Any) -> None:
    axes.errorbar(
        xs,
        [estimate.mean for estimate in estimates],
        yerr=[estimate.half or 0.0 for estimate in estimates],
        capsize=3,
        **style,
    )


def _rates(settings: Sequence[Setting]) -> Figure:
    """Errors over sparsity, a panel a world, dense as a line."""
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    figure, panels = _figure(len(worlds))
    for axes, world in zip(panels, worlds):
        members = [setting for setting in settings if setting.first.world.name == world]
        split = members[0].first.world.test[0]
        methods = list(dict.fromkeys(setting.first.method for setting in members))
        for place, method in enumerate(methods):
            found = {
                setting.first.sparsity: Estimate.of(list(setting.rates(split).values()))
                for setting in reversed(members)
                if setting.first.method == method
            }
            colour, marker = _style(method)
            label = METHODS[method].title if method in METHODS else method.upper()
            if method == "dense":
                dense = found[0.0]
                axes.axhline(dense.mean, color=colour, linestyle="--", label=label)
                if dense.half is not None:
                    axes.axhspan(dense.low, dense.high, color=colour, alpha=0.08)
                continue
            xs = sorted(found)
            _points(
                axes,
                # Beside each other, so that intervals at one sparsity can be seen.
                [100 * x + 0.5 * (place - len(methods) / 2) for x in xs],
                [found[x] for x in xs],
                color=colour,
                marker=marker,
                label=label,
            )
        axes.set_title(world)
        axes.set_xlabel("sparsity (%)")
        axes.grid(color="#dddddd")
    split = settings[0].first.world.test[0]
    panels[0].set_ylabel(f"{metric_of(settings)} on {split} (%), lower is better")
    _legend(figure, panels, "mean over seeds, bars: 95% t-intervals")
    return figure


def _effects(settings: Sequence[Setting]) -> Figure:
    """The four cells side by side at each sparsity, seeds as small dots."""
    split = settings[0].first.world.test[0]
    found = by_cell(settings, split)
    figure, (axes,) = _figure()
    for place, cell in enumerate(CELLS):
        colour, marker = _style(_CELL_STYLES[cell][0])
        xs, estimates = [], []
        for number, cells in enumerate(found.values()):
            rates = list(cells.get(cell, {}).values())
            if rates:
                x = number + 0.16 * (place - 1.5)
                xs.append(x)
                estimates.append(Estimate.of(rates))
                axes.scatter([x + 0.05] * len(rates), rates, s=9, color=colour, alpha=0.6)
        title = METHODS[_CELL_STYLES[cell][0]].title
        label = f"{cell} ({title})"
        _points(axes, xs, estimates, color=colour, marker=marker, linestyle="none", label=label)
    axes.set_xticks(range(len(found)), [percent(sparsity) for sparsity in found])
    axes.set_xlabel("sparsity")
    axes.set_ylabel(f"{metric_of(settings)} on {split} (%), lower is better")
    axes.grid(axis="y", color="#dddddd")
    _legend(figure, [axes], "bars: 95% t-intervals; dots: seeds", 2)
    return figure


def _views(settings: Sequence[Setting]) -> Figure:
    """Errors of θ and of m⊙θ on the validation set over the updates, a panel a setting."""
    figure, panels = _figure(len(settings), 3.8)
    for axes, setting in zip(panels, settings):
        ft = setting.first
        for number, scored in enumerate(setting.by_seed.values()):
            trail = scored.content["trail"]
            updates = [point["update"] for point in trail]
            for key, label, colour, dash in (
                ("subnetwork", "m⊙θ", "#0072B2", "-"),
                ("theta", "θ", "#D55E00", "--"),
            ):
                axes.plot(
                    updates,
                    [point[key] for point in trail],
                    dash,
                    color=colour,
                    marker=".",
                    label=label if number == 0 else None,
                )
        axes.set_title(f"{title_of(ft)}\nat {percent(ft.sparsity)}", fontsize=9)
        axes.set_xlabel("update")
        axes.grid(color="#dddddd")
    split = settings[0].first.world.valid
    panels[0].set_ylabel(f"{metric_of(settings)} on {split} (%)")
    _legend(figure, panels[:1], "")
    return figure


def _languages(settings: Sequence[Setting]) -> Figure:
    """Errors by language and their average, a panel a group of worlds."""
    from matplotlib.figure import Figure

    columns = len(by_group(settings))
    figure = Figure(figsize=(max(6.8, 5.2 * columns), 4.4), layout="constrained")
    _legend(figure, draw_languages(figure, settings), "")
    return figure


def _legend(figure: Figure, panels: Sequence[Any], note: str, columns: int = 4) -> None:
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        title=note or None,
        title_fontsize=8,
    )
