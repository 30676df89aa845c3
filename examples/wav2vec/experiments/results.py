"""RESULTS.md: what was run, what came out, which claims hold; made from the scores alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.claims import judge
from experiments.figures import draw
from experiments.languages import language_claims, language_tables
from experiments.plan import HERE, Plan, Result, read_plans
from experiments.scores import Scored, Setting, read_scores, settings_of
from experiments.tables import NOT_RUN, Table, make_tables, metric_of
from parp_fairseq.files import write_lines

_HEAD = """# Results

Made from the scores in `results/` by `snakemake -s examples/wav2vec/Snakefile -c 1 report`; nothing
here is written by hand. What was not run says so.

Intervals are 95% t-intervals over training seeds (mean ± half the width); with one seed there is
none. They hold for these utterances. A claim "A makes fewer errors than B" is *held* or *not held*
where the interval of the difference within seeds leaves 0 out, else *not told apart*. Where they
have one seed in common, the bootstrap intervals over utterances decide, if they do not overlap.
Many claims are asked, and no interval is widened for that.
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
        for result in plan.results.values():
            if result.kind == "languages":
                tables = language_tables(settings_of(result, scores))
            else:
                tables = make_tables(plan, result, scores)
            place = plan.home / result.name
            own = [text for table in tables for text in (f"{table.title}:\n", table.markdown(), "")]
            write_lines(place / f"{plan.scale}.md", own[:-1])
            write_lines(place / f"{plan.scale}.csv", _csv(tables))
            figures = draw(plan, result, scores, place)
            written += [place / f"{plan.scale}.md", place / f"{plan.scale}.csv", *figures]
            lines += _section(plan, result, scores, own, bool(figures))
    out = Path(home) / "RESULTS.md"
    write_lines(out, "\n".join(lines).rstrip().splitlines())
    return [*written, out]


def _csv(tables: Sequence[Table]) -> list[str]:
    return "\n".join(table.csv().rstrip("\n") for table in tables).splitlines()


def _section(
    plan: Plan,
    result: Result,
    scores: Mapping[str, Scored],
    tables: list[str],
    figure: bool,
) -> list[str]:
    lines = [f"## {result.title}\n", *_made(plan, result, scores), "", *tables]
    if figure:
        lines += [f"![{result.title}]({result.name}/{plan.scale}.png)\n"]
    lines += _paper(result)
    lines += _claims(result, settings_of(result, scores))
    return lines


def _made(plan: Plan, result: Result, scores: Mapping[str, Scored]) -> list[str]:
    found = [scores[ft.name].content for ft in result.fine_tunings if ft.name in scores]
    command = f"snakemake -s examples/wav2vec/Snakefile -c 1 {result.name}"
    if plan.scale != "small":
        command += f" --config scale={plan.scale}"
    lines = [f"`{command}`; [{result.name}/]({result.name}/)  "]
    if not found:
        return [*lines, f"{len(result.fine_tunings)} fine-tunings, none of them run."]
    commits = sorted({str(one["commit"])[:7] for one in found})
    hours = sum(one["minutes"] for one in found) / 60
    seeds = sorted({one["settings"]["seed"] for one in found})
    by_demo = sum(one["trained_by"] != "the workflow" for one in found)
    machines = sorted({one["machine"].split(", load")[0] for one in found})
    return [
        *lines,
        f"{len(found)} of {len(result.fine_tunings)} fine-tunings were run ({by_demo} of them by "
        f"`parp demo`); seeds {', '.join(map(str, seeds))}; {hours:.1f} hours of training on a "
        f"shared machine ({'; '.join(machines)}); scored at commit "
        f"{', '.join(commits)}.",
    ]


def _paper(result: Result) -> list[str]:
    if not result.paper:
        return []
    lines = ["The paper, on its own data and models:\n", "| setting | paper |", "| --- | --- |"]
    return [*lines, *(f"| {key} | {value} |" for key, value in result.paper.items()), ""]


def _claims(result: Result, settings: Sequence[Setting]) -> list[str]:
    if not result.claims:
        return []
    if result.kind == "languages":
        return language_claims(result.claims, settings)
    metric = metric_of(settings)
    lines = ["| claim | | difference | seeds |", "| --- | --- | ---: | ---: |"]
    whys = []
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    for claim in result.claims:
        for world in worlds:
            found = {one.key: one for one in settings if one.first.world.name == world}
            judged = judge(found.get(claim.fewer), found.get(claim.than))
            shown = NOT_RUN
            if judged.difference is not None:
                shown = f"{judged.difference.shown(signed=True)} {metric}"
            says = claim.says if len(worlds) == 1 else f"{claim.says} ({world})"
            seeds = judged.difference.count if judged.difference else 0
            lines.append(f"| {says} | *{judged.verdict}* | {shown} | {seeds} |")
            if claim.why and judged.difference is not None:
                whys.append(f"- {says}: {claim.why}")
    return [*lines, "", *whys, *([""] if whys else [])]
