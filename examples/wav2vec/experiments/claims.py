"""Whether a claim "this setting makes fewer errors than that" holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.plan import Claim
from experiments.scores import Setting
from experiments.statistics import Estimate, paired
from experiments.tables import NOT_RUN, metric_of

HELD, NOT_HELD, NOT_TOLD_APART = "held", "not held", "not told apart"


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the difference that it rests on; None where nothing was run."""

    verdict: str
    difference: Estimate | None


def judge(fewer: Setting | None, than: Setting | None) -> Judgement:
    """Compare two settings on the first test set, within the seeds that both have.

    With several seeds the t-interval of the difference decides. With one, training's own chance is
    not seen; then the bootstrap intervals over utterances decide, and only where they are apart.

    Args:
        fewer: the setting that is said to make fewer errors.
        than: the other.
    """
    if fewer is None or than is None:
        return Judgement(NOT_RUN, None)
    split = fewer.first.world.test[0]
    difference = paired(fewer.rates(split), than.rates(split))
    if difference is None:
        return Judgement(NOT_RUN, None)
    if difference.count > 1:
        return Judgement({-1: HELD, 0: NOT_TOLD_APART, 1: NOT_HELD}[difference.sign], difference)
    (seed,) = set(fewer.by_seed) & set(than.by_seed)
    one, other = (setting.by_seed[seed].row(split) for setting in (fewer, than))
    verdict = NOT_TOLD_APART
    if one["rate_high"] < other["rate_low"]:
        verdict = HELD
    elif one["rate_low"] > other["rate_high"]:
        verdict = NOT_HELD
    return Judgement(verdict if verdict == NOT_TOLD_APART else f"{verdict}, one seed", difference)


def claim_lines(claims: Sequence[Claim], settings: Sequence[Setting]) -> list[str]:
    """The claims of a result, world by world, as a table in Markdown, and the reasons given."""
    metric = metric_of(settings)
    lines = ["| claim | | difference | seeds |", "| --- | --- | ---: | ---: |"]
    whys = []
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    for claim in claims:
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
