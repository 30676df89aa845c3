"""Linears of a model that can be replaced, alone or together, whatever library it is of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parp_fairseq.engine.layers import (
    ProjectedAttention,
    SharedInput,
    SharedLinear,
    SparseFeedForward,
    SparseLinear,
)

# Children of an attention that are called with the same input: fairseq and most of transformers,
# BERT, DistilBERT, Conformer-like encoders.
_ATTENTION = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("linear_q", "linear_k", "linear_v"),
)
# Of a feed-forward part: the first linear, its activation, the second linear, as dotted names below
# the module that holds them. fairseq; wav2vec 2.0's family in transformers; BERT; DistilBERT.
_FEED_FORWARD = (
    ("fc1", "activation_fn", "fc2"),
    ("intermediate_dense", "intermediate_act_fn", "output_dense"),
    ("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"),
    ("lin1", "activation", "lin2"),
)


# Attentions that hand the weights of their linears to a function of torch's, so that a module in a
# linear's place would not be called. fairseq's can be made to; WavLM's adds a bias of its own.
_FAIRSEQ = "MultiheadAttention"
_WEIGHTS_TAKEN = (_FAIRSEQ, "WavLMAttention")


class Passed(nn.Module):
    """What is left of a module whose work another one does: its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


@dataclass(frozen=True)
class Group:
    """Linears that are replaced together.

    Attributes:
        kind: "linear", "shared input" or "feed forward".
        names: the linears' dotted names.
        linears: the linears.
        activation: of a feed-forward part.
        replace: puts what is sparse in their place, in the model.
    """

    kind: str
    names: tuple[str, ...]
    linears: tuple[nn.Linear, ...]
    activation: str | None
    replace: Callable[[], None]

    @property
    def key(self) -> str:
        """A short name: what the linears' names have in common, and how they differ."""
        if len(self.names) == 1:
            return self.names[0]
        split = [name.split(".") for name in self.names]
        same = 0
        while len({tuple(parts[: same + 1]) for parts in split}) == 1:
            same += 1
        ends = "+".join(".".join(parts[same:]) for parts in split)
        return ".".join([*split[0][:same], ends])


def find_groups(model: nn.Module) -> list[Group]:
    """Return every group of linears that could be replaced, in the order of the model."""
    modules = dict(model.named_modules())
    taken: set[str] = set()
    groups: list[Group] = []
    for name, module in modules.items():
        for group in (*_attentions(modules, name, module), *_feed_forwards(modules, name, module)):
            if not taken & set(group.names):
                taken |= set(group.names)
                groups.append(group)
    for name, module in modules.items():
        if type(module) is nn.Linear and name not in taken and _is_called(modules, name):
            groups.append(_alone(modules, name))
    order = {name: number for number, name in enumerate(modules)}
    return sorted(groups, key=lambda group: order[group.names[0]])


def _attentions(modules: dict[str, nn.Module], name: str, module: nn.Module) -> Iterator[Group]:
    # Where the decoder attends to the encoder, the inputs differ.
    if "encoder_attn" in name or "crossattention" in name.lower():
        return
    fairseq = type(module).__name__ == _FAIRSEQ
    if type(module).__name__ in _WEIGHTS_TAKEN and not (fairseq and _is_plain(module)):
        return
    for children in _ATTENTION:
        names = tuple(_below(name, child) for child in children)
        linears = tuple(
            linear for child in names if type(linear := modules.get(child)) is nn.Linear
        )
        if len(linears) < len(names):
            continue
        if len({linear.in_features for linear in linears}) > 1:
            continue

        def replace(names: tuple = names, linears: tuple = linears) -> None:
            shared = SharedInput(linears)
            for number, (child, linear) in enumerate(zip(names, linears)):
                _set(modules, child, SharedLinear(linear, shared, number))
            if fairseq:
                _project(modules, name)

        yield Group("shared input", names, linears, None, replace)


def _feed_forwards(modules: dict[str, nn.Module], name: str, module: nn.Module) -> Iterator[Group]:
    for first, between, second in _FEED_FORWARD:
        names = (_below(name, first), _below(name, second))
        one, two = (modules.get(child) for child in names)
        if type(one) is not nn.Linear or type(two) is not nn.Linear:
            continue
        holder = modules[_below(name, between.rpartition(".")[0])] if "." in between else module
        attribute = between.rpartition(".")[2]
        activation = activation_named(getattr(holder, attribute, None))
        if activation is None or one.out_features != two.in_features:
            continue

        def replace(
            names: tuple = names,
            parts: tuple = (one, activation, two),
            holder: nn.Module = holder,
            attribute: str = attribute,
        ) -> None:
            _set(modules, names[0], SparseFeedForward(*parts))
            _set(modules, names[1], Passed())
            if isinstance(getattr(holder, attribute), nn.Module):
                setattr(holder, attribute, Passed())
            else:
                setattr(holder, attribute, _same)

        yield Group("feed forward", names, (one, two), activation, replace)


def _alone(modules: dict[str, nn.Module], name: str) -> Group:
    linear = modules[name]
    assert isinstance(linear, nn.Linear)

    def replace() -> None:
        _set(modules, name, SparseLinear(linear))
        parent = name.rpartition(".")[0]
        if type(modules[parent]).__name__ == _FAIRSEQ:
            _project(modules, parent)

    return Group("linear", (name,), (linear,), None, replace)


def activation_named(function: Any) -> str | None:
    """The name of an activation that the kernels know, told by what it does; None for another."""
    probe = torch.linspace(-6, 6, 97)
    try:
        with torch.no_grad():
            found = function(probe)
    except Exception:
        return None
    if not isinstance(found, Tensor) or found.shape != probe.shape:
        return None
    for name in ("relu", "gelu"):
        if torch.allclose(found, getattr(functional, name)(probe), rtol=0, atol=1e-6):
            return name
    return None


def _is_called(modules: dict[str, nn.Module], name: str) -> bool:
    """Whether a linear's own forward is used, or can be."""
    parent = modules[name.rpartition(".")[0]]
    if type(parent).__name__ not in _WEIGHTS_TAKEN:
        return True
    return type(parent).__name__ == _FAIRSEQ and _is_plain(parent)


def _is_plain(module: nn.Module) -> bool:
    """Whether this is the self-attention of fairseq's that `ProjectedAttention` stands in for."""
    return (
        getattr(module, "self_attention", False)
        and getattr(module, "bias_k", None) is None
        and not getattr(module, "add_zero_attn", False)
        and not getattr(module, "use_xformers", False)
    )


def _project(modules: dict[str, nn.Module], name: str) -> None:
    """Let an attention call its projections as modules."""
    if isinstance(modules[name], ProjectedAttention):
        return
    _set(modules, name, ProjectedAttention(modules[name]))


def _set(modules: dict[str, nn.Module], name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(modules[parent], child, module)
    modules[name] = module


def _below(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _same(x: Tensor) -> Tensor:
    return x
