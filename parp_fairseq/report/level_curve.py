"""What each nested subnetwork of a model takes, and what it errs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parp_fairseq.evaluation.score import Score
from parp_fairseq.files import PathLike
from parp_fairseq.report import style
from parp_fairseq.report.statistics import Spread
from parp_fairseq.table import aligned

if TYPE_CHECKING:
    from parp_fairseq.inference.budget import LevelCost


def levels_of(scores: Sequence[Score]) -> dict[str, list[list[Score]]]:
    """Of a model that was scored at several sparsities: its scores, level by level."""
    found: dict[str, dict[float | None, list[Score]]] = {}
    for score in scores:
        found.setdefault(score.checkpoint, {}).setdefault(score.sparsity, []).append(score)
    return {name: [*levels.values()] for name, levels in found.items() if len(levels) > 1}


def render_levels(levels: Sequence[Sequence[Score]], costs: Sequence[LevelCost]) -> str:
    """An aligned table: a level a row, with its size, time and error rates."""
    splits = [f"{score.metric} {score.split}" for score in levels[0]]
    rows = []
    for scores, cost in zip(levels, costs):
        size = "" if cost.size is None else f"{cost.size / 1e6:.2f}"
        row = [f"{100 * cost.sparsity:.1f}", size, f"{cost.milliseconds:.1f}"]
        rows.append(row + [f"{score.words.rate:.2f}" for score in scores])
    return aligned(["sparsity %", "MB", "ms a second of speech", *splits], rows, left=0)


def draw_levels(
    levels: Sequence[Sequence[Score]], costs: Sequence[LevelCost], file: PathLike
) -> None:
    """Draw errors over time, and over size where that is known (PNG).

    Raises:
        UserError: the file cannot be written.
    """
    ways = {"milliseconds for a second of speech": [cost.milliseconds for cost in costs]}
    if costs[0].size is not None:
        ways["size (MB)"] = [(cost.size or 0) / 1e6 for cost in costs]
    figure, panels = style.panels(len(ways))
    for axes, (label, taken) in zip(panels, ways.items()):
        for number, first in enumerate(levels[0]):
            rates = [scores[number].words for scores in levels]
            points = [(x, Spread(rate.rate, *rate.interval, 1)) for x, rate in zip(taken, rates)]
            style.curve(axes, points, "parp" if number else "parp_p", first.split)
        for x, cost, rate in zip(taken, costs, rates):
            place = {"textcoords": "offset points", "xytext": (6, 6), "fontsize": 9}
            axes.annotate(f"{cost.sparsity:.0%}", (x, rate.rate), **place)
        axes.set_xlabel(label)
        axes.set_ylabel(f"{levels[0][0].metric} (%), lower is better")
        axes.legend(frameon=False)
    style.save(figure, file)
