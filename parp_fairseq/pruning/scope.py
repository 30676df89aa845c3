"""Which tensors may be pruned: chosen by pattern, never by list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from parp_fairseq.pruning.arguments import PruningError

# Every linear of every transformer layer (paper, section 2.2), as fairseq names them in wav2vec
# 2.0, XLSR, HuBERT and data2vec. Feature extractor, positional convolution, projections, norms,
# adapters, quantizer, embeddings and heads lie outside.
_FAIRSEQ = (
    "encoder.layers.*.self_attn.[kvq]_proj",
    "encoder.layers.*.self_attn.out_proj",
    "encoder.layers.*.fc[12]",
)
# The same in transformers.
_SPEECH = (
    "encoder.layers.*.attention.[kvq]_proj",
    "encoder.layers.*.attention.out_proj",
    "encoder.layers.*.feed_forward.intermediate_dense",
    "encoder.layers.*.feed_forward.output_dense",
)
_BERT = (
    "encoder.layer.*.attention.self.query",
    "encoder.layer.*.attention.self.key",
    "encoder.layer.*.attention.self.value",
    "encoder.layer.*.attention.output.dense",
    "encoder.layer.*.intermediate.dense",
    "encoder.layer.*.output.dense",
)
# 72 encoder linears and the pooler: the scope of BERT-Ticket, which the paper's section 4.5
# follows. Heads that do not pool (masked language models) lack it.
_BERTS = ((*_BERT, "pooler.dense"), _BERT)

PRESETS: dict[str, tuple[tuple[str, ...], ...]] = {
    "wav2vec2": (_FAIRSEQ, _SPEECH),
    "hubert": (_FAIRSEQ, _SPEECH),
    "data2vec-audio": (_FAIRSEQ, _SPEECH),
    "wavlm": (_SPEECH,),
    "wav2vec2-bert": (
        (
            "encoder.layers.*.self_attn.linear_[qkv]",
            "encoder.layers.*.self_attn.linear_out",
            "encoder.layers.*.ffn[12].intermediate_dense",
            "encoder.layers.*.ffn[12].output_dense",
        ),
    ),
    "whisper": (_FAIRSEQ,),
    "bert": _BERTS,
    "roberta": _BERTS,
    "electra": _BERTS,
    "distilbert": (
        (
            "transformer.layer.*.attention.[qkv]_lin",
            "transformer.layer.*.attention.out_lin",
            "transformer.layer.*.ffn.lin[12]",
        ),
    ),
    # Three-dimensional parameters of their own: model width, heads, width of a head.
    "xlnet": (("transformer.layer.*.rel_attn.[qkvor]", "transformer.layer.*.ff.layer_[12]"),),
}
"""Name (`config.model_type` of transformers) → alternatives; the first that fits counts."""

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
    """Where a tensor is: the number of its layer, and its kind ("self_attn.k_proj")."""

    layer: int
    kind: str


def place_of(name: str) -> Place | None:
    """The place of a parameter; None for one outside the layers."""
    match = _MATRIX.search(name)
    return Place(int(match[1]), match[2]) if match else None


@dataclass(frozen=True)
class Scope:
    """The prunable part of a model."""

    # Names of presets, or shell-style patterns, matched at the end of a dotted name. A pattern
    # names modules ("encoder.layers.*.fc1": their weights) or parameters
    # ("encoder.layers.*.fc1.weight").
    include: Sequence[str] = ("wav2vec2",)
    exclude: Sequence[str] = ()  # patterns of the same kind that take parameters out again
    # Prune the chosen modules' biases together with their weights (the authors' script does; the
    # default here is weights only).
    biases: bool = False

    @classmethod
    def of_run(cls, prune: Any) -> Scope:
        """What a run with these options of pruning (`task.prune`) prunes; the default of others."""
        given = prune if isinstance(prune, Mapping) else {}
        return cls(**{key: given[key] for key in ("include", "exclude", "biases") if key in given})

    def select(self, names: Iterable[str]) -> list[str]:
        """Return the prunable ones, sorted, of the names of `model.named_parameters()`.

        PruningError: `include` is empty or has a pattern that matches nothing, or nothing is left.
        """
        if not self.include:
            raise PruningError("is empty; name a preset or pattern, such as wav2vec2", "include")
        kinds = (".weight", ".bias") if self.biases else (".weight",)
        modules = {
            name: next((name[: -len(kind)] for kind in kinds if name.endswith(kind)), None)
            for name in names
        }
        chosen: set[str] = set()
        for entry in self.include:
            chosen |= _chosen_by(entry, modules)
        for pattern in self.exclude:
            chosen = {
                name
                for name in chosen
                if not (_ends(name, pattern) or _ends(modules[name] or name, pattern))
            }
        if not chosen:
            raise PruningError("leaves nothing of include to prune; narrow it", "exclude")
        return sorted(chosen)


def _chosen_by(entry: str, modules: dict[str, str | None]) -> set[str]:
    """What a preset or pattern chooses; `modules`: parameter → its module, where one is meant."""
    unmatched = ""
    for patterns in PRESETS.get(entry, ((entry,),)):
        found = {
            pattern: {name for name, module in modules.items() if _names(pattern, name, module)}
            for pattern in patterns
        }
        missing = [pattern for pattern in patterns if not found[pattern]]
        if not missing:
            return set().union(*found.values())
        unmatched = unmatched or missing[0]
    shown = sorted({canonical_name(module or name) for name, module in modules.items()})
    near = get_close_matches(unmatched, shown, n=2, cutoff=0.0)
    examples = f"; its modules have names such as {', '.join(near)}" if near else ""
    raise PruningError(f"{entry!r} matches no weight of this model{examples}", "include")


def _names(pattern: str, name: str, module: str | None) -> bool:
    if module is not None and _ends(module, pattern):
        return True
    # The parameter itself, by its own last part: "layers.*" does not mean all that layers hold.
    (head, _, tail), (owner, _, attribute) = pattern.rpartition("."), name.rpartition(".")
    return bool(head and tail.strip("*")) and fnmatchcase(attribute, tail) and _ends(owner, head)


def _ends(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")
