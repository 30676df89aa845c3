"""Which parameters of a transformers model may be pruned: the linears of its encoder's layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    from torch import nn

_SPEECH = (
    "encoder.layers.*.attention.[kvq]_proj.weight",
    "encoder.layers.*.attention.out_proj.weight",
    "encoder.layers.*.feed_forward.intermediate_dense.weight",
    "encoder.layers.*.feed_forward.output_dense.weight",
)
_BERT = (
    "encoder.layer.*.attention.self.query.weight",
    "encoder.layer.*.attention.self.key.weight",
    "encoder.layer.*.attention.self.value.weight",
    "encoder.layer.*.attention.output.dense.weight",
    "encoder.layer.*.intermediate.dense.weight",
    "encoder.layer.*.output.dense.weight",
    # 72 encoder linears and the pooler: the scope of BERT-Ticket, which the paper's section 4.5
    # follows. Heads that do not pool (masked language models) lack it.
    "?pooler.dense.weight",
)

PRESETS: dict[str, tuple[str, ...]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "distilbert": (
        "transformer.layer.*.attention.[qkv]_lin.weight",
        "transformer.layer.*.attention.out_lin.weight",
        "transformer.layer.*.ffn.lin[12].weight",
    ),
    # Three-dimensional: model width, heads, width of a head.
    "xlnet": (
        "transformer.layer.*.rel_attn.[qkvor]",
        "transformer.layer.*.ff.layer_[12].weight",
    ),
    "wav2vec2": _SPEECH,
    "hubert": _SPEECH,
    "wavlm": _SPEECH,
    "data2vec-audio": _SPEECH,
    "wav2vec2-bert": (
        "encoder.layers.*.self_attn.linear_[qkv].weight",
        "encoder.layers.*.self_attn.linear_out.weight",
        "encoder.layers.*.ffn[12].intermediate_dense.weight",
        "encoder.layers.*.ffn[12].output_dense.weight",
    ),
    "whisper": (
        "encoder.layers.*.self_attn.[kvq]_proj.weight",
        "encoder.layers.*.self_attn.out_proj.weight",
        "encoder.layers.*.fc[12].weight",
    ),
}
"""`config.model_type` → patterns of parameter names; one that begins with `?` may match nothing.

Adapters (XLS-R's `adapter_layer`), convolutions, embeddings, norms and heads lie outside."""


def prunable_parameters(
    model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[str]:
    """Return the names of the parameters that may be pruned, sorted.

    Args:
        model: a transformers model.
        include: shell-style patterns of parameter names, matched at the end of a dotted name;
            none: the preset of the model's type.
        exclude: patterns of the same kind that take parameters out again.

    Raises:
        UserError: the model's type has no preset, a pattern matches nothing, or nothing is left.
    """
    names = [name for name, _ in model.named_parameters()]
    if not include:
        kind = str(getattr(getattr(model, "config", None), "model_type", ""))
        if kind not in PRESETS:
            raise UserError(
                f"no scope is known for a model of type {kind or type(model).__name__!r}; name "
                f"its linears with include=[…], such as {', '.join(_kinds_of_linears(model))}"
            )
        include = PRESETS[kind]
    chosen: set[str] = set()
    for entry in include:
        pattern = entry.removeprefix("?")
        matching = {name for name in names if _matches(name, pattern)}
        if not matching and pattern == entry:
            near = get_close_matches(pattern, names, n=2, cutoff=0.0)
            raise UserError(
                f"include: {pattern!r} matches no parameter of this model; it has names such as "
                f"{', '.join(near)}"
            )
        chosen |= matching
    chosen = {name for name in chosen if not any(_matches(name, p) for p in exclude)}
    if not chosen:
        raise UserError("include and exclude leave nothing to prune; widen the first")
    return sorted(chosen)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _kinds_of_linears(model: nn.Module, most: int = 8) -> list[str]:
    """Patterns of the weights of the model's linears, layer numbers as `*`."""
    from torch import nn

    kinds: dict[str, None] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            kinds[re.sub(r"\.\d+\.", ".*.", f"{name}.weight")] = None
    shown = list(kinds)[:most]
    return shown + (["…"] if len(kinds) > most else [])
