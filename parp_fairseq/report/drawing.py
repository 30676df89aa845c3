"""Three pictures: what pruning costs, where the zeros are, how mask and errors moved."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.report import style
from parp_fairseq.report.layer_grid import Grid, short_kind
from parp_fairseq.report.run_table import Spread, Table, TableRow
from parp_fairseq.runs.reading import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS, LAYERS, TRAINING = PICTURES = ("errors.png", "layers.png", "training.png")
_MOST_PANELS = 6
_MOST_COURSES = 9
_MOST_LABELLED_LAYERS = 12


@dataclass(frozen=True)
class Picture:
    """A PNG that was drawn: its file's name, and what a reader should know about it."""

    name: str
    title: str
    caption: str


def check_drawing() -> None:
    """Raise UserError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("figures need matplotlib: pip install matplotlib")


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
    sparsities: dict[str, set[float]] = {}
    for row in rows:
        sparsities.setdefault(row.title, set()).add(row.sparsity)
    curves = any(len(points) >= 3 for points in sparsities.values())
    what = _curves(table, rows) if curves else _bars(table, rows)
    style.save(what, folder / ERRORS)
    spread = any(len(row.runs) > 1 for row in rows)
    return Picture(
        ERRORS,
        f"{table.metric} by method and sparsity",
        f"{table.metric} in percent, lower is better."
        + (" Lines on the marks reach from the best to the worst seed." if spread else ""),
    )


def _bars(table: Table, rows: Sequence[TableRow]) -> Figure:
    figure, axes = style.one_panel(height=1.3 + 0.5 * len(rows))
    splits = table.splits
    colours = {
        split: style.VALID if split in table.valid_splits else style.TEST for split in splits
    }
    # A second validation or test set has the colour of the first.
    hatches = {
        split: style.HATCHES[
            sum(colours[o] == colours[split] for o in splits[:place]) % len(style.HATCHES)
        ]
        for place, split in enumerate(splits)
    }
    thick = 0.8 / len(splits)
    top = max(spread.high for row in rows for spread in row.rates.values())
    for number, row in enumerate(rows):
        for place, split in enumerate(splits):
            spread = row.rates.get(split)
            if spread is None:
                continue
            y = number + (place - (len(splits) - 1) / 2) * thick
            axes.barh(
                y,
                spread.mean,
                thick * 0.92,
                color=colours[split],
                hatch=hatches[split],
                edgecolor="white",
                linewidth=0.8,
            )
            if spread.count > 1:
                style.whisker(axes, y, spread)
            axes.annotate(
                f"{spread.mean:.1f}",
                (spread.high, y),
                (5, 0),
                va="center",
                textcoords="offset points",
                fontsize=9.5,
            )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, top * 1.12)
    axes.set_xlabel(style.errors_axis(table.metric))
    style.grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    from matplotlib.patches import Patch

    figure.legend(
        handles=[
            Patch(
                facecolor=colours[split],
                hatch=hatches[split],
                edgecolor="white",
                label=_split_label(table, split),
            )
            for split in splits
        ],
        loc="outside upper center",
        ncols=min(3, len(splits)),
        frameon=False,
    )
    return figure


def _split_label(table: Table, split: str) -> str:
    title = table.split_title(split)
    return title if title.endswith(split) else f"{title} ({split})"


def _curves(table: Table, rows: Sequence[TableRow]) -> Figure:
    figure, axes = style.one_panel(height=5.0)
    split = next(
        s for s in (*table.test_splits, *table.valid_splits) if any(s in r.rates for r in rows)
    )
    for title, members in _by_title(rows).items():
        points = sorted((row.sparsity, row.rates[split]) for row in members if split in row.rates)
        if not points:
            continue
        look = style.look_of(members[0].method)
        if members[0].method == "dense":
            style.baseline(axes, points[0][1].mean, look, title)
            continue
        style.curve(axes, [(100 * x, spread) for x, spread in points], look, title)
    axes.set_xlabel(style.SPARSITY_AXIS)
    axes.set_ylabel(f"{_split_label(table, split)}, %, lower is better")
    style.grid(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


# --- where the zeros are --------------------------------------------------------------------


def sparsity_by_layer(table: Table, folder: Path) -> Picture | None:
    """A map of layers and kinds of matrix for each setting, of its first seed."""
    rows = [row for row in table.rows if row.runs[0].sparsity_report]
    shown = sorted(rows, key=lambda row: -row.sparsity)[:_MOST_PANELS]
    shown = [row for row in rows if row in shown]
    maps = [(row, _map(row.runs[0])) for row in shown]
    maps = [(row, grid) for row, grid in maps if grid[0]]
    if not maps:
        return None
    layers = max(len(grid[0]) for _, grid in maps)
    columns = min(3, len(maps))
    lines = -(-len(maps) // columns)
    from matplotlib.figure import Figure

    width = max(4.6, 4.1 * columns)
    tall = 0.36 if layers <= _MOST_LABELLED_LAYERS else 0.2
    figure = Figure(figsize=(width, lines * (0.9 + tall * layers) + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    reach = max(
        abs(value - row.sparsity) for row, grid in maps for line in grid[2] for value in line
    )
    reach = max(100 * reach, 0.1)
    image = None
    for axes, (row, (names, kinds, values)) in zip(panels.flat, maps):
        offsets = [[100 * (value - row.sparsity) for value in line] for line in values]
        image = axes.imshow(offsets, cmap="PuOr_r", vmin=-reach, vmax=reach, aspect="auto")
        axes.set_title(row.label, fontsize=11)
        axes.set_xticks(range(len(kinds)), [short_kind(kind) for kind in kinds], rotation=0)
        axes.set_yticks(range(len(names)), names)
        if axes in panels[:, 0]:
            axes.set_ylabel("layer")
        axes.set_xticks([x - 0.5 for x in range(1, len(kinds))], minor=True)
        axes.set_yticks([y - 0.5 for y in range(1, len(names))], minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="both", length=0)
        if len(names) <= _MOST_LABELLED_LAYERS:
            for y, line in enumerate(values):
                for x, value in enumerate(line):
                    dark = abs(offsets[y][x]) > 0.62 * reach
                    axes.text(
                        x,
                        y,
                        f"{100 * value:.1f}",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if dark else "black",
                    )
    for axes in list(panels.flat)[len(maps) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=panels, shrink=0.7, aspect=30, pad=0.015)
    bar.set_label("points above or below\nthe sparsity of all")
    style.save(figure, folder / LAYERS)
    left_out = len(rows) - len(maps)
    return Picture(
        LAYERS,
        "Sparsity by layer and kind of matrix",
        "Zeros in percent of each matrix. Orange matrices are pruned more than the whole, purple "
        "ones less: one threshold for all of them decides."
        + (f" Not shown: {left_out} more settings." if left_out else ""),
    )


def _map(run: Run) -> tuple[list[str], list[str], list[list[float]]]:
    """Layers, kinds of matrix, and the sparsity of each in [0, 1]."""
    tensors = (run.sparsity_report or {}).get("tensors", {})
    grid = Grid.over(tensors)
    values = [
        [_share([tensors[name] for name in grid.at(layer, kind)]) for kind in grid.kinds]
        for layer in grid.layers
    ]
    return [str(layer) for layer in grid.layers], list(grid.kinds), values


def _share(counts: Sequence[Mapping[str, int]]) -> float:
    entries = sum(count["entries"] for count in counts)
    return sum(count["pruned"] for count in counts) / entries if entries else float("nan")


# --- the course of training -----------------------------------------------------------------


def course_of_training(table: Table, folder: Path) -> Picture | None:
    """Mask IOU above, errors on the validation set below, over updates.

    IOU compares with the first mask. A climbing sparsity alone makes it small, so such methods
    have a panel of their own.
    """
    split = table.valid_splits[0] if table.valid_splits else ""
    shown = list(table.rows)
    if len(shown) > _MOST_COURSES:
        highest = {row.title: row for row in table.rows}
        shown = [row for row in shown if highest[row.title] is row][:_MOST_COURSES]
    moving = [row for row in shown if _moves(row.method)]
    ious = [(row, _course(row, lambda run: run.log.training, "mask_iou")) for row in moving]
    rates = [
        (row, _course(row, lambda run: run.log.validation.get(split, ()), "wer")) for row in shown
    ]
    panels = []
    for title, climbs in (("sparsity held", False), ("sparsity climbing", True)):
        courses = [
            (row, points) for row, points in ious if points and _climbs(row.method) == climbs
        ]
        if courses:
            panels.append((title, courses))
    rates = [(row, points) for row, points in rates if points]
    if not rates:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style.WIDTH + 1.2, 7.2 if panels else 4.4), layout="constrained")
    mosaic = [[title for title, _ in panels], ["errors"] * len(panels)] if panels else [["errors"]]
    axes = figure.subplot_mosaic(mosaic, height_ratios=(2, 3) if panels else None)
    for title, courses in panels:
        _lines(axes[title], courses, ends=True)
        axes[title].ticklabel_format(axis="y", useOffset=False)
        axes[title].legend(
            title=f"mask IOU with the first mask, {title}",
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            frameon=False,
            fontsize=9.5,
        )
    below = axes["errors"]
    _lines(below, rates)
    below.set_ylabel(f"{table.metric} on {split} (%)")
    below.set_xlabel("updates")
    below.set_xlim(left=0)
    _cut_the_start(below, rates)
    below.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    style.save(figure, folder / TRAINING)
    caption = f"{table.metric} on {split}, always of the pruned weights"
    if any(len(row.runs) > 1 for row, _ in rates):
        caption += ", mean and range over seeds"
    if panels:
        caption = (
            "Above: intersection over union of the kept weights, now and at the beginning; held "
            f"masks (RP, MPI, OMP) never move. Below: {caption}"
        )
    if len(shown) < len(table.rows):
        caption += "; each method at its highest sparsity"
    return Picture(TRAINING, "How masks and errors moved in training", f"{caption}.")


def _course(row: TableRow, rows_of: Any, key: str) -> list[tuple[float, Spread]]:
    """(update, spread over seeds), where all seeds have the meter."""
    courses = [{r["num_updates"]: r[key] for r in rows_of(run) if key in r} for run in row.runs]
    if not courses:
        return []
    updates = sorted(set(courses[0]).intersection(*courses[1:]))
    return [(update, Spread.over(c[update] for c in courses)) for update in updates]


def _lines(
    axes: Axes,
    courses: Sequence[tuple[TableRow, list[tuple[float, Spread]]]],
    ends: bool = False,
) -> None:
    dashes: dict[int, str] = {}
    for method in {row.method for row, _ in courses}:
        alike = [row for row, _ in courses if row.method == method]
        for number, row in enumerate(sorted(alike, key=lambda row: -row.sparsity)):
            dashes[id(row)] = style.DASHES[number % len(style.DASHES)]
    for row, points in courses:
        look = style.look_of(row.method)
        updates = [update for update, _ in points]
        label = f"{row.label}: {points[-1][1].mean:.4f} at the end" if ends else row.label
        axes.plot(
            updates,
            [spread.mean for _, spread in points],
            color=look.colour,
            linestyle=dashes[id(row)],
            marker=look.marker if len(points) <= 24 else None,
            markersize=5,
            label=label,
        )
        if points[0][1].count > 1:
            style.band(axes, points, look)
    style.grid(axes)


def _cut_the_start(
    axes: Axes, courses: Sequence[tuple[TableRow, list[tuple[float, Spread]]]]
) -> None:
    """A model that has learnt nothing yet may be far above 100%, and flatten what matters."""
    if max(points[0][1].high for _, points in courses) > 105:
        low = min(spread.low for _, points in courses for _, spread in points)
        high = min(105.0, max(points[-1][1].high for _, points in courses) * 1.6)
        axes.set_ylim(max(0.0, low - 5), high + 5)


# --- shared ---------------------------------------------------------------------------------


def _moves(method: str) -> bool:
    """Whether the mask of a run changes while it trains."""
    known = METHODS.get(method)
    return known is None or (known.first is not None and (known.ramps or not known.static))


def _climbs(method: str) -> bool:
    known = METHODS.get(method)
    return known is not None and known.ramps


def _by_title(rows: Sequence[TableRow]) -> dict[str, list[TableRow]]:
    groups: dict[str, list[TableRow]] = {}
    for row in rows:
        groups.setdefault(row.title, []).append(row)
    return groups


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
