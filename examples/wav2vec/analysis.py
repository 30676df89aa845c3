"""The paper's results, from the tidy tables in results/.

python examples/wav2vec/analysis.py                    writes RESULTS.md and figures/
python examples/wav2vec/analysis.py --table figure3    prints the tables of a target
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from paper_tables import (
    HERE,
    MaskOf,
    Results,
    RunGroup,
    comparisons,
    effects,
    method_title,
    samples,
    tables_of,
    words,
)

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines
from parp_fairseq.report import style
from parp_fairseq.report.drawing import forest
from parp_fairseq.report.rendering import TextTable, percent
from parp_fairseq.report.statistics import (
    CONTRADICTED,
    INCONCLUSIVE,
    LEVEL,
    SUPPORTED,
    Effects,
    Estimate,
    holm,
    mean,
    paired,
    sign_of_intervals,
    verdict,
)
from parp_fairseq.report.tidy import Score

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
    """What the tables say of one claim in one place."""

    target: str  # a target of claims.yaml
    claim: str  # in words
    paper: str  # the paper's verdict: HOLDS, NO_DIFFERENCE or NOT_SAID
    verdict: str  # supported, contradicted or inconclusive
    shown: str  # the number that decides, with its interval
    count: int  # of seeds, languages or pairs
    difference: Estimate | None = None  # better - worse; None for a claim on masks
    one_seed: bool = False  # the bootstrap intervals over utterances decided, not training's chance
    survives: bool = True  # whether the verdict stays after Holm's correction


def judge(results: Results, target: str, claim: Mapping[str, Any]) -> list[Outcome]:
    """The outcomes of a claim: one for each setup, group of languages or model of its target.

    Raises:
        UserError: nothing in the table bears on it.
    """
    if "masks" in claim:
        return [_judge_masks(results, target, claim)]
    paper, found = claim.get("paper", NOT_SAID), []
    for where, sides in samples(results, target).items():
        pair = [sides[side] for side in (claim["better"], claim["worse"]) if side in sides]
        if len(pair) < 2 or where not in claim.get("setups", [where]):
            continue
        difference = paired(*(side.rates for side in pair))
        if difference is None:
            continue
        one = difference.count == 1
        sign = sign_of_intervals(*(side.intervals for side in pair)) if one else difference.sign
        outcome = Outcome(
            target,
            f"{_side(claim['better'])} beats {_side(claim['worse'])} ({where})",
            paper,
            verdict(sign, paper != NO_DIFFERENCE),
            f"{difference.shown(signed=True)} {pair[0].metric}",
            difference.count,
            difference,
            one_seed=one,
        )
        found.append(outcome)
    if not found:
        raise UserError(f"claims.yaml: {target}: no runs for the claim {dict(claim)}")
    return found


def _side(setting: str) -> str:
    whose, _, way = setting.partition(" ")
    if whose in _GROUPS:
        return f"{_GROUPS[whose]}, {'static' if way == 'static' else 'with PARP'},"
    return words(setting)


def _judge_masks(results: Results, target: str, claim: Mapping[str, Any]) -> Outcome:
    """Every pair of masks of two settings has an IOU above a bound."""
    values = []
    for pair in chain.from_iterable(comparisons(results, target).values()):
        one, other = MaskOf.of(pair.one), MaskOf.of(pair.other)
        settings = sorted([one.setting, other.setting]) == sorted(claim["masks"])
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
    """RESULTS.md: the page of questions.yaml, filled in from the tables."""
    groups = results.groups()
    claims = paper_claims(results)
    # One score of each run; a nested one is in several groups.
    scores = {
        score.run: score
        for runs in groups
        for score in (next(iter(seed.values())) for seed in runs.by_seed.values())
    }
    machines = sorted(Counter(one.machine.split(",")[0] for one in scores.values()).items())
    entries, updates = [pair.entries for pair in results.masks], [runs.updates for runs in groups]
    questions = enumerate(page["questions"], start=1)
    return page["page"].format(
        runs=len(scores),
        settings=len(groups),
        setups=_setups(groups, page["setups"]),
        questions="\n\n".join(_question(results, *numbered) for numbered in questions),
        holds=_counts([one for one in claims if one.paper == HOLDS]),
        no_difference=_counts([one for one in claims if one.paper == NO_DIFFERENCE]),
        tested=sum(one.difference is not None and not one.one_seed for one in claims),
        claims=_claims(claims).markdown(),
        entries=(min(entries), max(entries)),
        updates=(min(updates), max(updates)),
        single=sum(len(runs.by_seed) == 1 for runs in groups),
        synthetic=sum('"units"' not in runs.first.data for runs in groups),
        machines=", ".join(f"{name} ({count} runs)" for name, count in machines),
    )


def _setups(groups: Sequence[RunGroup], about: Mapping[str, str]) -> str:
    """A row for each setup, or group of setups that differ in their language only."""
    found: dict[str, list[RunGroup]] = {}
    for runs in groups:
        name = runs.setup if runs.setup in about else runs.setup.rpartition("-")[0]
        if name not in about:
            raise UserError(f"questions.yaml: setups lacks {runs.setup}")
        found.setdefault(name, []).append(runs)
    body = []
    for name, text in about.items():
        first = found[name][0]
        names = {
            next(iter(seed.values())).run for runs in found[name] for seed in runs.by_seed.values()
        }
        body.append([name, text, f"{first.updates:,}", first.metric, str(len(names))])
    header = ["setup", "model and data", "updates", "metric", "runs"]
    return TextTable("", header, body, 2).markdown()


def _question(results: Results, number: int, question: Mapping[str, Any]) -> str:
    """Verdict with effect and interval, figure and table."""
    kinds = {"effects": _effects, "reach": _reach, "best": _best}
    make = next((kind for name, kind in kinds.items() if name in question), _verdicts)
    summary, table = make(results, question)
    title, file = question["question"], question["figure"]["file"]
    figure = f"![{title}]({FIGURES}/{file}.png)"
    parts = [f"## {number}. {title}", question["text"].strip(), summary, figure, table.markdown()]
    return "\n\n".join(parts)


def question_outcomes(results: Results, question: Mapping[str, Any]) -> list[Outcome]:
    """The comparisons of a question."""
    found = (
        judge(results, target, {"better": better, "worse": worse})
        for target, better, worse in question["comparisons"]
    )
    return list(chain.from_iterable(found))


def _verdicts(results: Results, question: Mapping[str, Any]) -> tuple[str, TextTable]:
    """The verdict of a question, with the first comparison's effect and interval; all of them."""
    outcomes = question_outcomes(results, question)
    main = outcomes[0]
    says = main.claim[0].upper() + main.claim[1:]
    summary = _answered("", counted(outcomes), f"comparisons on “{question['claim']}”")
    summary += f" {says}: {main.verdict}, {main.shown}, n = {main.count}."
    body = [[o.claim, _marked(o), o.shown, str(o.count)] for o in outcomes]
    return summary, TextTable("", ["claim", "verdict", "difference", "n"], body, 2)


def design_rows(results: Results, question: Mapping[str, Any]) -> list[tuple[str, float, Effects]]:
    """(target, sparsity, its effects) of a question's designs."""
    return [
        (name, sparsity, found)
        for name in question["effects"]
        for sparsity, found in effects(results, name).items()
    ]


def _effects(results: Results, question: Mapping[str, Any]) -> tuple[str, TextTable]:
    """The verdicts on both effects, with those at the first design's highest sparsity; all."""
    rows = design_rows(results, question)
    body = [
        [name, percent(s), *(one.shown(signed=True) for one in found), str(found[0].count)]
        for name, s, found in rows
    ]
    name, sparsity, main = max((row for row in rows if row[0] == rows[0][0]), key=lambda r: r[1])
    says = []
    for place, what in enumerate(Effects._fields[:2]):
        verdicts = Counter(verdict(found[place].sign) for _, _, found in rows)
        counts = {one: verdicts[one] for one in VERDICTS}
        text = _answered(
            f"{what.capitalize()}: ", counts, f"designs on “{what} makes fewer errors”"
        )
        effect = main[place].shown(signed=True)
        says.append(f"{text} {name} at {percent(sparsity)}: {effect} points.")
    header = ["target", "sparsity", *Effects._fields, "seeds"]
    return " ".join(says), TextTable("", header, body, 2)


class Regrowth(NamedTuple):
    """What the reach of a weight came to in a run of PARP."""

    runs: RunGroup
    seed: int
    reach: float  # the most over half the threshold, both at the start
    regrown: float  # share of the weights kept at the end that the initial mask did not keep
    difference: float | None  # its errors less MPI's, of the same seed, in points


def regrowths(results: Results, question: Mapping[str, Any]) -> list[Regrowth]:
    """The runs of PARP of a question's targets, by setup, sparsity and reach."""
    found = []
    for target in question["reach"]:
        for groups in results.run_groups(target).values():
            mpi = {
                runs.first.sparsity: runs.rates() for runs in groups if runs.setting[:3] == "mpi"
            }
            for runs in groups:
                for seed, score in runs.scores().items() if runs.first.method == "parp" else ():
                    if score.reach is not None and score.mask_iou is not None:
                        static = mpi.get(score.sparsity, {}).get(seed)
                        gain = None if static is None else score.rate - static
                        found.append(Regrowth(runs, seed, score.reach, share_regrown(score), gain))
    return sorted(found, key=lambda one: (one.runs.setup, one.runs.first.sparsity, one.reach))


def share_regrown(score: Score) -> float:
    """Share of the weights kept at the end that the initial mask, of as many, did not keep."""
    # Two masks of k entries share k·2i/(1 + i), i their IOU.
    return (1 - score.mask_iou) / (1 + score.mask_iou)


def _reach(results: Results, question: Mapping[str, Any]) -> tuple[str, TextTable]:
    """How much regrew below and above the bound; all runs."""
    found = regrowths(results, question)
    says = []
    for name, below in (("below 1", True), ("of 1 and more", False)):
        shares = sorted(one.regrown for one in found if (one.reach < 1) == below)
        says.append(f"{name} ({len(shares)} runs) {shares[0]:.3%} to {shares[-1]:.3%}")
    summary = f"**Share of the kept weights that regrew:** with a reach {'; '.join(says)}."
    body = [
        [
            *(one.runs.setup, percent(one.runs.first.sparsity), one.runs.interval),
            *(f"{one.reach:.2f}", f"{one.regrown:.3%}"),
            "" if one.difference is None else f"{one.difference:+.1f} {one.runs.metric}",
        ]
        for one in found
    ]
    header = ["setup", "sparsity", "n", "reach", "regrown", "PARP - MPI"]
    return summary, TextTable("", header, _said_once(body), 2)


def _said_once(body: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The same rows, the first cell empty where it is that of the row above."""
    firsts = [None, *(row[0] for row in body)]
    return [["" if row[0] == first else row[0], *row[1:]] for row, first in zip(body, firsts)]


def _best(results: Results, question: Mapping[str, Any]) -> tuple[str, TextTable]:
    """The fewest errors from one fine-tuning at each sparsity; a row for each setting."""
    says, body = [], []
    for target in question["best"]:
        for setup, groups in results.run_groups(target).items():
            dense = next(runs.rates() for runs in groups if runs.first.method == "dense")
            bests: list[str] = []
            by_sparsity: dict[float, list[RunGroup]] = {}
            for runs in groups:
                if "interval" not in runs.first.option_values:
                    by_sparsity.setdefault(runs.first.sparsity, []).append(runs)
            for sparsity, chosen in sorted(by_sparsity.items()):
                chosen.sort(key=lambda runs: runs.estimate().mean)
                best = next(r for r in chosen if r.first.method != "omp" and not r.first.source)
                if sparsity:
                    bests.append(f"{method_title(best.first.method)} at {percent(sparsity)}")
                for runs in chosen:
                    name = words(runs.setting).split(", ")[0]
                    rates = ", ".join(f"{rate:.1f}" for rate in runs.rates().values())
                    more = mean(rate - dense[seed] for seed, rate in runs.rates().items())
                    body.append([setup, name, f"{rates} {runs.metric}", f"{more:+.1f}"])
            says.append(f"{setup}: {', '.join(bests)}")
    header = ["setup", "setting", "errors of each seed", "mean more than dense"]
    summary = f"**Fewest errors from one fine-tuning:** {'; '.join(says)}."
    return summary, TextTable("", header, _said_once(body), 2)


def _answered(what: str, counts: Mapping[str, int], of: str) -> str:
    short = answer(counts).lower() if what else answer(counts)
    return f"**{what}{short}.** Of {sum(counts.values())} {of}: {_listed(counts)}."


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


def _counts(outcomes: Sequence[Outcome]) -> tuple[int, str]:
    raw, corrected = (_listed(counted(outcomes, one)) for one in (False, True))
    return len(outcomes), f"{raw}; after Holm's correction: {corrected}"


def _claims(claims: Sequence[Outcome]) -> TextTable:
    """All claims, target by target. An asterisk marks a verdict that does not survive."""
    body = []
    for name in dict.fromkeys(one.target for one in claims):
        of = [one for one in claims if one.target == name]
        # Where, if it is the same everywhere, is said once.
        ends = {one.claim[one.claim.rindex(" (") :] if " (" in one.claim else "" for one in of}
        where = ends.pop() if len(ends) == 1 else ""
        body.append([f"**{name}**{where}", "", "", ""])
        for one in of:
            claim = one.claim[: len(one.claim) - len(where)]
            claim += " — no difference" if one.paper == NO_DIFFERENCE else ""
            mark = "" if one.survives or one.verdict == INCONCLUSIVE else "\\*"
            body.append([claim, _marked(one) + mark, one.shown, str(one.count)])
    return TextTable("", ["claim", "here", "difference or IOU", "n"], body, 2)


# --- figures --------------------------------------------------------------------------------


def draw_figures(results: Results, questions: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draw the figure of each question.

    Raises:
        UserError: matplotlib is missing, or a file cannot be written.
    """
    style.check_drawing()
    for question in questions:
        figure, file = question["figure"], folder / f"{question['figure']['file']}.png"
        if "targets" in figure:
            _draw_curves(results, figure, file)
        elif "reach" in question:
            _draw_reach(results, question, file)
        elif "best" in question:
            _draw_seeds(results, question["best"], file)
        elif "effects" in question:
            panels: dict[str, list[tuple[str, Estimate]]] = {what: [] for what in Effects._fields}
            for name, sparsity, found in design_rows(results, question):
                for what, effect in zip(panels, found):
                    panels[what].append((f"{name} {percent(sparsity)}", effect))
            forest(panels, "points (negative: fewer errors)", file)
        else:
            outcomes = question_outcomes(results, question)
            rows = [(one.claim, one.difference) for one in outcomes if one.difference]
            forest({"": rows}, "difference in error rate, points (negative: fewer errors)", file)


def _draw_reach(results: Results, question: Mapping[str, Any], file: Path) -> None:
    """What regrew, and what it was worth, over the reach."""
    drawn, panels = style.panels(2)
    found = regrowths(results, question)
    for place, setup in enumerate(dict.fromkeys(one.runs.setup for one in found)):
        look = {"color": style.COLOURS[place], "label": setup, "s": 28}
        of = [one for one in found if one.runs.setup == setup]
        panels[0].scatter([one.reach for one in of], [100 * one.regrown for one in of], **look)
        of = [one for one in of if one.difference is not None]
        panels[1].scatter([one.reach for one in of], [one.difference for one in of], **look)
    for axes, label in zip(panels, ("kept weights that regrew (%)", "PARP - MPI, points")):
        axes.set_xscale("log")
        axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
        axes.set_xlabel("reach between two prunings over half the threshold")
        axes.set_ylabel(label)
    panels[0].legend(frameon=False, fontsize=9)
    panels[1].axhline(0, color="black", linewidth=0.8)
    style.save(drawn, file)


def _draw_seeds(results: Results, targets: Sequence[str], file: Path) -> None:
    """A point for each run, a row for each setting, a panel for each target."""
    drawn, panels = style.panels(len(targets), height=3.6)
    for axes, name in zip(panels, targets):
        ((setup, groups),) = results.run_groups(name).items()
        groups = [runs for runs in groups if "interval" not in runs.first.option_values]
        groups.sort(key=lambda runs: runs.first.sparsity)
        for y, runs in enumerate(groups):
            rates = [*runs.rates().values()]
            colour, marker = style.LOOKS[runs.first.method]
            axes.scatter(rates, [y] * len(rates), color=colour, marker=marker)
        names = [words(runs.setting).split(", ")[0] for runs in groups]
        axes.set_yticks(range(len(groups)), names)
        axes.invert_yaxis()
        axes.set_title(setup, fontsize=11)
        axes.set_xlabel(f"{groups[0].metric} (%), a point a seed")
    style.save(drawn, file)


def _draw_curves(results: Results, figure: Mapping[str, Any], file: Path) -> None:
    """Errors over sparsity or over n: a panel for each target, a line for each method."""
    by_interval = figure["over"] == "n"
    drawn, panels = style.panels(len(figure["targets"]))
    for axes, name in zip(panels, figure["targets"]):
        ((setup, groups),) = results.run_groups(name).items()
        ticks: dict[float, str] = {}
        methods = list(dict.fromkeys(runs.first.method for runs in groups))
        for place, method in enumerate(methods):
            chosen = [runs for runs in groups if runs.first.method == method]
            label = words(" ".join(chosen[0].setting.split()[: 1 + by_interval]))
            if method == "dense" or (by_interval and chosen[0].n == 0):
                style.baseline(axes, chosen[0].estimate().mean, method, label)
                continue
            points = []
            for runs in chosen:
                # Side by side, so that intervals at the same sparsity can be seen.
                x = 100 * runs.first.sparsity + 0.5 * (place - len(methods) / 2)
                if by_interval:
                    x = runs.n
                    ticks[x] = runs.interval
                points.append((x, runs.estimate()))
            style.curve(axes, sorted(points, key=lambda point: point[0]), method, label)
        axes.set_xlabel(style.SPARSITY_AXIS)
        if by_interval:
            axes.set_xscale("log")
            axes.set_xticks(list(ticks), list(ticks.values()))
            axes.minorticks_off()
            axes.set_xlabel(f"updates between two prunings, {setup}")
        first = groups[0]
        axes.set_ylabel(f"{first.metric} on {first.splits[1]} (%), lower is better")
        axes.legend(frameon=False, fontsize=9, title="mean, 95% t-interval", title_fontsize=8)
    style.save(drawn, file)


def main(arguments: Sequence[str] | None = None, home: Path = HERE) -> int:
    """Run the command; print one line for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", metavar="TARGET", help="print the tables of a target")
    options = parser.parse_args(arguments)
    try:
        results = Results(home)
        if options.table:
            for table in tables_of(results, options.table):
                print(f"{table.title}:\n\n{table.markdown()}\n")
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
