"""The parameters of a transformers model that may be pruned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.pruning.scope import PRESETS, Scope

if TYPE_CHECKING:
    from torch import nn

_SHOWN = 8


def prunable_parameters(
    model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = (), biases: bool = False
) -> list[str]:
    """Return the names of the parameters of a transformers model that may be pruned, sorted.

    Options are as in `Scope`; `include` is by default the preset of the model's type. UserError
    where that has no preset, a pattern matches nothing, or nothing is left.
    """
    kind = str(getattr(getattr(model, "config", None), "model_type", ""))
    if not include and kind not in PRESETS:
        raise UserError(
            f"no scope is known for a model of type {kind or type(model).__name__!r}; name its "
            f"linears with include=[…], such as {', '.join(_linears(model))}"
        )
    with options_named(""):
        scope = Scope(tuple(include) or (kind,), tuple(exclude), biases)
        return scope.select(name for name, _ in model.named_parameters())


def _linears(model: nn.Module) -> list[str]:
    """Patterns of the weights of the model's linears, layer numbers as `*`."""
    from torch import nn

    kinds = dict.fromkeys(
        re.sub(r"\.\d+\.", ".*.", f"{name}.weight")
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    )
    return [*kinds][:_SHOWN] + ["…"] * (len(kinds) > _SHOWN)
