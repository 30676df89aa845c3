"""What all figures share: a method's look, axes, whiskers, baselines, and how a PNG is saved."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple, Union

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, replacing
from parp_fairseq.report.statistics import Estimate, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Interval = Union[Spread, Estimate]
"""A mean between two ends: over seeds, lowest to highest or a confidence interval."""
COLOURS = ("#56B4E9", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
"""Okabe and Ito's palette."""
LOOKS = {
    "dense": ("#000000", "D"),
    "rp": ("#D55E00", "v"),
    "mpi": ("#E69F00", "s"),
    "omp": ("#CC79A7", "P"),
    "mask": ("#56B4E9", "X"),
    "gmp": ("#999999", "h"),
    "imp": ("#B8A800", "<"),
    "parp": ("#0072B2", "o"),
    "parp_p": ("#009E73", "^"),
}
"""Method → colour and marker."""
SPARSITY_AXIS = "sparsity (%)"
_MOST_WRITTEN = 12


def check_drawing() -> None:
    """Raise UserError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("figures need matplotlib: pip install matplotlib")


def panels(
    count: int = 1, height: float = 4.6, grid: str = "both"
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with panels side by side, with faint lines across "x", "y" or "both"."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(8.4, 4.4 * count), height), layout="constrained")
    found = figure.subplots(1, count, squeeze=False)[0]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis=grid, color="#dddddd")
        axes.set_axisbelow(True)
    return figure, found


def baseline(axes: Axes, value: float, method: str, label: str) -> None:
    """A level to compare with, such as the dense model's errors."""
    axes.axhline(value, color=LOOKS[method][0], linestyle="--", label=label)


def curve(axes: Axes, points: Sequence[tuple[float, Interval]], method: str, label: str) -> None:
    """Means over x, with lines from the lowest to the highest."""
    x, spreads = zip(*points)
    colour, marker = LOOKS.get(method, ("#666666", "*"))
    means = [spread.mean for spread in spreads]
    axes.plot(x, means, color=colour, label=label, marker=marker, markersize=5)
    low, high = [spread.low for spread in spreads], [spread.high for spread in spreads]
    axes.vlines(x, low, high, color=colour, linewidth=1.2)


def whisker(axes: Axes, y: float, spread: Interval) -> None:
    """A line from the lowest to the highest, on a horizontal bar at `y`."""
    reach = [[spread.mean - spread.low], [spread.high - spread.mean]]
    axes.errorbar(spread.mean, y, xerr=reach, color="black", capsize=3, linewidth=1.2)


class HeatMap(NamedTuple):
    """A matrix to draw as colours: its title, rows of numbers (NaN is left empty), and titles."""

    title: str
    values: Sequence[Sequence[float]]
    columns: Sequence[str]
    rows: Sequence[str]


def heat_maps(maps: Sequence[HeatMap], form: Callable[[float], str]) -> Figure:
    """A figure of matrices with one scale of colours, three in a line.

    Args:
        maps: the matrices.
        form: a number as text; not written into large matrices.
    """
    from matplotlib.figure import Figure

    down = -(-len(maps) // 3)
    most_rows, most_columns = max(len(m.rows) for m in maps), max(len(m.columns) for m in maps)
    margin = 1.5 + 0.11 * max(len(name) for m in maps for name in (*m.rows, *m.columns))
    wide, tall = margin + 0.5 * most_columns, margin + 0.3 * most_rows
    figure = Figure(figsize=(wide * min(3, len(maps)), tall * down), layout="constrained")
    grid = figure.subplots(down, min(3, len(maps)), squeeze=False)
    numbers = [value for one in maps for line in one.values for value in line if value == value]
    for axes, one in zip_longest(grid.flat, maps):
        if one is None:
            axes.set_visible(False)
            continue
        image = axes.imshow(one.values, aspect="auto", vmin=min(numbers), vmax=max(numbers))
        axes.set_xticks(range(len(one.columns)), one.columns, rotation=90)
        axes.set_yticks(range(len(one.rows)), one.rows)
        axes.set_title(one.title)
        for y, line in enumerate(one.values if len(one.columns) <= _MOST_WRITTEN else ()):
            for x, value in enumerate(line):
                place = {"ha": "center", "va": "center", "fontsize": 7.5}
                colour = "black" if image.norm(value) > 0.5 else "white"
                axes.text(x, y, form(value) if value == value else "", color=colour, **place)
    figure.colorbar(image, ax=grid, shrink=0.7)
    return figure


def save(figure: Figure, path: PathLike) -> None:
    """Write a PNG that is a function of the figure only, all or nothing.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png", metadata={"Software": None})
