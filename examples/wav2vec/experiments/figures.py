"""Figures of results, as PNG and PDF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.languages import draw_languages
from experiments.scores import Setting
from experiments.series import series_of
from experiments.statistics import CELLS, Estimate
from experiments.tables import by_cell, metric_of, percent, title_of
from parp_fairseq.files import replacing
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report.style import look_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL_STYLES = {
    "constant, held": ("mpi", "full"),
    "constant, free": ("parp", "full"),
    "climbing, held": ("gmp", "full"),
    "climbing, free": ("parp_p", "full"),
}


def save(figure: Figure, folder: Path, scale: str) -> list[Path]:
    """Write `folder/SCALE.png` and `.pdf`, and return them."""
    files = [folder / f"{scale}.{ending}" for ending in ("png", "pdf")]
    for file in files:
        # Without dates and versions, so that the same scores give the same bytes.
        metadata: dict[str, Any] = {"Software": None}
        if file.suffix == ".pdf":
            metadata = {"Creator": None, "Producer": None, "CreationDate": None}
        with replacing(file) as partial:
            figure.savefig(partial, dpi=150, metadata=metadata)
    return files


def make_figure(columns: int = 1, height: float = 4.4) -> tuple[Figure, Any]:
    """A figure with panels side by side, `height` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.8, 3.4 * columns), height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=True)[0]


def draw_level(axes: Any, method: str, level: Estimate, label: str) -> None:
    """A method's errors as a level where the axis means nothing to it, and their interval."""
    colour, _ = look_of(method)
    axes.axhline(level.mean, color=colour, linestyle="--", label=label)
    if level.half is not None:
        axes.axhspan(level.low, level.high, color=colour, alpha=0.08)


def draw_points(
    axes: Any, xs: Sequence[float], estimates: Sequence[Estimate], **style: Any
) -> None:
    """Means over x, with their intervals as bars; no bar where one seed gives none."""
    axes.errorbar(
        xs,
        [estimate.mean for estimate in estimates],
        yerr=[math.nan if estimate.half is None else estimate.half for estimate in estimates],
        capsize=3,
        **style,
    )


def rates_figure(settings: Sequence[Setting]) -> Figure:
    """Errors over sparsity, a panel a world, dense as a line."""
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    figure, panels = make_figure(len(worlds))
    told = ""
    for axes, world in zip(panels, worlds):
        members = [setting for setting in settings if setting.first.world.name == world]
        split = members[0].first.world.test[0]
        label = f"{metric_of(members)} on {split} (%), lower is better"
        if label != told:
            axes.set_ylabel(label)
        told = label
        lines = series_of(members)
        for place, series in enumerate(lines):
            found = {
                setting.first.sparsity: Estimate.of(list(setting.rates(split).values()))
                for setting in series.members
            }
            if series.method == "dense":
                draw_level(axes, "dense", found[0.0], "dense")
                continue
            xs = sorted(found)
            draw_points(
                axes,
                # Beside each other, so that intervals at one sparsity can be seen.
                [100 * x + 0.5 * (place - len(lines) / 2) for x in xs],
                [found[x] for x in xs],
                label=series.label,
                **series.look,
            )
        _room(axes, members)
        axes.set_title(world)
        axes.set_xlabel("sparsity (%)")
        axes.grid(color="#dddddd")
    legend(figure, panels, "mean over seeds, bars: 95% t-intervals; no bar: one seed")
    return figure


def _room(axes: Any, members: Sequence[Setting]) -> None:
    """Of one sparsity the axis shows that alone, with room around it."""
    sparsities = {100 * one.first.sparsity for one in members if one.first.method != "dense"}
    if len(sparsities) == 1:
        (only,) = sparsities
        axes.set_xlim(only - 5, only + 5)
        axes.set_xticks([only])


def effects_figure(settings: Sequence[Setting]) -> Figure:
    """The four cells side by side at each sparsity, seeds as small dots."""
    split = settings[0].first.world.test[0]
    found = by_cell(settings, split)
    figure, (axes,) = make_figure()
    for place, cell in enumerate(CELLS):
        colour, marker = look_of(_CELL_STYLES[cell][0])
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
        draw_points(axes, xs, estimates, color=colour, marker=marker, linestyle="none", label=label)
    axes.set_xticks(range(len(found)), [percent(sparsity) for sparsity in found])
    axes.set_xlabel("sparsity")
    axes.set_ylabel(f"{metric_of(settings)} on {split} (%), lower is better")
    axes.grid(axis="y", color="#dddddd")
    legend(figure, [axes], "bars: 95% t-intervals; dots: seeds", 2)
    return figure


def views_figure(settings: Sequence[Setting]) -> Figure:
    """Errors of θ and of m⊙θ on the validation set over the updates, a panel a setting."""
    from matplotlib.figure import Figure

    columns = min(len(settings), 2)
    rows = -(-len(settings) // columns)
    figure = Figure(figsize=(max(6.8, 3.8 * columns), 0.6 + 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, setting in zip(panels.flat, settings):
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
        axes.grid(color="#dddddd")
    for axes in panels.flat[len(settings) :]:
        axes.remove()
    split = settings[0].first.world.valid
    figure.supxlabel("update", fontsize=10)
    figure.supylabel(f"{metric_of(settings)} on {split} (%), lower is better", fontsize=10)
    legend(figure, panels.flat[:1], "")
    return figure


def languages_figure(settings: Sequence[Setting]) -> Figure:
    """Errors by language and their average, a panel a group of worlds."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    panels = draw_languages(figure, settings)
    figure.set_size_inches(max(6.8, 5.2 * len(panels)), 4.4)
    legend(figure, panels, "")
    return figure


def legend(figure: Figure, panels: Sequence[Any], note: str, columns: int = 4) -> None:
    """One legend above all panels, with a line of explanation."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if max(map(len, handles), default=0) > 24:
        columns = 2
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
