"""Layers and kinds of matrix: the two axes of tables and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parp_fairseq.pruning.scope import Place, place_of
from parp_fairseq.report.rendering import TextTable

_ORDER = ("k_proj", "q_proj", "v_proj", "out_proj", "fc1", "fc2")


@dataclass(frozen=True)
class Grid:
    """Tensors grouped by layer and kind of matrix."""

    layers: tuple[int, ...]  # numbers of the layers, in order
    kinds: tuple[str, ...]  # kinds of matrix: attention first, then feed-forward, then any other
    # place → the names of the tensors there: a weight, and its bias where both count
    names: Mapping[Place, Sequence[str]]
    others: tuple[str, ...]  # names of tensors outside the layers

    @classmethod
    def over(cls, names: Iterable[str]) -> Grid:
        """Group these names."""
        groups: dict[Place, list[str]] = {}
        others = []
        for name in names:
            place = place_of(name)
            if place is None:
                others.append(name)
            else:
                groups.setdefault(place, []).append(name)

        def rank(kind: str) -> tuple[int, str]:
            tail = kind.rsplit(".", 1)[-1]
            return (_ORDER.index(tail) if tail in _ORDER else len(_ORDER), kind)

        kinds = sorted({place.kind for place in groups}, key=rank)
        layers = sorted({place.layer for place in groups})
        return cls(tuple(layers), tuple(kinds), groups, tuple(others))

    @property
    def titles(self) -> tuple[list[str], list[str]]:
        """Of columns (kinds, "k" for "self_attn.k_proj") and of rows (layers)."""
        short = (kind.rsplit(".", 1)[-1].replace("_proj", "") for kind in self.kinds)
        return list(short), list(map(str, self.layers))

    def at(self, layer: int | None, kind: str | None) -> list[str]:
        """Names at a layer and kind; None means all layers, or all kinds."""
        return [
            name
            for place, names in self.names.items()
            if layer in (None, place.layer) and kind in (None, place.kind)
            for name in names
        ]

    def values(self, of: Callable[[Sequence[str]], float]) -> list[list[float]]:
        """A matrix of layers and kinds of what `of` says of the tensors of these names."""
        return [[of(self.at(layer, kind)) for kind in self.kinds] for layer in self.layers]

    def render(self, cell: Callable[[Sequence[str]], str]) -> str:
        """A table of layers and kinds, with all of a layer, of a kind, and of both at its edges.

        Args:
            cell: what to write for the tensors of these names; not called where there are none.
        """
        kinds, layers = self.titles
        rows = []
        for title, layer in zip((*layers, "all"), (*self.layers, None)):
            found = (self.at(layer, kind) for kind in (*self.kinds, None))
            rows.append([title, *(cell(names) if names else "" for names in found)])
        return TextTable("", ["layer", *kinds, "all"], rows).text()


def zeros_in(counts: Mapping[str, Mapping[str, Any]]) -> Callable[[Sequence[str]], float]:
    """The share of zeros in tensors, by the counts of `sparsity_report`; NaN in none."""

    def share(names: Sequence[str]) -> float:
        entries = sum(counts[name]["entries"] for name in names)
        pruned = sum(counts[name]["pruned"] for name in names)
        return pruned / entries if entries else float("nan")

    return share
