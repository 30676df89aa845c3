"""Results over languages: errors of each, their average, and claims within languages.

A language is a world of its own (one of a yaml's `each`), or a test set (test-nl, …) of one model
for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from experiments.claims import Judgement
from experiments.plan import Claim, FineTuning
from experiments.scores import Setting
from experiments.statistics import Estimate
from experiments.tables import NOT_RUN, Table, metric_of, percent, title_of
from experiments.verdicts import BY_SIGN, Verdicts
from parp_fairseq.analysis.style import look_of
from parp_fairseq.pruning.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AVERAGE = "average"
# Of the highest sparsity, the next, …
_FILLS = ("full", "none", "bottom", "left")


@dataclass(frozen=True)
class Row:
    """One setting in all languages.

    Attributes:
        first: one of its fine-tunings.
        rates: language → seed → errors in percent; empty where it was not run.
        languages: all of the group, those too that this setting is not planned in.
        wanted: how many seeds the plan has.
    """

    first: FineTuning
    rates: Mapping[str, Mapping[int, float]]
    languages: Sequence[str]
    wanted: int

    def rate(self, language: str) -> float | None:
        """Errors in a language, the mean over seeds; None where it was not run."""
        found = self.rates.get(language, {}).values()
        return sum(found) / len(found) if found else None

    @property
    def average(self) -> float | None:
        """The mean over languages, each with the same weight; None unless all were run."""
        rates = [self.rate(language) for language in self.languages]
        known = [rate for rate in rates if rate is not None]
        return sum(known) / len(known) if len(known) == len(rates) else None

    @property
    def seeds(self) -> int:
        """Seeds that each of its languages has."""
        return min(len(found) for found in self.rates.values())


def by_group(settings: Sequence[Setting]) -> dict[str, dict[str, Row]]:
    """Group of worlds → setting's key → its errors by language, in the plan's order."""
    members: dict[str, dict[str, list[Setting]]] = {}
    for setting in settings:
        rows = members.setdefault(setting.first.world.group, {})
        rows.setdefault(setting.key, []).append(setting)
    return {group: _rows(found) for group, found in members.items()}


def _rows(members: Mapping[str, Sequence[Setting]]) -> dict[str, Row]:
    rates: dict[str, dict[str, Mapping[int, float]]] = {}
    for key, settings in members.items():
        for setting in settings:
            world = setting.first.world
            for split in world.test:
                language = world.language or split.partition("-")[2] or split
                rates.setdefault(key, {})[language] = setting.rates(split)
    languages = list(dict.fromkeys(one for found in rates.values() for one in found))
    return {
        key: Row(settings[0].first, rates[key], languages, min(one.wanted for one in settings))
        for key, settings in members.items()
    }


def language_tables(settings: Sequence[Setting]) -> list[Table]:
    """Errors of each language and their average, a table a group of worlds."""
    metric = metric_of(settings)
    tables = []
    for group, rows in by_group(settings).items():
        languages = next(iter(rows.values())).languages
        body = [
            [
                title_of(row.first),
                percent(row.first.sparsity),
                *(_shown(row.rate(language)) for language in languages),
                _shown(row.average),
                f"{row.seeds} of {row.wanted}",
            ]
            for row in rows.values()
        ]
        header = ["method", "sparsity", *languages, AVERAGE, "seeds"]
        tables.append(Table(f"{metric} on the test sets, {group}", header, body))
    return tables


def _was_run(row: Row) -> bool:
    return any(row.rates.values())


def _shown(rate: float | None) -> str:
    return NOT_RUN if rate is None else f"{rate:.1f}"


def judge_languages(fewer: Row, than: Row) -> Judgement:
    """Compare two settings within languages, those that both have; languages are the sample.

    The difference in a language is the mean over the seeds that both have there, and the
    t-interval is over languages: what would come out in other languages, not for another seed.
    """
    differences = []
    for language in fewer.rates:
        one, other = fewer.rates[language], than.rates.get(language, {})
        seeds = set(one) & set(other)
        if seeds:
            differences.append(sum(one[seed] - other[seed] for seed in seeds) / len(seeds))
    if not differences:
        return Judgement(NOT_RUN, None)
    difference = Estimate.of(differences)
    return Judgement(BY_SIGN[difference.sign], difference)


def language_verdicts(claims: Sequence[Claim], settings: Sequence[Setting]) -> Verdicts:
    """The claims, group by group; none of a group without a cell for either side."""
    metric = metric_of(settings)
    groups = by_group(settings)
    rows = []
    for claim in claims:
        for group, found in groups.items():
            if claim.fewer not in found or claim.than not in found or not claim.asked_of(group):
                continue
            judged = judge_languages(found[claim.fewer], found[claim.than])
            rows.append(judged.told(claim, group if len(groups) > 1 else "", metric))
    note = "Intervals of these claims are over languages, differences within them."
    return Verdicts("difference", "languages", rows, note)


def draw_languages(figure: Figure, settings: Sequence[Setting]) -> Sequence[Any]:
    """Draw errors by language with their average at the end, a panel a group; return the panels.

    What was not run is left out, and with it the average that lacks it.

    Args:
        figure: an empty one.
        settings: all of the result, one of them run at least.
    """
    groups = by_group(settings)
    groups = {name: rows for name, rows in groups.items() if any(map(_was_run, rows.values()))}
    panels: Any = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, (group, rows) in zip(panels, groups.items()):
        names = next(iter(rows.values())).languages
        sparsities = sorted({row.first.sparsity for row in rows.values()} - {0.0}, reverse=True)
        fills = {0.0: "full", **dict(zip(sparsities, cycle(_FILLS)))}
        for place, row in enumerate(rows.values()):
            if not _was_run(row):
                continue
            points = [(x, row.rate(name)) for x, name in enumerate(names)]
            points.append((len(names) + 0.5, row.average))
            shift = 0.6 * ((place + 0.5) / len(rows) - 0.5)
            known = [(x + shift, rate) for x, rate in points if rate is not None]
            method = METHODS[row.first.method]
            look, label = look_of(row.first.method), method.title
            if row.first.method != "dense":
                label += f" {percent(row.first.sparsity)}"
            axes.plot(
                [x for x, _ in known],
                [rate for _, rate in known],
                linestyle="none",
                color=look.colour,
                marker=look.marker,
                fillstyle=fills[row.first.sparsity],
                label=label,
            )
        axes.axvline(len(names) - 0.25, color="#bbbbbb", linewidth=0.8)
        axes.set_xticks([*range(len(names)), len(names) + 0.5], [*names, AVERAGE])
        axes.tick_params(axis="x", labelrotation=90 if len(names) > 6 else 0)
        axes.set_title(group)
        axes.grid(axis="y", color="#dddddd")
    panels[0].set_ylabel(f"{metric_of(settings)} on the test set (%), lower is better")
    return panels  # type: ignore[no-any-return]
