"""What holds of a result's claims, as a table with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.plan import NOT_ASKED
from experiments.tables import NOT_RUN

HELD, NOT_HELD, NOT_TOLD_APART = "held", "not held", "not told apart"
BY_SIGN = {-1: HELD, 0: NOT_TOLD_APART, 1: NOT_HELD}
"""Of the difference "fewer - than", where its interval leaves 0 out; errors are better few."""


@dataclass(frozen=True)
class Verdict:
    """A claim and what became of it.

    Attributes:
        says: the claim.
        verdict: one of this module's, with what it rests on where that is little.
        shown: the number that decides.
        count: of seeds, languages or pairs.
        why: the likely reason, where one is given.
        paper: what the paper says of the claim, see `Claim.paper`.
    """

    says: str
    verdict: str = NOT_RUN
    shown: str = NOT_RUN
    count: int = 0
    why: str = ""
    paper: str = NOT_ASKED


@dataclass(frozen=True)
class Verdicts:
    """The claims of a result.

    Attributes:
        measured: what `Verdict.shown` is.
        counted: what `Verdict.count` counts.
        rows: in the yaml's order, world by world.
        note: a line above.
    """

    measured: str
    counted: str
    rows: Sequence[Verdict]
    note: str = ""

    def markdown(self) -> list[str]:
        """A table in Markdown, and the reasons of those that were run."""
        lines = [f"{self.note}\n"] if self.note else []
        lines += [f"| claim | in the paper | here | {self.measured} | {self.counted} |"]
        lines += ["| --- | --- | --- | ---: | ---: |"]
        lines += [
            f"| {row.says} | {row.paper} | *{row.verdict}* | {row.shown} | {row.count} |"
            for row in self.rows
        ]
        whys = [f"- {row.says}: {row.why}" for row in self.rows if row.why and row.count]
        return [*lines, "", *whys, *([""] if whys else [])]
