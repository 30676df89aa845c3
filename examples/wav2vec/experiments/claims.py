"""Whether a claim "this setting makes fewer errors than that" holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.plan import Claim
from experiments.scores import Setting
from experiments.statistics import Estimate, paired
from experiments.tables import NOT_RUN, metric_of
from experiments.verdicts import BY_SIGN, HELD, NOT_HELD, NOT_TOLD_APART, Verdict, Verdicts


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the difference that it rests on; None where nothing was run."""

    verdict: str
    difference: Estimate | None

    def told(self, claim: Claim, where: str, metric: str) -> Verdict:
        """It as a row under the claim that it is about; `where` it was asked, "" if once alone."""
        says = f"{claim.says} ({where})" if where else claim.says
        if self.difference is None:
            return Verdict(says, paper=claim.paper)
        shown = f"{self.difference.shown(signed=True)} {metric}"
        count = self.difference.count
        return Verdict(says, self.verdict, shown, count, claim.why, claim.paper)


def judge(fewer: Setting, than: Setting) -> Judgement:
    """Compare two settings on the first test set, within the seeds that both have.

    With several seeds the t-interval of the difference decides. With one in common, training's own
    chance is not seen; then the bootstrap intervals over utterances decide, and only where those of
    all seeds that either side has are apart.

    Args:
        fewer: the setting that is said to make fewer errors.
        than: the other.
    """
    split = fewer.first.world.test[0]
    difference = paired(fewer.rates(split), than.rates(split))
    if difference is None:
        return Judgement(NOT_RUN, None)
    if difference.count > 1:
        return Judgement(BY_SIGN[difference.sign], difference)
    low, high = _reach(fewer, split)
    low_of_other, high_of_other = _reach(than, split)
    verdict = NOT_TOLD_APART
    if high < low_of_other:
        verdict = HELD
    elif low > high_of_other:
        verdict = NOT_HELD
    return Judgement(verdict if verdict == NOT_TOLD_APART else f"{verdict}, one seed", difference)


def _reach(setting: Setting, split: str) -> tuple[float, float]:
    """From the lowest to the highest end of all seeds' intervals over utterances."""
    rows = [scored.row(split) for scored in setting.by_seed.values()]
    return min(row["rate_low"] for row in rows), max(row["rate_high"] for row in rows)


def verdicts(claims: Sequence[Claim], settings: Sequence[Setting]) -> Verdicts:
    """The claims of a result, world by world; none of a world without a cell for either side."""
    rows = []
    worlds = list(dict.fromkeys(setting.first.world.name for setting in settings))
    for claim in claims:
        for world in worlds:
            found = {one.key: one for one in settings if one.first.world.name == world}
            if claim.fewer not in found or claim.than not in found:
                continue
            if not claim.asked_of(world, found[claim.fewer].first.world.group):
                continue
            metric = metric_of(list(found.values()))
            judged = judge(found[claim.fewer], found[claim.than])
            rows.append(judged.told(claim, world if len(worlds) > 1 else "", metric))
    return Verdicts("difference", "seeds", rows)
