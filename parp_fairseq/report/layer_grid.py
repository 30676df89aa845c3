"""Layers and kinds of matrix: the two axes of tables and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from parp_fairseq.pruning.scope import Place, place_of
from parp_fairseq.table import aligned

_ORDER = ("k_proj", "q_proj", "v_proj", "out_proj", "fc1", "fc2")


def short_kind(kind: str) -> str:
    """A kind's name for a column.

    >>> short_kind("self_attn.k_proj")
    'k'
    """
    return kind.rsplit(".", 1)[-1].replace("_proj", "")


@dataclass(frozen=True)
class Grid:
    """Tensors grouped by layer and kind of matrix.

    Attributes:
        layers: numbers of the layers, in order.
        kinds: kinds of matrix: attention first, then feed-forward, then any other.
        names: place → the names of the tensors there: a weight, and its bias where both count.
        others: names of tensors outside the layers.
    """

    layers: tuple[int, ...]
    kinds: tuple[str, ...]
    names: Mapping[Place, Sequence[str]]
    others: tuple[str, ...]

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
        kinds = sorted({place.kind for place in groups}, key=_rank)
        layers = sorted({place.layer for place in groups})
        return cls(tuple(layers), tuple(kinds), groups, tuple(others))

    @property
    def short_kinds(self) -> list[str]:
        """The kinds as titles of columns."""
        return [short_kind(kind) for kind in self.kinds]

    @property
    def layer_names(self) -> list[str]:
        """The layers as titles of rows."""
        return [str(layer) for layer in self.layers]

    def at(self, layer: int | None, kind: str | None) -> list[str]:
        """Names at a layer and kind; None stands for all layers, or all kinds."""
        return [
            name
            for place, names in self.names.items()
            if layer in (None, place.layer) and kind in (None, place.kind)
            for name in names
        ]

    def render(self, cell: Callable[[Sequence[str]], str]) -> str:
        """A table of layers and kinds, with all of a layer, of a kind, and of both at its edges.

        Args:
            cell: what to write for the tensors of these names; not called where there are none.
        """
        columns: tuple[str | None, ...] = (*self.kinds, None)
        rows = [
            ("all" if layer is None else str(layer), *(self._cell(cell, layer, k) for k in columns))
            for layer in (*self.layers, None)
        ]
        titles = ("layer", *(short_kind(kind) for kind in self.kinds), "all")
        return aligned(titles, rows)

    def _cell(
        self, cell: Callable[[Sequence[str]], str], layer: int | None, kind: str | None
    ) -> str:
        names = self.at(layer, kind)
        return cell(names) if names else ""


def _rank(kind: str) -> tuple[int, str]:
    tail = kind.rsplit(".", 1)[-1]
    return (_ORDER.index(tail) if tail in _ORDER else len(_ORDER), kind)
