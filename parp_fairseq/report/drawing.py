"""Figures of runs: what pruning costs, and where the zeros are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.files import PathLike
from parp_fairseq.report import style
from parp_fairseq.report.layer_grid import Grid, zeros_in
from parp_fairseq.report.run_table import Table, TableRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ERRORS, LAYERS = FIGURES = ("errors.png", "layers.png")
_MOST_PANELS = 6


def draw(table: Table, folder: Path) -> list[str]:
    """Draw what the table's runs allow into `folder`; return the names of the files."""
    found = {ERRORS: errors_by_sparsity(table), LAYERS: sparsity_by_layer(table)}
    drawn = {name: figure for name, figure in found.items() if figure is not None}
    for name, figure in drawn.items():
        style.save(figure, folder / name)
    return list(drawn)


def errors_by_sparsity(table: Table) -> Figure | None:
    """Curves where a method was run at three sparsities or more, else bars; None without scores."""
    rows = [row for row in table.rows if row.rates]
    if not rows:
        return None
    curves = max(len({row.sparsity for row in group}) for group in _by_title(rows).values()) >= 3
    return (_curves if curves else _bars)(table, rows)


def _bars(table: Table, rows: Sequence[TableRow]) -> Figure:
    figure, (axes,) = style.panels(height=1.3 + 0.5 * len(rows), grid="x")
    thick = 0.8 / len(table.splits)
    for place, split in enumerate(table.splits):
        shift = thick * (place - (len(table.splits) - 1) / 2)
        found = [(y + shift, row.rates[split]) for y, row in enumerate(rows) if split in row.rates]
        means, colour = [spread.mean for _, spread in found], style.COLOURS[place % 6]
        label = table.split_title(split)
        axes.barh([y for y, _ in found], means, 0.92 * thick, color=colour, label=label)
        for y, spread in found:
            place = {"textcoords": "offset points", "va": "center"}
            axes.annotate(f"{spread.mean:.1f}", (spread.high, y), (5, 0), **place)
            if spread.count > 1:
                style.whisker(axes, y, spread)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"{table.metric} (%), lower is better")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _curves(table: Table, rows: Sequence[TableRow]) -> Figure:
    figure, (axes,) = style.panels(height=5.0)
    splits = (*table.test_splits, *table.valid_splits)
    split = next(one for one in splits if any(one in row.rates for row in rows))
    for title, members in _by_title(rows).items():
        points = sorted((row.sparsity, row.rates[split]) for row in members if split in row.rates)
        method = members[0].method
        if points and method == "dense":
            style.baseline(axes, points[0][1].mean, method, title)
        elif points:
            style.curve(axes, [(100 * x, spread) for x, spread in points], method, title)
    axes.set_xlabel(style.SPARSITY_AXIS)
    axes.set_ylabel(f"{table.split_title(split)} (%), lower is better")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _by_title(rows: Iterable[TableRow]) -> dict[str, list[TableRow]]:
    groups: dict[str, list[TableRow]] = {}
    for row in rows:
        groups.setdefault(row.title, []).append(row)
    return groups


def sparsity_by_layer(table: Table) -> Figure | None:
    """Zeros in percent by layer and kind of matrix, of the first seed of the sparsest settings."""
    maps = []
    for row in sorted(table.rows, key=lambda row: -row.sparsity):
        tensors = (row.runs[0].sparsity_report or {}).get("tensors", {})
        if (grid := Grid.over(tensors)).layers and len(maps) < _MOST_PANELS:
            values = [[100 * share for share in line] for line in grid.values(zeros_in(tensors))]
            maps.append(style.HeatMap(row.label, values, *grid.titles))
    return style.heat_maps(maps, "{:.1f}".format) if maps else None


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
    figure, found = style.panels(len(panels), height=1.2 + 0.3 * rows, grid="x")
    for axes, (title, members) in zip(found, panels.items()):
        for y, (_, interval) in enumerate(members):
            style.whisker(axes, y, interval)
            axes.plot(interval.mean, y, "o", color=style.LOOKS["parp"][0])
        axes.axvline(0, color="black", linewidth=0.8)
        names = [name for name, _ in members] if axes is found[0] else [""] * len(members)
        axes.set_yticks(range(len(members)), names, fontsize=8.5)
        axes.set_ylim(len(members) - 0.5, -0.5)
        axes.set_title(title, fontsize=11)
    figure.supxlabel(label, fontsize=10)
    style.save(figure, file)
