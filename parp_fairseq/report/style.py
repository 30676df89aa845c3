"""What all figures share: a method's look, axes, whiskers, baselines, and how a PNG is saved."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, replacing
from parp_fairseq.report.statistics import Estimate, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


Interval = Union[Spread, Estimate]
"""A mean between two ends: over seeds, lowest to highest or a confidence interval."""
DASHES = ("-", "--", ":", "-.")
"""Lines of one method; they say again what colours and markers say."""
HATCHES = (None, "//", "..", "xx")
"""Bars of one colour."""
VALID, TEST = "#56B4E9", "#0072B2"
"""Colours of validation and test sets, of Okabe and Ito's palette as those of the methods."""
WIDTH = 8.4
"""Inches."""
SPARSITY_AXIS = "sparsity (%)"
_GRID = "#dddddd"
_MOST_MARKED = 24


class Look(NamedTuple):
    """How a method is drawn: a colour of Okabe and Ito's palette, and a marker to match."""

    colour: str
    marker: str


LOOKS = {
    "dense": Look("#000000", "D"),
    "rp": Look("#D55E00", "v"),
    "mpi": Look("#E69F00", "s"),
    "omp": Look("#CC79A7", "P"),
    "mask": Look("#56B4E9", "X"),
    "gmp": Look("#999999", "h"),
    "imp": Look("#B8A800", "<"),
    "parp": Look("#0072B2", "o"),
    "parp_p": Look("#009E73", "^"),
}
_UNKNOWN = Look("#666666", "*")


def check_drawing() -> None:
    """Raise UserError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("figures need matplotlib: pip install matplotlib")


def look_of(method: str) -> Look:
    """A method's colour and marker."""
    return LOOKS.get(method, _UNKNOWN)


def panels(count: int = 1, height: float = 4.6) -> tuple[Figure, Sequence[Axes]]:
    """A figure with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(WIDTH, 4.4 * count), height), layout="constrained")
    found = figure.subplots(1, count, squeeze=False)[0]
    for axes in found:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_axisbelow(True)
    return figure, found


def grid(axes: Axes, axis: str = "both") -> None:
    """Faint lines behind what is drawn, across "x", "y" or "both"."""
    axes.grid(axis=axis, color=_GRID)
    axes.set_axisbelow(True)


def baseline(axes: Axes, value: float, look: Look, label: str) -> None:
    """A level to compare with, such as the dense model's errors."""
    axes.axhline(value, color=look.colour, linestyle="--", label=label)


def curve(
    axes: Axes, points: Sequence[tuple[float, Interval]], look: Look, label: str, dash: str = "-"
) -> None:
    """Means over x, with lines from the lowest to the highest; in long curves a pale area."""
    x, spreads = zip(*points)
    low, high = [spread.low for spread in spreads], [spread.high for spread in spreads]
    short = len(points) <= _MOST_MARKED
    marker = {"marker": look.marker, "markersize": 5} if short else {}
    means = [spread.mean for spread in spreads]
    axes.plot(x, means, color=look.colour, linestyle=dash, label=label, **marker)
    if short:
        axes.vlines(x, low, high, color=look.colour, linewidth=1.2)
    else:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)


def whisker(axes: Axes, y: float, spread: Interval) -> None:
    """A line from the lowest to the highest, on a horizontal bar at `y`."""
    reach = [[spread.mean - spread.low], [spread.high - spread.mean]]
    axes.errorbar(spread.mean, y, xerr=reach, color="black", capsize=3, linewidth=1.2)


class HeatMap(NamedTuple):
    """A matrix to draw as colours.

    Attributes:
        title: above it.
        values: rows of numbers; NaN is left empty.
        columns: their titles.
        rows: their titles.
        form: a number as text; not written into large matrices.
        look: of matplotlib's `imshow`.
    """

    title: str
    values: Sequence[Sequence[float]]
    columns: Sequence[str]
    rows: Sequence[str]
    form: Callable[[float], str]
    look: Mapping[str, Any] = {}


_MOST_WRITTEN = 12


def heat_maps(
    maps: Sequence[HeatMap], *, title: str = "", rows: str = "", bar: str | None = None
) -> Figure:
    """A figure of matrices, three in a line.

    Args:
        maps: the matrices.
        title: above all.
        rows: what the rows are.
        bar: title of one bar of colours for all; None: one for each.
    """
    check_drawing()
    from matplotlib.figure import Figure

    across = min(3, len(maps))
    down = -(-len(maps) // across)
    most_rows, most_columns = max(len(m.rows) for m in maps), max(len(m.columns) for m in maps)
    longest = max(len(name) for m in maps for name in (*m.rows, *m.columns))
    wide = 1.5 + 0.11 * longest + 0.5 * most_columns
    tall = 1.0 + 0.11 * longest + (0.36 if most_rows <= _MOST_WRITTEN else 0.22) * most_rows
    figure = Figure(figsize=(max(4.6, wide * across), max(3.0, tall * down)), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12)
    panels = figure.subplots(down, across, squeeze=False)
    for axes, one in zip(panels.flat, maps):
        image = axes.imshow(one.values, aspect="auto", **one.look)
        columns, lines = range(len(one.columns)), range(len(one.rows))
        axes.set_xticks(columns, one.columns, rotation=90 if max(map(len, one.columns)) > 4 else 0)
        axes.set_yticks(lines, one.rows)
        axes.set_xticks([x + 0.5 for x in columns[:-1]], minor=True)
        axes.set_yticks([y + 0.5 for y in lines[:-1]], minor=True)
        axes.grid(which="minor", color="white", linewidth=1.0)
        axes.tick_params(which="both", length=0)
        axes.set_title(one.title, fontsize=11)
        axes.set_ylabel(rows)
        if len(columns) <= _MOST_WRITTEN and len(lines) <= 2 * _MOST_WRITTEN:
            _write_numbers(axes, image, one)
        if bar is None:
            figure.colorbar(image, ax=axes, shrink=0.8)
    for axes in list(panels.flat)[len(maps) :]:
        axes.set_visible(False)
    if bar is not None:
        figure.colorbar(image, ax=panels, shrink=0.7, aspect=30, pad=0.015, label=bar)
    return figure


def _write_numbers(axes: Axes, image: AxesImage, one: HeatMap) -> None:
    for y, line in enumerate(one.values):
        for x, value in enumerate(line):
            if not math.isnan(value):
                red, green, blue, _ = image.cmap(image.norm(value))
                bright = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
                place = {"ha": "center", "va": "center", "fontsize": 7.5}
                axes.text(x, y, one.form(value), color="black" if bright else "white", **place)


def save(figure: Figure, path: PathLike) -> None:
    """Write a PNG that is a function of the figure only, all or nothing.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png", metadata={"Software": None})
