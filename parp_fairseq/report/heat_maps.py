"""Masks moved between tasks, as heat maps (in the manner of figure 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parp_fairseq.files import PathLike
from parp_fairseq.report.drawing import check_drawing
from parp_fairseq.report.style import save as save_figure

_WAYS = (("regular", "mask held"), ("parp", "PARP"))


def draw_transfer(outcome: Mapping[str, Any], file: PathLike) -> None:
    """Draw what masks of the other tasks cost, beside how much the masks overlap (PNG).

    A cell is the score on a column's task with a row's mask, less that with the task's own mask
    held; it is empty where a run is missing.

    Args:
        outcome: what `glue.transfer.Outcome.to_json` returns.
        file: the picture to write.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    check_drawing()
    from matplotlib.figure import Figure

    tasks = list(outcome["tasks"])
    own = outcome["same_task"]
    panels: list[tuple[str, list[list[float]]]] = []
    for way, title in _WAYS:
        cells = outcome["matrix"][way]
        panels.append((title, [[_less(cells[a][b], own[b]) for b in tasks] for a in tasks]))
    values = [abs(v) for _, lines in panels for line in lines for v in line if v == v]
    reach = max([*values, 0.1])
    overlap = outcome["overlap"]["iou"]
    count = len(panels) + (overlap is not None)
    side = 1.9 + 0.62 * len(tasks)
    figure = Figure(figsize=(side * count + 0.6, side), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False)[0]
    for place, (title, lines) in zip(axes, panels):
        image = place.imshow(lines, cmap="PuOr", vmin=-reach, vmax=reach)
        _label(place, lines, tasks, tasks, "{:+.1f}", lambda v: abs(v) > 0.62 * reach)
        place.set_title(f"{title}, {100 * outcome['sparsity']:g}%", fontsize=11)
        place.set_xlabel("fine-tuned on")
    axes[0].set_ylabel("mask of")
    figure.colorbar(image, ax=list(axes[: len(panels)]), shrink=0.7, label="points over own mask")
    if overlap is not None:
        names = list(outcome["overlap"]["masks"])
        values = [v for line in overlap for v in line]
        low = min(values)
        image = axes[-1].imshow(overlap, cmap="cividis", vmin=low, vmax=1.0)
        _label(axes[-1], overlap, names, names, "{:.3f}", lambda v: v < (low + 1) / 2)
        axes[-1].set_title("IOU of the masks", fontsize=11)
    save_figure(figure, file)


def _less(value: float | None, own: float | None) -> float:
    return float("nan") if value is None or own is None else value - own


def _label(
    axes: Any, lines: Any, columns: list[str], rows: list[str], form: str, light: Any
) -> None:
    axes.set_xticks(range(len(columns)), columns, rotation=45)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for y, line in enumerate(lines):
        for x, value in enumerate(line):
            text = form.format(value) if value == value else "not run"
            colour = "white" if value == value and light(value) else "black"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
