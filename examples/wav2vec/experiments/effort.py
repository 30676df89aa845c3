"""What a sparsity costs: fine-tunings, and measured time (in the manner of figure 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments import claims
from experiments.figures import legend
from experiments.plan import Plan, Result
from experiments.scores import Scored, Setting, settings_of
from experiments.series import series_of
from experiments.tables import NOT_RUN, Table, estimate_shown, metric_of, percent, title_of
from experiments.verdicts import Verdicts
from parp_fairseq.analysis.style import look_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOAD = re.compile(r"load ([\d.]+)")


def fine_tunings(setting: Setting) -> int:
    """How many it takes from the pre-trained model on, the one that gives OMP's mask included."""
    return setting.first.trainings + (setting.first.needs is not None)


def minutes(setting: Setting, scores: Mapping[str, Scored]) -> list[float]:
    """Measured training time of each seed whose every fine-tuning was timed, in minutes."""
    found = []
    for scored in setting.by_seed.values():
        needs = scored.fine_tuning.needs
        if needs is None:
            found.append(float(scored.content["minutes"]))
        elif needs.name in scores:
            both = (scored.content, scores[needs.name].content)
            found.append(sum(float(content["minutes"]) for content in both))
    return sorted(found)


def effort_tables(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> list[Table]:
    """Fine-tunings, minutes and errors, a table a world."""
    settings = settings_of(result, scores)
    metric = metric_of(settings)
    found = []
    for world in dict.fromkeys(setting.first.world.name for setting in settings):
        rows = [setting for setting in settings if setting.first.world.name == world]
        split = rows[0].first.world.test[0]
        body = []
        for row in rows:
            times = minutes(row, scores)
            body.append(
                [
                    title_of(row.first),
                    percent(row.first.sparsity),
                    str(fine_tunings(row)),
                    f"{times[0]:.1f}" if times else NOT_RUN,
                    f"{times[-1]:.1f}" if times else NOT_RUN,
                    _loads(row),
                    estimate_shown(row, split),
                    str(len(times)),
                ]
            )
        header = ["method", "sparsity", "fine-tunings", "minutes, quickest seed", "slowest"]
        header += ["load of the machine", f"{metric} {split}", "seeds"]
        found.append(Table(world, header, body))
    return found


def effort_figure(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Figure | None:
    """Fine-tunings, and the quickest seed's minutes, over sparsity, a row a world."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    settings = [setting for setting in settings_of(result, scores) if setting.by_seed]
    if not settings:
        return None
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    figure = Figure(figsize=(8.6, 0.6 + 3.6 * len(worlds)), layout="constrained")
    panels = figure.subplots(len(worlds), 2, squeeze=False)
    for (left, right), world in zip(panels, worlds):
        lines = series_of([one for one in settings if one.first.world.name == world])
        for place, series in enumerate(lines):
            points = sorted(
                (setting.first.sparsity, fine_tunings(setting), minutes(setting, scores))
                for setting in series.members
            )
            if series.method == "dense":
                _levels(left, right, points[0][1], points[0][2])
                continue
            # Beside each other: several methods take as many fine-tunings.
            aside = 0.8 * (place - len(lines) / 2)
            left.plot(
                [100 * sparsity + aside for sparsity, _, _ in points],
                [count for _, count, _ in points],
                label=series.label,
                **series.look,
            )
            timed = [(100 * sparsity + aside, times[0]) for sparsity, _, times in points if times]
            right.plot([x for x, _ in timed], [y for _, y in timed], **series.look)
        left.yaxis.set_major_locator(MaxNLocator(integer=True))
        left.set_ylabel("fine-tunings")
        right.set_ylabel("training (minutes), quickest seed")
        for axes in (left, right):
            axes.set_ylim(bottom=0)
            axes.set_xlabel("sparsity (%)")
            axes.set_title(world)
            axes.grid(color="#dddddd")
    legend(figure, list(panels[:, 0]), "lower is better")
    return figure


def verdicts(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> Verdicts:
    """The claims about errors."""
    return claims.verdicts(result.claims, settings_of(result, scores))


def _levels(left: Any, right: Any, count: int, times: list[float]) -> None:
    style = {"color": look_of("dense").colour, "linestyle": "--"}
    left.axhline(count, label="dense", **style)
    if times:
        right.axhline(times[0], **style)


def _loads(setting: Setting) -> str:
    found = [_LOAD.search(scored.content["machine"]) for scored in setting.by_seed.values()]
    loads = sorted(float(match[1]) for match in found if match)
    return f"{loads[0]:.0f} to {loads[-1]:.0f}" if loads else "-"
