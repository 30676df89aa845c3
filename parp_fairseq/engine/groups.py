"""Linears of any torch model that can be replaced, singly or together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parp_fairseq.engine.sparse_modules import (
    ProjectedAttention,
    SharedInput,
    SharedLinear,
    SparseFeedForward,
    SparseLinear,
    WavLMProjections,
)
from parp_fairseq.kernels.sparse_linear import count_kept

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
# Attentions that pass the weights of their linears to a function of torch's, which would not call a
# module in a linear's place, unless `_project` makes them.
_FAIRSEQ = "MultiheadAttention"
_WAVLM = "WavLMAttention"
# torch's own modules read the weights of their linears, but for those that only hold modules.
_HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Passed(nn.Module):
    """In place of a module whose work another one does: returns its input."""

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

    @property
    def entries(self) -> int:
        """How many weights the linears have."""
        return sum(linear.weight.numel() for linear in self.linears)

    @property
    def sparsity(self) -> float:
        """Share of the weights that are zero, in [0, 1]."""
        kept = sum(count_kept(linear.weight) for linear in self.linears)
        return 1.0 - kept / self.entries if self.entries else 0.0

    def dense(self) -> Callable[[Tensor], Any]:
        """The linears as they are, on one input."""
        if self.kind != "feed forward":
            return lambda x: [linear(x) for linear in self.linears]
        first, second = self.linears
        activation = getattr(functional, str(self.activation))
        return lambda x: second(activation(first(x)))

    def sparse(self) -> Callable[[Tensor], Any]:
        """What replaces the linears, on one input."""
        if self.kind == "linear":
            return SparseLinear(self.linears[0])
        if self.kind == "feed forward":
            return SparseFeedForward(self.linears[0], str(self.activation), self.linears[1])
        shared = SharedInput(self.linears)
        return lambda x: [shared.output(number, x) for number in range(len(self.linears))]


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
        if isinstance(module, nn.Linear) and name not in taken and _is_usable(modules, name):
            groups.append(_alone(modules, name))
    order = {name: number for number, name in enumerate(modules)}
    return sorted(groups, key=lambda group: order[group.names[0]])


def _attentions(modules: dict[str, nn.Module], name: str, module: nn.Module) -> Iterator[Group]:
    # Where the decoder attends to the encoder, the inputs differ.
    if "encoder_attn" in name or "crossattention" in name.lower():
        return
    for children in _ATTENTION:
        names = tuple(_below(name, child) for child in children)
        linears = tuple(
            linear
            for child in names
            if _is_usable(modules, child) and isinstance(linear := modules[child], nn.Linear)
        )
        if len(linears) < len(names):
            continue
        if len({linear.in_features for linear in linears}) > 1:
            continue

        def replace(names: tuple = names, linears: tuple = linears) -> None:
            shared = SharedInput(linears)
            for number, (child, linear) in enumerate(zip(names, linears)):
                _set(modules, child, SharedLinear(linear, shared, number))
            _project(modules, name)

        yield Group("shared input", names, linears, None, replace)


def _feed_forwards(modules: dict[str, nn.Module], name: str, module: nn.Module) -> Iterator[Group]:
    for first, between, second in _FEED_FORWARD:
        names = (_below(name, first), _below(name, second))
        if not all(_is_usable(modules, child) for child in names):
            continue
        one, two = (modules[child] for child in names)
        assert isinstance(one, nn.Linear) and isinstance(two, nn.Linear)
        holder = modules[_below(name, between.rpartition(".")[0])] if "." in between else module
        attribute = between.rpartition(".")[2]
        function = getattr(holder, attribute, None)
        activation = None if _is_watched(function) else activation_named(function)
        if activation is None or not _is_followed(module, one, two):
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
        _project(modules, name.rpartition(".")[0])

    return Group("linear", (name,), (linear,), None, replace)


def activation_named(function: Any) -> str | None:
    """Which activation of the kernels computes the same; None: none does."""
    probe = torch.linspace(-6, 6, 97)
    try:
        with torch.no_grad():
            output = function(probe)
    except Exception:
        return None
    if not isinstance(output, Tensor) or output.shape != probe.shape:
        return None
    for name in ("relu", "gelu"):
        if torch.allclose(output, getattr(functional, name)(probe), rtol=0, atol=1e-6):
            return name
    return None


def _is_usable(modules: dict[str, nn.Module], name: str) -> bool:
    """Whether this is a plain linear whose own forward is called, or can be."""
    linear = modules.get(name)
    if type(linear) is not nn.Linear or _is_watched(linear):
        return False
    # The model itself cannot be replaced in place.
    return bool(name) and _calls_linears(modules, name.rpartition(".")[0])


def _calls_linears(modules: dict[str, nn.Module], name: str) -> bool:
    module = modules[name]
    if type(module).__name__ == _WAVLM:
        return hasattr(module, "torch_multi_head_self_attention")
    if type(module).__module__.startswith("torch."):
        return type(module) is nn.Module or isinstance(module, _HOLDERS)
    if type(module).__name__ == _FAIRSEQ:
        return bool(name) and _is_plain(module) and not _is_decoding(modules, name)
    return True


def _is_watched(module: object) -> bool:
    """Whether hooks, which a replacement would lose, are called with a module."""
    return isinstance(module, nn.Module) and bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    )


def _is_followed(module: nn.Module, one: nn.Linear, two: nn.Linear) -> bool:
    """Whether nothing in `module` can lie between two linears but what is known to."""
    hidden = one.out_features
    if hidden != two.in_features:
        return False
    own = {id(parameter) for linear in (one, two) for parameter in linear.parameters()}
    # A normalisation of what is hidden, such as NormFormer's, has its width.
    return all(
        hidden not in parameter.shape
        for parameter in module.parameters()
        if id(parameter) not in own
    )


def _is_plain(module: nn.Module) -> bool:
    """Whether this is the self-attention of fairseq's that `ProjectedAttention` replaces."""
    return (
        getattr(module, "self_attention", False)
        and getattr(module, "bias_k", None) is None
        and not getattr(module, "add_zero_attn", False)
        and not getattr(module, "use_xformers", False)
    )


def _is_decoding(modules: dict[str, nn.Module], name: str) -> bool:
    """Whether a module is part of a decoder, whose attention keeps what it saw before."""
    path = name.split(".")
    above = (".".join(path[:end]) for end in range(len(path)))
    return any("Decoder" in type(modules[outer]).__name__ for outer in above)


def _project(modules: dict[str, nn.Module], name: str) -> None:
    """Let an attention call its projections as modules, if this is one that does not."""
    module: Any = modules[name]
    if type(module).__name__ == _FAIRSEQ:
        _set(modules, name, ProjectedAttention(module))
    if type(module).__name__ == _WAVLM:
        module.torch_multi_head_self_attention = WavLMProjections(module)


def _set(modules: dict[str, nn.Module], name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(modules[parent], child, module)
    modules[name] = module


def _below(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child


def _same(x: Tensor) -> Tensor:
    return x
