"""What all figures share: a method's look, axes, whiskers, baselines, and how a PNG is saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from parp_fairseq.pruning.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from parp_fairseq.report.run_table import Spread

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
_UNKNOWN = "#666666", "*"


class Look(NamedTuple):
    """How a method is drawn."""

    colour: str
    marker: str


def look_of(method: str) -> Look:
    """A method's colour and marker, as in the table of methods."""
    known = METHODS.get(method)
    return Look(known.colour, known.marker) if known else Look(*_UNKNOWN)


def errors_axis(metric: str) -> str:
    """Label of an axis with error rates in percent; `metric` is "WER" or "PER"."""
    return f"{metric} (%), lower is better"


def one_panel(height: float) -> tuple[Figure, Axes]:
    """A figure of the usual width with one panel, `height` inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def grid(axes: Axes, axis: str = "both") -> None:
    """Faint lines behind what is drawn, across "x", "y" or "both"."""
    axes.grid(axis=axis, color=_GRID)
    axes.set_axisbelow(True)


def baseline(axes: Axes, value: float, look: Look, label: str) -> None:
    """A level to compare with, such as the dense model's errors."""
    axes.axhline(value, color=look.colour, linestyle="--", label=label)


def curve(axes: Axes, points: Sequence[tuple[float, Spread]], look: Look, label: str) -> None:
    """Means over x, with whiskers from the lowest to the highest."""
    spreads = [spread for _, spread in points]
    axes.errorbar(
        [x for x, _ in points],
        [spread.mean for spread in spreads],
        yerr=_reach(spreads),
        color=look.colour,
        marker=look.marker,
        label=label,
        capsize=3,
    )


def band(axes: Axes, points: Sequence[tuple[float, Spread]], look: Look) -> None:
    """A pale area from the lowest to the highest, for curves too dense for whiskers."""
    axes.fill_between(
        [x for x, _ in points],
        [spread.low for _, spread in points],
        [spread.high for _, spread in points],
        color=look.colour,
        alpha=0.15,
        linewidth=0,
    )


def whisker(axes: Axes, y: float, spread: Spread) -> None:
    """A line from the lowest to the highest, on a horizontal bar at `y`."""
    axes.errorbar(spread.mean, y, xerr=_reach([spread]), color="black", capsize=3, linewidth=1.2)


def _reach(spreads: Sequence[Spread]) -> list[list[float]]:
    """How far down and up, as matplotlib takes them."""
    return [
        [spread.mean - spread.low for spread in spreads],
        [spread.high - spread.mean for spread in spreads],
    ]


def save(figure: Figure, path: Path) -> None:
    """Write a PNG that is a function of the figure alone."""
    figure.savefig(path, dpi=150, metadata={"Software": None})
