"""The kinds of results: how each is put into tables and figures, and what its claims are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import claims, effort, figures, intervals, languages, overlap, tables, transfer
from experiments.plan import Plan, Result
from experiments.scores import Scored, Setting, settings_of
from experiments.tables import Table
from experiments.verdicts import Verdicts
from parp_fairseq.report.drawing import check_drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scores = Mapping[str, Scored]


@dataclass(frozen=True)
class Kind:
    """What is made of a result.

    Attributes:
        tables: what was not run says so.
        figure: of what was run; None where nothing was.
        verdicts: what holds of its claims.
    """

    tables: Callable[[Plan, Result, Scores], list[Table]]
    figure: Callable[[Plan, Result, Scores], Figure | None]
    verdicts: Callable[[Plan, Result, Scores], Verdicts]


def make_tables(plan: Plan, result: Result, scores: Scores) -> list[Table]:
    """The tables of a result; a cell that was not run says so."""
    return KINDS[result.kind].tables(plan, result, scores)


def draw(plan: Plan, result: Result, scores: Scores, folder: Path) -> list[Path]:
    """Draw what was run into `folder/SCALE.png` and `.pdf`; nothing where nothing was.

    Raises:
        UserError: matplotlib is not installed.
    """
    check_drawing()
    figure = KINDS[result.kind].figure(plan, result, scores)
    return [] if figure is None else figures.save(figure, folder, plan.scale)


def judged(plan: Plan, result: Result, scores: Scores) -> Verdicts | None:
    """What holds of a result's claims; None where it has none."""
    return KINDS[result.kind].verdicts(plan, result, scores) if result.claims else None


def _of_settings(
    make: Callable[[Sequence[Setting]], list[Table]],
    draw: Callable[[Sequence[Setting]], Figure],
    verdicts: Callable[[Sequence[Any], Sequence[Setting]], Verdicts] = claims.verdicts,
    drawn_whole: bool = False,
) -> Kind:
    """A kind that is made of settings alone; `drawn_whole`: with those that were not run."""

    def figure(plan: Plan, result: Result, scores: Scores) -> Figure | None:
        settings = settings_of(result, scores)
        run = [setting for setting in settings if setting.by_seed]
        return draw(settings if drawn_whole else run) if run else None

    return Kind(
        lambda plan, result, scores: make(settings_of(result, scores)),
        figure,
        lambda plan, result, scores: verdicts(result.claims, settings_of(result, scores)),
    )


KINDS: dict[str, Kind] = {
    "rates": _of_settings(tables.rates_tables, figures.rates_figure),
    "effects": _of_settings(tables.effects_tables, figures.effects_figure),
    "views": _of_settings(tables.views_tables, figures.views_figure),
    "languages": _of_settings(
        languages.language_tables,
        figures.languages_figure,
        languages.language_verdicts,
        # An average takes every language.
        drawn_whole=True,
    ),
    "intervals": _of_settings(intervals.intervals_tables, intervals.intervals_figure),
    "effort": Kind(effort.effort_tables, effort.effort_figure, effort.verdicts),
    "transfer": Kind(transfer.transfer_tables, transfer.transfer_figure, transfer.verdicts),
    "overlap": Kind(overlap.overlap_tables, overlap.overlap_figure, overlap.verdicts),
    "initial_mask": Kind(overlap.first_tables, overlap.first_figure, overlap.verdicts),
}
"""By the name that a yaml gives."""
