"""RESULTS.md: what was run, what came out, which claims hold; made from the scores alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.kinds import draw, judged, make_tables
from experiments.overlaps import comparisons, read
from experiments.plan import HERE, NOT_ASKED, Plan, Result
from experiments.reading import read_plans
from experiments.scores import Scored, read_scores
from experiments.tables import Table
from experiments.verdicts import Verdicts
from parp_fairseq.files import write_lines

_HEAD = """# Results

Made from the scores in `results/` by `snakemake -s examples/wav2vec/Snakefile -c 1 report`; nothing
here is written by hand. What was not run says so.

Intervals are 95% t-intervals over training seeds (mean ± half the width); with one seed there is
none. They hold for these utterances. A claim "A makes fewer errors than B" is *held* or *not held*
where the interval of the difference within seeds leaves 0 out, else *not told apart*. Where they
have one seed in common (*one seed*), the bootstrap intervals over utterances decide, if those of
all seeds that either has are apart; training's own chance is not in them.
Many claims are asked, and no interval is widened for that. Where scores of a result are of two
kinds of CPU, a run of the other kind may end as if its seed were another
([DIFFERENT.md](DIFFERENT.md)).
"""


def report(home: str | Path = HERE) -> list[Path]:
    """Write each result's tables and figures into its folder, and RESULTS.md.

    Args:
        home: the folder with a yaml for each scale and their scores; all goes there.

    Returns:
        The files written.

    Raises:
        UserError: a score is damaged or stale, or matplotlib is missing.
    """
    lines = [_HEAD]
    written = []
    for plan in read_plans(home):
        scores = read_scores(plan)
        lines += [f"# Scale: {plan.scale}\n"]
        if not scores:
            planned = ", ".join(plan.results)
            lines += [f"Nothing was run at this scale. Planned: {planned}.\n"]
            continue
        lines += [f"- **{world.name}**: {world.about}" for world in plan.worlds.values()] + [""]
        verdicts = {result.name: judged(plan, result, scores) for result in plan.results.values()}
        lines += _at_a_glance(plan, verdicts)
        for result in plan.results.values():
            tables = make_tables(plan, result, scores)
            place = plan.home / result.name
            own = [text for table in tables for text in (f"{table.title}:\n", table.markdown(), "")]
            write_lines(place / f"{plan.scale}.md", own[:-1])
            write_lines(place / f"{plan.scale}.csv", _csv(tables))
            figures = draw(plan, result, scores, place)
            written += [place / f"{plan.scale}.md", place / f"{plan.scale}.csv", *figures]
            lines += _section(plan, result, scores, own, bool(figures), verdicts[result.name])
    out = Path(home) / "RESULTS.md"
    write_lines(out, "\n".join(lines).rstrip().splitlines())
    return [*written, out]


def _at_a_glance(plan: Plan, verdicts: Mapping[str, Verdicts | None]) -> list[str]:
    """Every claim that was put to the test, in one table."""
    rows, asked = [], 0
    for name, found in verdicts.items():
        for row in found.rows if found else ():
            asked += 1
            if row.count:
                told = [
                    f"[{name}]({name}/)",
                    row.says,
                    row.paper,
                    f"*{row.verdict}*",
                    row.shown,
                ]
                rows.append(f"| {' | '.join(told)} |")
    if not rows:
        return []
    return [
        "## Claims at a glance\n",
        f"{len(rows)} of {asked} were put to the test; what decides is the difference, or the "
        "lowest IOU. Numbers of seeds and reasons stand with each result "
        f"(in the paper {NOT_ASKED}: it does not ask).\n",
        "| result | claim | in the paper | here | what decides |",
        "| --- | --- | --- | --- | ---: |",
        *rows,
        "",
    ]


def _csv(tables: Sequence[Table]) -> list[str]:
    return "\n".join(table.csv().rstrip("\n") for table in tables).splitlines()


def _section(
    plan: Plan,
    result: Result,
    scores: Mapping[str, Scored],
    tables: list[str],
    figure: bool,
    verdicts: Verdicts | None,
) -> list[str]:
    lines = [f"## {result.title}\n", *_made(plan, result, scores), "", *tables]
    if figure:
        lines += [f"![{result.title}]({result.name}/{plan.scale}.png)\n"]
    lines += _paper(result)
    return lines if verdicts is None else [*lines, *verdicts.markdown()]


def _made(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> list[str]:
    """How a result is made, and how much of it was."""
    found = [scores[ft.name].content for ft in result.fine_tunings if ft.name in scores]
    command = f"snakemake -s examples/wav2vec/Snakefile -c 1 {result.name}"
    worlds = {ft.world.name: ft.world for ft in (*result.fine_tunings, *result.masks)}.values()
    config = [f"scale={plan.scale}"] if plan.scale != "small" else []
    if any(one.corpus or "audio" in (one.recipe or {}) for one in worlds):
        config.append("corpora=DIR")
    if config:
        command += f" --config {' '.join(config)}"
    lines = [f"`{command}`; [{result.name}/]({result.name}/)  "]
    if result.masks:
        wanted = comparisons(result)
        there = sum(read(plan, one) is not None for one in wanted)
        return [*lines, f"{there} of {len(wanted)} comparisons of masks were made."]
    if not found:
        return [*lines, f"{_trainings(result)} fine-tunings, none of them run."]
    run = sum(one["trainings"] for one in found)
    commits = sorted({str(one["commit"])[:7] for one in found})
    hours = sum(one["minutes"] for one in found) / 60
    seeds = sorted({one["settings"]["seed"] for one in found})
    by_demo = sum(one["trainings"] for one in found if one["trained_by"] != "the workflow")
    machines: Counter[str] = Counter()
    for one in found:
        machines[one["machine"].split(", load")[0]] += one["trainings"]
    return [
        *lines,
        f"{run} of {_trainings(result)} fine-tunings were run ({by_demo} of them by "
        f"`parp demo`); seeds {', '.join(map(str, seeds))}; {hours:.1f} hours of training on a "
        f"shared machine ({_shown(machines)}); scored at commit "
        f"{', '.join(commits)}.",
    ]


def _shown(machines: Mapping[str, int]) -> str:
    """Their names, with how many fine-tunings are of which where they are several."""
    if len(machines) == 1:
        return next(iter(machines))
    return "; ".join(f"{machine}: {count} of them" for machine, count in sorted(machines.items()))


def _trainings(result: Result) -> int:
    """Those that are scored, the rounds of IMP one by one; OMP's dense ones stand under "dense"."""
    return sum(ft.trainings for ft in result.fine_tunings)


def _paper(result: Result) -> list[str]:
    if not result.paper:
        return []
    lines = ["The paper, on its own data and models:\n", "| setting | paper |", "| --- | --- |"]
    return [*lines, *(f"| {key} | {value} |" for key, value in result.paper.items()), ""]
