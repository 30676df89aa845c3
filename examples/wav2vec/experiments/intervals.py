"""How often to prune: errors over n, the number of updates between two prunings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.commands import updates
from experiments.figures import draw_level, draw_points, legend, make_figure
from experiments.plan import FineTuning
from experiments.scores import Setting
from experiments.series import Series
from experiments.statistics import Estimate
from experiments.tables import (
    Table,
    estimate_shown,
    method_title,
    metric_of,
    percent,
    seeds_shown,
)
from parp_fairseq.config import shipped
from parp_fairseq.pruning.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEVER = "never"


def interval(ft: FineTuning) -> tuple[int, str]:
    """Its n and the unit, "update" or "epoch", of its options or else of its config."""
    prune = shipped.read(ft.world.config)["task"]["prune"]
    n, unit = (ft.option(key, prune[key]) for key in ("interval", "interval_unit"))
    return int(n), str(unit)


def is_pruned_once(method: str) -> bool:
    """Whether n means nothing to it: dense, or a mask that is held."""
    found = METHODS.get(method)
    # IMP is no method of one fine-tuning; its masks are held in each round.
    return found is None or found.initial is None or (found.static and not found.ramps)


def is_never(ft: FineTuning) -> bool:
    """Whether nothing is pruned between the first mask and the last update, which always prunes."""
    n, unit = interval(ft)
    return unit == "update" and n >= updates(ft.world)


def intervals_tables(settings: Sequence[Setting]) -> list[Table]:
    """A row an interval."""
    metric = metric_of(settings)
    found = []
    for world in dict.fromkeys(setting.first.world.name for setting in settings):
        members = [setting for setting in settings if setting.first.world.name == world]
        splits = members[0].first.world.splits
        rows = [
            [
                method_title(setting.first.method),
                percent(setting.first.sparsity),
                _shown(setting.first),
                str(_prunings(setting.first)),
                *(estimate_shown(setting, split) for split in splits),
                seeds_shown(setting),
            ]
            for setting in sorted(members, key=_order(members))
        ]
        header = ["method", "sparsity", "n", "prunings", *(f"{metric} {one}" for one in splits)]
        found.append(Table(world, [*header, "seeds"], rows))
    return found


def intervals_figure(settings: Sequence[Setting]) -> Figure:
    """Errors over n, on a logarithmic axis with "never" at its end; a panel a world."""
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    figure, panels = make_figure(len(worlds))
    for axes, world in zip(panels, worlds):
        members = [setting for setting in settings if setting.first.world.name == world]
        split = members[0].first.world.test[0]
        ticks: dict[float, str] = {}
        levels = [one for one in members if is_pruned_once(one.first.method)]
        free = [one for one in members if one not in levels]
        lines = list(dict.fromkeys((one.first.method, one.first.sparsity) for one in free))
        for place, (method, sparsity) in enumerate(lines):
            line = [
                one for one in free if (one.first.method, one.first.sparsity) == (method, sparsity)
            ]
            line.sort(key=lambda one: _place(one.first))
            ticks.update({_place(one.first): _shown(one.first) for one in line})
            before = [other for other, _ in lines[:place]].count(method)
            label = f"{method_title(method)}, {percent(sparsity)}"
            draw_points(
                axes,
                # Beside each other, so that intervals at one n can be seen.
                [_place(one.first) * (1 + 0.04 * (place - (len(lines) - 1) / 2)) for one in line],
                [Estimate.of(list(one.rates(split).values())) for one in line],
                label=label,
                **Series(method, label, tuple(line), before).look,
            )
        for setting in levels:
            method, sparsity = setting.first.method, setting.first.sparsity
            label = method_title(method) + (f", {percent(sparsity)}" if sparsity else "")
            draw_level(axes, method, Estimate.of(list(setting.rates(split).values())), label)
        axes.set_xscale("log")
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
        axes.set_title(world)
        axes.set_xlabel(f"n, {_units(free)} between two prunings")
        axes.grid(color="#dddddd")
    panels[0].set_ylabel(f"{metric_of(settings)} on {split} (%), lower is better")
    legend(figure, panels, "m⊙θ after the last pruning; mean over seeds, bars: 95% t-intervals")
    return figure


def _shown(ft: FineTuning) -> str:
    return "-" if is_pruned_once(ft.method) else NEVER if is_never(ft) else str(interval(ft)[0])


def _prunings(ft: FineTuning) -> str:
    """Of all of training, the first mask included; the last update always prunes."""
    n, unit = interval(ft)
    if is_pruned_once(ft.method):
        return {"dense": "0", "imp": "-"}.get(ft.method, "1")
    return str(1 + -(-updates(ft.world) // n)) if unit == "update" else "-"


def _place(ft: FineTuning) -> float:
    """On the axis: n, and "never" where pruning comes once in all updates."""
    n = interval(ft)[0]
    return float(updates(ft.world) if is_never(ft) else n)


def _order(members: Sequence[Setting]) -> Any:
    methods = list(dict.fromkeys(setting.first.method for setting in members))
    return lambda one: (methods.index(one.first.method), one.first.sparsity, _place(one.first))


def _units(settings: Sequence[Setting]) -> str:
    return "s, ".join(dict.fromkeys(interval(one.first)[1] for one in settings)) + "s"
