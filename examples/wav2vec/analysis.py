"""The paper's results, from the tidy tables in results/.

python examples/wav2vec/analysis.py                    writes RESULTS.md and figures/
python examples/wav2vec/analysis.py --table figure3    prints the tables of a target (--csv: as CSV)
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from paper_tables import (
    HERE,
    NEVER,
    TABLES,
    MaskOf,
    Results,
    RunGroup,
    by_language,
    comparisons,
    effects_by_sparsity,
    interval_of,
    method_title,
    transfers,
    words,
)

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines
from parp_fairseq.report import style
from parp_fairseq.report.drawing import check_drawing, forest
from parp_fairseq.report.rendering import TextTable
from parp_fairseq.report.run_table import percent
from parp_fairseq.report.statistics import (
    CONTRADICTED,
    INCONCLUSIVE,
    LEVEL,
    SUPPORTED,
    Estimate,
    holm,
    paired,
    sign_of_intervals,
    verdict,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS, FIGURES = "RESULTS.md", "figures"
VERDICTS = (SUPPORTED, CONTRADICTED, INCONCLUSIVE)
HOLDS, NO_DIFFERENCE, NOT_SAID = "holds", "no difference", "-"
_GROUPS = {
    "own": "the own mask",
    "another_seed": "the own mask of another seed",
    "other_languages": "other languages' masks",
    "random": "a random mask",
}


@dataclass(frozen=True)
class Outcome:
    """What the tables say of one claim in one place.

    Attributes:
        target: a target of claims.yaml.
        claim: in words.
        paper: the paper's verdict: HOLDS, NO_DIFFERENCE or NOT_SAID.
        verdict: supported, contradicted or inconclusive.
        shown: the number that decides, with its interval.
        count: of seeds, languages or pairs.
        difference: better - worse; None for a claim on masks.
        one_seed: the bootstrap intervals over utterances decided, not training's chance.
        survives: whether the verdict stays after Holm's correction.
    """

    target: str
    claim: str
    paper: str
    verdict: str
    shown: str
    count: int
    difference: Estimate | None = None
    one_seed: bool = False
    survives: bool = True


def judge(results: Results, target: str, claim: Mapping[str, Any]) -> list[Outcome]:
    """The outcomes of a claim: one for each setup, group of languages or model of its target.

    Raises:
        UserError: nothing in the table bears on it.
    """
    if "masks" in claim:
        return [_judge_masks(results, target, claim)]
    paper, found = claim.get("paper", NOT_SAID), []
    for where, better, worse, metric, sign in _samples(results, target, claim):
        difference = paired(better, worse)
        if difference is None or where not in claim.get("setups", [where]):
            continue
        one = difference.count == 1
        outcome = Outcome(
            target,
            f"{_side(claim['better'])} beats {_side(claim['worse'])} ({where})",
            paper,
            verdict(sign if one else difference.sign, paper != NO_DIFFERENCE),
            f"{difference.shown(signed=True)} {metric}",
            difference.count,
            difference,
            one_seed=one,
        )
        found.append(outcome)
    if not found:
        raise UserError(f"claims.yaml: {target}: no runs for the claim {dict(claim)}")
    return found


def _samples(
    results: Results, target: str, claim: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[Any, float], Mapping[Any, float], str, int]]:
    """(where, errors of both sides, metric, sign of the bootstrap intervals) for each place.

    Errors are by seed; by language, the mean over seeds; or by target and seed of moved masks.
    """
    sides = (claim["better"], claim["worse"])
    kind = results.target(target)["kind"]
    if kind == "transfer":
        for one in transfers(results, target):
            yield (one.model, *map(one.group, sides), one.metric, 0)
    elif kind == "languages":
        for group, rows in by_language(results, target).items():
            if all(side in rows for side in sides):
                pair = [{name: rates for name, (_, rates) in rows[side].items()} for side in sides]
                seeds = {name: set(pair[0][name]) & set(pair[1].get(name, ())) for name in pair[0]}
                found = [
                    {
                        name: sum(row[name][s] for s in both) / len(both)
                        for name, both in seeds.items()
                        if both
                    }
                    for row in pair
                ]
                metric = next(iter(rows[sides[0]].values()))[0].metric
                yield (group, *found, metric, 0)
    else:
        for setup, groups in results.run_groups(target).items():
            by_setting = {runs.setting: runs for runs in groups}
            if all(side in by_setting for side in sides):
                pair = [by_setting[side] for side in sides]
                sign = sign_of_intervals(*(runs.intervals() for runs in pair))
                yield (setup, *(runs.rates() for runs in pair), pair[0].metric, sign)


def _side(setting: str) -> str:
    whose, _, way = setting.partition(" ")
    if whose in _GROUPS:
        return f"{_GROUPS[whose]}, {'static' if way == 'static' else 'with PARP'},"
    return words(setting)


def _judge_masks(results: Results, target: str, claim: Mapping[str, Any]) -> Outcome:
    """Every pair of masks of two settings has an IOU above a bound."""
    values = []
    for pairs in comparisons(results, target).values():
        for pair in pairs:
            one, other = MaskOf.of(pair.one), MaskOf.of(pair.other)
            settings = {one.setting, other.setting} == set(claim["masks"])
            if settings and not (claim.get("different_setups") and one.setup == other.setup):
                values.append(pair.iou)
    if not values:
        raise UserError(f"claims.yaml: {target}: no masks for the claim {dict(claim)}")
    names = [words(setting) for setting in claim["masks"]]
    pair_of = f"of two setups, {names[0]}," if names[0] == names[1] else " and ".join(names)
    return Outcome(
        target,
        f"masks {pair_of} have an IOU above {percent(claim['above'])}",
        claim["paper"],
        SUPPORTED if min(values) > claim["above"] else CONTRADICTED,
        f"lowest {min(values):.4f}",
        len(values),
    )


def paper_claims(results: Results) -> list[Outcome]:
    """All claims on which the paper has a verdict, with Holm's correction.

    Holm's family are the claims with an interval over seeds or languages. A verdict of one seed
    does not survive: nothing says how much training's chance moves it. Claims on masks are counts,
    not estimates, and stay as they are.
    """
    found = [
        outcome
        for name, target in results.targets.items()
        for claim in target.get("claims", ())
        if claim["paper"] != NOT_SAID
        for outcome in judge(results, name, claim)
    ]
    tested = [n for n, one in enumerate(found) if one.difference and not one.one_seed]
    adjusted = dict(zip(tested, holm([found[n].difference.p for n in tested])))
    return [
        replace(one, survives=not one.one_seed and adjusted.get(n, 0.0) <= 1 - LEVEL)
        for n, one in enumerate(found)
    ]


def counted(outcomes: Sequence[Outcome], corrected: bool = False) -> dict[str, int]:
    """Verdict → how many; `corrected`: those that do not survive are inconclusive."""
    verdicts = [INCONCLUSIVE if corrected and not o.survives else o.verdict for o in outcomes]
    return {one: Counter(verdicts)[one] for one in VERDICTS}


# --- RESULTS.md -----------------------------------------------------------------------------


def results_page(results: Results, page: Mapping[str, Any]) -> str:
    """RESULTS.md: the setups and questions of questions.yaml, the paper's claims, threats."""
    count = sum(map(len, results.by_setting.values()))
    lines = [
        "# Results",
        "",
        "Written by `python examples/wav2vec/analysis.py` from `results/scores.csv` "
        f"({count} runs) and `results/masks.csv`; do not edit it.",
        "`python examples/wav2vec/analysis.py --table NAME` prints the tables of a target: "
        + ", ".join(results.targets)
        + ".",
        "",
        "Differences are in points of error rate on the test set; negative means that the first "
        "makes fewer errors. They are taken within seeds (or languages), with 95% t-intervals over "
        "them. A claim is *supported* or *contradicted* where the interval excludes 0, else "
        "*inconclusive*. With one seed (marked ¹) the bootstrap intervals over utterances decide, "
        "which do not contain training's chance.",
        "",
        "| setup | model and data | updates | metric | runs |",
        "| --- | --- | ---: | --- | ---: |",
        *_setups(results, page["setups"]),
        "",
    ]
    for number, question in enumerate(page["questions"], start=1):
        lines += _question(results, number, question)
    return "\n".join([*lines, *_claims(results), *_threats(results, page["threats"])]) + "\n"


def _setups(results: Results, about: Mapping[str, str]) -> list[str]:
    """A row for each setup, or group of setups that differ in their language only."""
    groups: dict[str, list[RunGroup]] = {}
    for setup, setting in results.by_setting:
        group = setup if setup in about else setup.rpartition("-")[0]
        if group not in about:
            raise UserError(f"questions.yaml: setups lacks {setup}")
        groups.setdefault(group, []).append(results.run_group(setup, setting))
    return [
        f"| {group} | {text} | {groups[group][0].updates:,} | {groups[group][0].metric} | "
        f"{sum(len(runs.by_seed) for runs in groups[group])} |"
        for group, text in about.items()
    ]


def _question(results: Results, number: int, question: Mapping[str, Any]) -> list[str]:
    """One question: verdict with effect and interval, figure, table."""
    lines = [f"## {number}. {question['question']}", "", question["text"].strip(), ""]
    figure = f"![{question['question']}]({FIGURES}/{question['figure']['file']}.png)"
    if "effects" in question:
        table, summary = _effects(results, question["effects"])
    else:
        outcomes = question_outcomes(results, question)
        counts = counted(outcomes)
        main = outcomes[0]
        says = main.claim[0].upper() + main.claim[1:]
        summary = (
            f"**{answer(counts)}.** Of {len(outcomes)} comparisons on “{question['claim']}”: "
            f"{_listed(counts)}. {says}: {main.verdict}, {main.shown}, n = {main.count}."
        )
        body = [[o.claim, _marked(o), o.shown, str(o.count)] for o in outcomes]
        table = TextTable("", ["claim", "verdict", "difference", "n"], body, 2)
    return [*lines, summary, "", figure, "", table.markdown(), ""]


def question_outcomes(results: Results, question: Mapping[str, Any]) -> list[Outcome]:
    """The comparisons of a question."""
    found = []
    for target, better, worse in question["comparisons"]:
        found += judge(results, target, {"better": better, "worse": worse})
    return found


def effect_rows(results: Results, targets: Sequence[str]) -> list[tuple[str, float, Any]]:
    """(target, sparsity, its effects) of designs."""
    rows = []
    for name in targets:
        ((_, groups),) = results.run_groups(name).items()
        for sparsity, effects in effects_by_sparsity(groups).items():
            if effects is not None:
                rows.append((name, sparsity, effects))
    return rows


def _effects(results: Results, targets: Sequence[str]) -> tuple[TextTable, str]:
    rows = effect_rows(results, targets)
    body = [
        [
            name,
            percent(sparsity),
            *(one.shown(signed=True) for one in (e.regrowth, e.schedule, e.interaction)),
            str(e.regrowth.count),
        ]
        for name, sparsity, e in rows
    ]
    header = ["target", "sparsity", "regrowth", "schedule", "interaction", "seeds"]
    name, sparsity, main = max((row for row in rows if row[0] == rows[0][0]), key=lambda r: r[1])
    says = []
    for what in ("regrowth", "schedule"):
        verdicts = Counter(verdict(getattr(effects, what).sign) for _, _, effects in rows)
        counts = {one: verdicts[one] for one in VERDICTS}
        says.append(
            f"**{what.capitalize()}: {answer(counts).lower()}.** Of {len(rows)} designs on “{what} "
            f"makes fewer errors”: {_listed(counts)}. {name} at {percent(sparsity)}: "
            f"{getattr(main, what).shown(signed=True)} points."
        )
    return TextTable("", header, body, 2), " ".join(says)


def answer(counts: Mapping[str, int]) -> str:
    """A few words for how many comparisons have which verdict."""
    yes, no = counts[SUPPORTED], counts[CONTRADICTED]
    if 2 * (yes + no) < sum(counts.values()):
        return "Mostly inconclusive"
    if min(yes, no) * 3 > max(yes, no):
        return "Mixed"
    return ("Yes" if no == 0 else "Mostly yes") if yes > no else ("No" if yes == 0 else "Mostly no")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _marked(outcome: Outcome) -> str:
    return f"{outcome.verdict}¹" if outcome.one_seed else outcome.verdict


def _claims(results: Results) -> list[str]:
    claims = paper_claims(results)
    lines = ["## The paper's claims", ""]
    for paper, title in ((HOLDS, "says that it holds"), (NO_DIFFERENCE, "sees no difference")):
        chosen = [one for one in claims if one.paper == paper]
        lines.append(
            f"- Of {len(chosen)} claims of which the paper {title}: {_listed(counted(chosen))}; "
            f"after Holm's correction: {_listed(counted(chosen, corrected=True))}."
        )
    tested = sum(one.difference is not None and not one.one_seed for one in claims)
    lines += [
        "",
        f"Holm's correction is over the {tested} claims with an interval over seeds or languages; "
        "one seed¹ counts as inconclusive there, and claims on masks stay as they are. \\* marks a "
        "verdict that does not survive. No result can support that there is no difference; a "
        "measured one contradicts it.",
        "",
    ]
    for name in dict.fromkeys(one.target for one in claims):
        chosen = [one for one in claims if one.target == name]
        body = [
            [
                one.claim + (" — no difference" if one.paper == NO_DIFFERENCE else ""),
                _marked(one) + ("" if one.survives or one.verdict == INCONCLUSIVE else "\\*"),
                one.shown,
                str(one.count),
            ]
            for one in chosen
        ]
        header = [f"{name}: {results.target(name)['title']}", "here", "difference or IOU", "n"]
        lines += [TextTable("", header, body, 2).markdown(), ""]
    return lines


def _threats(results: Results, more: Sequence[str]) -> list[str]:
    groups = [results.run_group(*key) for key in results.by_setting]
    machines = Counter(
        next(iter(scores.values())).machine.split(",")[0]
        for runs in groups
        for scores in runs.by_seed.values()
    )
    single = sum(len(runs.by_seed) == 1 for runs in groups)
    entries = sorted({pair.entries for pair in results.masks})
    updates = sorted({runs.updates for runs in groups})
    synthetic = sum('"units"' not in runs.first.data for runs in groups)
    return [
        "## Threats to validity",
        "",
        f"- **Size.** The models have {entries[0]:,} to {entries[-1]:,} prunable weights; the "
        "paper's are larger by orders of magnitude.",
        f"- **Speech.** {synthetic} of {len(groups)} settings were trained on synthetic speech.",
        f"- **Convergence.** Trainings take {updates[0]:,} to {updates[-1]:,} updates and end far "
        "from convergence: a method that learns faster looks better here.",
        f"- **Seeds.** {single} of {len(groups)} settings have one seed.",
        "- **Machines.** Runs are reproducible on one kind of CPU; these were trained on "
        + ", ".join(f"{name} ({count} runs)" for name, count in sorted(machines.items()))
        + ". See [DIFFERENT.md](DIFFERENT.md).",
        *(f"- {threat}" for threat in more),
    ]


# --- figures --------------------------------------------------------------------------------


def draw_figures(results: Results, questions: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the figure of each question.

    Raises:
        UserError: matplotlib is missing, or a file cannot be written.
    """
    check_drawing()
    for question in questions:
        figure = question["figure"]
        draw: Callable[[Path], None] = {
            "curves": partial(_draw_sparsity, results, figure),
            "intervals": partial(_draw_intervals, results, figure),
            "comparisons": partial(_draw_comparisons, results, question),
            "effects": partial(_draw_effects, results, question),
        }[figure["kind"]]
        draw(folder / f"{figure['file']}.png")


def _estimate(runs: RunGroup) -> Estimate:
    return Estimate.of(list(runs.rates().values()))


def _draw_sparsity(results: Results, figure: Mapping[str, Any], file: Path) -> None:
    """Errors over sparsity, a line for each method."""
    ((_, groups),) = results.run_groups(figure["target"]).items()
    drawn, axes = style.one_panel(height=4.6)
    methods = list(dict.fromkeys(runs.first.method for runs in groups))
    for place, method in enumerate(methods):
        chosen = sorted((c for c in groups if c.first.method == method), key=lambda c: c.setting)
        look = style.look_of(method)
        if method == "dense":
            style.baseline(axes, _estimate(chosen[0]).mean, look, method_title(method))
            continue
        # Side by side, so that intervals at the same sparsity can be seen.
        shift = 0.5 * (place - len(methods) / 2)
        points = [(100 * runs.first.sparsity + shift, _estimate(runs)) for runs in chosen]
        style.curve(axes, points, look, method_title(method))
    axes.set_xlabel(style.SPARSITY_AXIS)
    _finish(axes, groups[0])
    style.save(drawn, file)


def _draw_intervals(results: Results, figure: Mapping[str, Any], file: Path) -> None:
    """Errors over n, a line for each method, a panel for each target."""
    drawn, panels = style.panels(len(figure["targets"]))
    for axes, name in zip(panels, figure["targets"]):
        ((setup, groups),) = results.run_groups(name).items()
        ticks: dict[int, str] = {}
        for method in dict.fromkeys(runs.first.method for runs in groups):
            chosen = [runs for runs in groups if runs.first.method == method]
            look = style.look_of(method)
            label = words(chosen[0].setting)
            if interval_of(chosen[0]) == "-":
                style.baseline(axes, _estimate(chosen[0]).mean, look, label)
                continue
            points = []
            for runs in chosen:
                n = interval_of(runs)
                place = runs.updates if n == NEVER else int(n)
                ticks[place] = n
                points.append((place, _estimate(runs)))
            style.curve(axes, sorted(points, key=lambda point: point[0]), look, label)
        axes.set_xscale("log")
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.minorticks_off()
        axes.set_xlabel(f"updates between two prunings, {setup}")
        _finish(axes, groups[0])
    style.save(drawn, file)


def _finish(axes: Axes, runs: RunGroup) -> None:
    axes.set_ylabel(f"{runs.metric} on {runs.splits[1]} (%), lower is better")
    style.grid(axes)
    axes.legend(frameon=False, fontsize=9, title="mean, 95% t-interval", title_fontsize=8)


def _draw_comparisons(results: Results, question: Mapping[str, Any], file: Path) -> None:
    rows = [(o.claim, o.difference) for o in question_outcomes(results, question) if o.difference]
    forest({"": rows}, "difference in error rate, points (negative: fewer errors)", file)


def _draw_effects(results: Results, question: Mapping[str, Any], file: Path) -> None:
    rows = effect_rows(results, question["effects"])
    panels = {
        what: [(f"{name} {percent(s)}", getattr(effects, what)) for name, s, effects in rows]
        for what in ("regrowth", "schedule", "interaction")
    }
    forest(panels, "points (negative: fewer errors)", file)


def main(arguments: Sequence[str] | None = None, home: Path = HERE) -> int:
    """Run the command; print one line for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", metavar="TARGET", help="print the tables of a target")
    parser.add_argument("--csv", action="store_true", help="with --table: print CSV")
    options = parser.parse_args(arguments)
    try:
        results = Results(home)
        if options.table:
            target = results.target(options.table)
            for table in TABLES[target["kind"]](results, options.table):
                text = table.csv() if options.csv else f"{table.title}:\n\n{table.markdown()}\n"
                print(text, end="" if options.csv else "\n")
            return 0
        page = yaml.safe_load((home / "questions.yaml").read_text(encoding="utf-8"))
        draw_figures(results, page["questions"], home / FIGURES)
        write_lines(home / RESULTS, results_page(results, page).splitlines())
    except UserError as error:
        print(f"analysis.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
