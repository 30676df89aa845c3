"""Settings that make one line in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.scores import Setting
from experiments.tables import method_title, title_of
from parp_fairseq.report.style import DASHES, look_of

_IMP_LOOK = ("#B8A800", "<")
# Of the third line of a method and on.
_MARKERS = ("d", "p", "H", "8")


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        method: of all members.
        label: in the legend.
        members: settings of different sparsities.
        number: among the lines of its method, from 0; later ones are dashed, hollow and
            then of other markers.
    """

    method: str
    label: str
    members: tuple[Setting, ...]
    number: int = 0

    @property
    def look(self) -> dict[str, Any]:
        """Colour, marker and dashes, as matplotlib takes them."""
        colour, marker = _IMP_LOOK if self.method == "imp" else look_of(self.method)
        look = {"color": colour, "marker": marker, "linestyle": DASHES[self.number % len(DASHES)]}
        if self.number > 1:
            look["marker"] = _MARKERS[self.number % len(_MARKERS)]
        return {**look, "markerfacecolor": "white"} if self.number else look


def series_of(settings: Sequence[Setting]) -> list[Series]:
    """Group the settings of one world by method; by options too where a sparsity comes twice.

    So that options that follow the sparsity, such as where PARP-P begins, stay on one line.
    """
    found = []
    for method in dict.fromkeys(setting.first.method for setting in settings):
        members = [setting for setting in settings if setting.first.method == method]
        sparsities = [setting.first.sparsity for setting in members]
        if len(set(sparsities)) == len(sparsities):
            first = members[0].first
            label = method_title(method) if first.source is None else title_of(first)
            found.append(Series(method, label, tuple(members)))
            continue
        for number, title in enumerate(dict.fromkeys(title_of(one.first) for one in members)):
            alike = tuple(one for one in members if title_of(one.first) == title)
            found.append(Series(method, title, alike, number))
    return found
