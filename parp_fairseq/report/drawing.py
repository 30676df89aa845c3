"""Pictures of runs: what pruning costs, where the zeros are, how mask and errors moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.files import PathLike
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report import style
from parp_fairseq.report.layer_grid import Grid, zeros_in
from parp_fairseq.report.run_table import Table, TableRow
from parp_fairseq.report.statistics import Spread
from parp_fairseq.report.style import check_drawing
from parp_fairseq.runs.log import Row
from parp_fairseq.runs.reading import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS, LAYERS, TRAINING = PICTURES = ("errors.png", "layers.png", "training.png")
_MOST_PANELS = 6
_MOST_COURSES = 9

Course = list[tuple[float, Spread]]
"""(update, value over seeds)."""


@dataclass(frozen=True)
class Picture:
    """A PNG that was drawn: its file's name, and what a reader should know about it."""

    name: str
    title: str
    caption: str


def draw(table: Table, folder: Path) -> list[Picture]:
    """Draw what the table's runs allow into `folder`; return the pictures drawn.

    A run folder without meters or without a sparsity report gives fewer pictures, not an error.

    Raises:
        UserError: matplotlib is not installed.
    """
    check_drawing()
    pictures = (errors_by_sparsity, sparsity_by_layer, course_of_training)
    return [picture for make in pictures if (picture := make(table, folder)) is not None]


# --- errors by method and sparsity ----------------------------------------------------------


def errors_by_sparsity(table: Table, folder: Path) -> Picture | None:
    """Curves where a method was run at three sparsities or more, else bars."""
    rows = [row for row in table.rows if row.rates]
    if not rows:
        return None
    curves = max(len({row.sparsity for row in group}) for group in _by_title(rows).values()) >= 3
    style.save((_curves if curves else _bars)(table, rows), folder / ERRORS)
    caption = f"{table.metric} in percent, lower is better."
    if any(len(row.runs) > 1 for row in rows):
        caption += " Lines on the marks reach from the best to the worst seed."
    return Picture(ERRORS, f"{table.metric} by method and sparsity", caption)


def _bars(table: Table, rows: Sequence[TableRow]) -> Figure:
    from matplotlib.patches import Patch

    figure, (axes,) = style.panels(height=1.3 + 0.5 * len(rows))
    thick = 0.8 / len(table.splits)
    patches = []
    for splits, colour in ((table.valid_splits, style.VALID), (table.test_splits, style.TEST)):
        # A second validation or test set has the colour of the first.
        for place, split in enumerate(splits):
            look = {"hatch": style.HATCHES[place % len(style.HATCHES)], "edgecolor": "white"}
            shift = (len(patches) - (len(table.splits) - 1) / 2) * thick
            patches.append(Patch(facecolor=colour, label=_split_label(table, split), **look))
            for number, row in enumerate(rows):
                spread = row.rates.get(split)
                if spread is None:
                    continue
                y = number + shift
                axes.barh(y, spread.mean, thick * 0.92, color=colour, linewidth=0.8, **look)
                if spread.count > 1:
                    style.whisker(axes, y, spread)
                text = {"va": "center", "textcoords": "offset points", "fontsize": 9.5}
                axes.annotate(f"{spread.mean:.1f}", (spread.high, y), (5, 0), **text)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(spread.high for row in rows for spread in row.rates.values()))
    axes.set_xlabel(f"{table.metric} (%), lower is better")
    style.grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    columns = min(3, len(patches))
    figure.legend(handles=patches, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def _split_label(table: Table, split: str) -> str:
    title = table.split_title(split)
    return title if title.endswith(split) else f"{title} ({split})"


def _curves(table: Table, rows: Sequence[TableRow]) -> Figure:
    figure, (axes,) = style.panels(height=5.0)
    splits = (*table.test_splits, *table.valid_splits)
    split = next(one for one in splits if any(one in row.rates for row in rows))
    for title, members in _by_title(rows).items():
        points = sorted((row.sparsity, row.rates[split]) for row in members if split in row.rates)
        look = style.look_of(members[0].method)
        if points and members[0].method == "dense":
            style.baseline(axes, points[0][1].mean, look, title)
        elif points:
            style.curve(axes, [(100 * x, spread) for x, spread in points], look, title)
    axes.set_xlabel(style.SPARSITY_AXIS)
    axes.set_ylabel(f"{_split_label(table, split)}, %, lower is better")
    style.grid(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _by_title(rows: Iterable[TableRow]) -> dict[str, list[TableRow]]:
    groups: dict[str, list[TableRow]] = {}
    for row in rows:
        groups.setdefault(row.title, []).append(row)
    return groups


# --- where the zeros are --------------------------------------------------------------------


def sparsity_by_layer(table: Table, folder: Path) -> Picture | None:
    """A map of layers and kinds of matrix for each setting, of its first seed."""
    grids = {}
    for row in table.rows:
        tensors = (row.runs[0].sparsity_report or {}).get("tensors", {})
        grid = Grid.over(tensors)
        if grid.layers:
            grids[row.label] = (row, grid.titles, grid.values(zeros_in(tensors)))
    if not grids:
        return None
    highest = sorted(grids, key=lambda label: -grids[label][0].sparsity)[:_MOST_PANELS]
    shown = [label for label in grids if label in highest]
    offsets = {
        label: [[100 * (value - row.sparsity) for value in line] for line in values]
        for label, (row, _, values) in grids.items()
    }
    reach = max(0.1, *(abs(x) for one in shown for line in offsets[one] for x in line if x == x))
    look = {"cmap": "PuOr_r", "vmin": -reach, "vmax": reach}
    maps = [
        style.HeatMap(
            one, offsets[one], *grids[one][1], _percent_above(grids[one][0].sparsity), look
        )
        for one in shown
    ]
    bar = "points above or below\nthe sparsity of all"
    style.save(style.heat_maps(maps, rows="layer", bar=bar), folder / LAYERS)
    left_out = len(grids) - len(shown)
    return Picture(
        LAYERS,
        "Sparsity by layer and kind of matrix",
        "Zeros in percent of each matrix. Orange matrices are pruned more than the whole, purple "
        "ones less: one threshold for all of them decides."
        + (f" Not shown: {left_out} more settings." if left_out else ""),
    )


def _percent_above(sparsity: float) -> Callable[[float], str]:
    return lambda offset: f"{100 * sparsity + offset:.1f}"


# --- the course of training -----------------------------------------------------------------


def course_of_training(table: Table, folder: Path) -> Picture | None:
    """Mask IOU above, errors on the validation set below, over updates.

    IOU compares with the initial mask. A ramp alone makes it small, so such methods have a panel
    of their own.
    """
    split = table.valid_splits[0] if table.valid_splits else ""
    shown = list(table.rows)
    if len(shown) > _MOST_COURSES:
        highest = {row.title: row for row in table.rows}
        shown = [row for row in shown if highest[row.title] is row][:_MOST_COURSES]
    rates = _courses(shown, lambda run: run.log.validation.get(split, ()), "wer")
    if not rates:
        return None
    panels = {}
    ramps = {method for method, known in METHODS.items() if known.ramps}
    static = {"dense", *(method for method, known in METHODS.items() if known.static)}
    for title, moving in (
        ("constant sparsity", [row for row in shown if row.method not in ramps | static]),
        ("sparsity ramp", [row for row in shown if row.method in ramps]),
    ):
        if courses := _courses(moving, lambda run: run.log.training, "mask_iou"):
            panels[title] = courses
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.WIDTH + 1.2, 7.2 if panels else 4.4), layout="constrained")
    mosaic = [list(panels), ["errors"] * len(panels)] if panels else [["errors"]]
    axes = figure.subplot_mosaic(mosaic, height_ratios=(2, 3) if panels else None)
    for title, courses in panels.items():
        _lines(axes[title], courses, ends=True)
        axes[title].ticklabel_format(axis="y", useOffset=False)
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "frameon": False}
        axes[title].legend(title=f"IOU with the initial mask, {title}", fontsize=9.5, **place)
    below = axes["errors"]
    _lines(below, rates)
    below.set_ylabel(f"{table.metric} on {split} (%)")
    below.set_xlabel("updates")
    below.set_xlim(left=0)
    spreads = [spread for _, points in rates for _, spread in points]
    if max(points[0][1].high for _, points in rates) > 105:
        # A model that has learnt nothing yet may be far above 100%, and flatten what matters.
        high = min(105.0, max(points[-1][1].high for _, points in rates) * 1.6)
        below.set_ylim(max(0.0, min(spread.low for spread in spreads) - 5), high + 5)
    below.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    style.save(figure, folder / TRAINING)
    caption = f"{table.metric} on {split}, always of the pruned weights"
    if any(len(row.runs) > 1 for row, _ in rates):
        caption += ", mean and range over seeds"
    if panels:
        caption = (
            "Above: intersection over union of the kept weights, now and at the beginning; static "
            f"masks (RP, MPI, OMP) never move. Below: {caption}"
        )
    if len(shown) < len(table.rows):
        caption += "; each method at its highest sparsity"
    return Picture(TRAINING, "How masks and errors moved in training", f"{caption}.")


def _courses(
    rows: Sequence[TableRow], logged: Callable[[Run], Iterable[Row]], key: str
) -> list[tuple[TableRow, Course]]:
    """A meter over the updates that all seeds of a row have; rows without it are left out."""
    found = []
    for row in rows:
        seeds = [{r["num_updates"]: r[key] for r in logged(run) if key in r} for run in row.runs]
        updates = sorted(set(seeds[0]).intersection(*seeds[1:]))
        if updates:
            found.append((row, [(u, Spread.over(seed[u] for seed in seeds)) for u in updates]))
    return found


def _lines(axes: Axes, courses: Sequence[tuple[TableRow, Course]], ends: bool = False) -> None:
    for row, points in courses:
        alike = [other for other, _ in courses if other.method == row.method]
        dash = sorted(alike, key=lambda other: -other.sparsity).index(row)
        label = f"{row.label}: {points[-1][1].mean:.4f} at the end" if ends else row.label
        look = style.look_of(row.method)
        style.curve(axes, points, look, label, style.DASHES[dash % len(style.DASHES)])
    style.grid(axes)


# --- differences ----------------------------------------------------------------------------


def forest(
    panels: Mapping[str, Sequence[tuple[str, style.Interval]]], label: str, file: PathLike
) -> None:
    """Draw differences with their intervals around 0 (PNG), a panel for each title.

    Args:
        panels: title → (what, difference); all panels have the same rows.
        label: of the horizontal axis.
        file: the picture to write.
    """
    rows = max(map(len, panels.values()))
    figure, found = style.panels(len(panels), height=1.2 + 0.3 * rows)
    for axes, (title, members) in zip(found, panels.items()):
        for y, (_, interval) in enumerate(members):
            style.whisker(axes, y, interval)
            axes.plot(interval.mean, y, "o", color=style.TEST)
        axes.axvline(0, color="black", linewidth=0.8)
        names = [name for name, _ in members] if axes is found[0] else [""] * len(members)
        axes.set_yticks(range(len(members)), names, fontsize=8.5)
        axes.set_ylim(len(members) - 0.5, -0.5)
        axes.set_title(title, fontsize=11)
        style.grid(axes, "x")
    figure.supxlabel(label, fontsize=10)
    style.save(figure, file)
