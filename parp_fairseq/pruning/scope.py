"""Which tensors may be pruned: chosen by pattern, never by list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple

from parp_fairseq.pruning.arguments import PruningError

# Every linear of every transformer layer (paper, section 2.2). fairseq's wav2vec 2.0, XLSR, HuBERT
# and data2vec share these names. Feature extractor, positional convolution, `post_extract_proj`,
# layer norms, quantizer and CTC head lie outside.
PRESETS: dict[str, tuple[str, ...]] = {
    "wav2vec2": (
        "encoder.layers.*.self_attn.k_proj",
        "encoder.layers.*.self_attn.v_proj",
        "encoder.layers.*.self_attn.q_proj",
        "encoder.layers.*.self_attn.out_proj",
        "encoder.layers.*.fc1",
        "encoder.layers.*.fc2",
    ),
}

_MATRIX = re.compile(r"\.(?:layers|layer)\.(\d+)\.(.+)\.(?:weight|bias)$")
_WRAPPERS = re.compile(r"^(?:module\.)*(?:w2v_encoder\.w2v_model\.)?")


def canonical_name(name: str) -> str:
    """Return the name that a parameter has in the pre-trained model.

    A fine-tuned model (`w2v_encoder.w2v_model.`) and data-parallel wrappers (`module.`) put
    prefixes before it; masks are stored without them, so that they fit all.

    >>> canonical_name("module.w2v_encoder.w2v_model.encoder.layers.0.fc1.weight")
    'encoder.layers.0.fc1.weight'
    """
    return _WRAPPERS.sub("", name)


class Place(NamedTuple):
    """Where a tensor stands: the number of its layer, and its kind ("self_attn.k_proj")."""

    layer: int
    kind: str


def place_of(name: str) -> Place | None:
    """The place of a parameter; None for one outside the layers."""
    match = _MATRIX.search(name)
    return Place(int(match[1]), match[2]) if match else None


@dataclass(frozen=True)
class Scope:
    """The prunable part of a model.

    Attributes:
        include: shell-style patterns for names of modules ("encoder.layers.*.fc1", matched at the
            end of a dotted name) or names of presets.
        exclude: patterns of the same kind that take modules out again.
        biases: prune the chosen modules' biases together with their weights (the authors' script
            does; the default here is weights alone).
    """

    include: Sequence[str] = ("wav2vec2",)
    exclude: Sequence[str] = ()
    biases: bool = False

    def select(self, names: Iterable[str]) -> list[str]:
        """Return the names of prunable parameters, sorted.

        Args:
            names: parameter names as `model.named_parameters()` gives them.

        Raises:
            PruningError: `include` is empty or has a pattern that matches no parameter, or nothing
                is left.
        """
        if not self.include:
            raise PruningError("is empty; name a preset or pattern, such as wav2vec2", "include")
        modules: dict[str, str] = {}
        kinds = (".weight", ".bias") if self.biases else (".weight",)
        for name in names:
            for kind in kinds:
                if name.endswith(kind):
                    modules[name] = name[: -len(kind)]
        chosen: set[str] = set()
        for entry in self.include:
            for pattern in PRESETS.get(entry, (entry,)):
                matched = {name for name, module in modules.items() if _matches(module, pattern)}
                if not matched:
                    raise PruningError(
                        f"{entry!r} matches no weight of this model"
                        f"{_examples(pattern, modules.values())}",
                        "include",
                    )
                chosen |= matched
        for pattern in self.exclude:
            chosen = {name for name in chosen if not _matches(modules[name], pattern)}
        if not chosen:
            raise PruningError("leaves nothing of include to prune; narrow it", "exclude")
        return sorted(chosen)


def _matches(module: str, pattern: str) -> bool:
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"*.{pattern}")


def _examples(pattern: str, modules: Iterable[str]) -> str:
    names = sorted({canonical_name(module) for module in modules})
    shown = get_close_matches(pattern, names, n=2, cutoff=0.0)
    return f"; its modules have names such as {', '.join(shown)}" if shown else ""
