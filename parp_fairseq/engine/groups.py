"""Linears of any torch model that can be replaced, singly or together."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_flatten

from parp_fairseq.engine.sparse_modules import (
    MadeBefore,
    Same,
    SparseFeedForward,
    SparseLinear,
)
from parp_fairseq.kernels.sparse_linear import count_kept

LEAST_SPARSITY = 0.3
"""Less sparse groups stay dense without a measurement."""

# Of a feed-forward part: the first linear, its activation, the second linear, as dotted names below
# the module that holds them. fairseq; wav2vec 2.0's family in transformers; BERT; DistilBERT.
_FEED_FORWARD = (
    ("fc1", "activation_fn", "fc2"),
    ("intermediate_dense", "intermediate_act_fn", "output_dense"),
    ("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"),
    ("lin1", "activation", "lin2"),
)
# fairseq's attention hands the weights of its linears to a function of torch's, unless this is set.
_CALLS_LINEARS = "skip_embed_dim_check"
# WavLM's, of transformers, always does; so do torch's own modules, but for those that hold modules.
_READS_WEIGHTS = "torch_multi_head_self_attention"
_HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Group:
    """Linears that are replaced together.

    Attributes:
        kind: "linear" or "feed forward".
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
        return _sparsity(*self.linears)

    def dense(self) -> Callable[[Tensor], Tensor]:
        """The linears as they are, on one input."""
        if self.activation is None:
            return self.linears[0]
        first, second = self.linears
        activation = getattr(functional, self.activation)
        return lambda x: second(activation(first(x)))

    def sparse(self) -> Callable[[Tensor], Tensor]:
        """What replaces the linears, on one input."""
        if self.activation is None:
            return SparseLinear(self.linears[0])
        first, second = self.linears
        last = MadeBefore(second)
        part = SparseFeedForward(first, self.activation, last)
        return nn.Sequential(part, Same(), last)


def find_groups(model: nn.Module) -> list[Group]:
    """Return every group of linears that could be replaced, in the order of the model."""
    modules = dict(model.named_modules())
    groups = [
        group
        for name, module in modules.items()
        if (group := _feed_forward(modules, name, module)) is not None
    ]
    taken = {name for group in groups for name in group.names}
    for name, module in modules.items():
        if isinstance(module, nn.Linear) and name not in taken and _is_usable(modules, name):
            groups.append(_alone(modules, name))
    order = {name: number for number, name in enumerate(modules)}
    return sorted(groups, key=lambda group: order[group.names[0]])


def _feed_forward(modules: dict[str, nn.Module], name: str, module: nn.Module) -> Group | None:
    for children in _FEED_FORWARD:
        names = tuple(_below(name, child) for child in children)
        ends = names[0], names[2]
        if not all(_is_usable(modules, child) for child in ends):
            continue
        one, two = (modules[child] for child in ends)
        assert isinstance(one, nn.Linear) and isinstance(two, nn.Linear)
        if _sparsity(one, two) < LEAST_SPARSITY:
            continue
        above, _, attribute = names[1].rpartition(".")
        places = [*(_place(modules, child) for child in ends), (modules[above], attribute)]
        function = getattr(*places[2], None)
        activation = activation_named(function)
        watched = any(is_watched(part) for part in module.modules())
        if activation is None or watched or not _is_one_after_another(module, places):
            continue

        def replace(
            one: nn.Linear = one,
            activation: str = activation,
            two: nn.Linear = two,
            places: list[tuple[nn.Module, str]] = places,
        ) -> None:
            second = MadeBefore(two)
            first = SparseFeedForward(one, activation, second)
            _put(places, [first, second, _like(places[2], Same())])

        return Group("feed forward", ends, (one, two), activation, replace)
    return None


def _sparsity(*linears: nn.Linear) -> float:
    kept = sum(count_kept(linear.weight) for linear in linears)
    entries = sum(linear.weight.numel() for linear in linears)
    return 1.0 - kept / entries if entries else 0.0


def _is_one_after_another(module: nn.Module, places: list[tuple[nn.Module, str]]) -> bool:
    """Whether `module` calls a linear, an activation and another linear in turn and nothing else.

    That is so if it returns the same, for ordinary and for large input, when the first of them does
    the work of all.
    """
    first, second, function = (getattr(*place) for place in places)
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 3, first.in_features, generator=draw)
    inputs = [rows, 1e3 * rows]

    class All(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return last.made(second(function(first(x))))

    last = MadeBefore(second)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = [_outputs(module, x) for x in inputs]
            _put(places, [All(), last, _like(places[2], Same())])
            try:
                after = [_outputs(module, x) for x in inputs]
            finally:
                _put(places, [first, second, function])
    except Exception:
        return False
    return all(
        len(old) == len(new) > 0 and all(map(_same, old, new)) for old, new in zip(before, after)
    )


def _outputs(module: nn.Module, x: Tensor) -> list[Tensor]:
    """All tensors that a module returns for one input; a mask may have to be given with it."""
    needed = [
        one
        for one in inspect.signature(module.forward).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    outputs, _ = tree_flatten(module.forward(x.clone(), *[None] * (len(needed) - 1)))
    return [output for output in outputs if isinstance(output, Tensor)]


def _same(one: Tensor, two: Tensor) -> bool:
    # Not to the bit: on several threads the same product may round in two ways.
    largest = two.nan_to_num(posinf=0.0, neginf=0.0).abs().max() if two.numel() else 0.0
    return one.shape == two.shape and torch.allclose(
        one, two, rtol=0, atol=1e-5 * float(largest), equal_nan=True
    )


def _place(modules: dict[str, nn.Module], name: str) -> tuple[nn.Module, str]:
    parent, _, child = name.rpartition(".")
    return modules[parent], child


def _put(places: list[tuple[nn.Module, str]], parts: list[Any]) -> None:
    for place, part in zip(places, parts):
        setattr(*place, part)


def _like(place: tuple[nn.Module, str], module: nn.Module) -> Any:
    """A module, or its forward where a function is in its place."""
    return module if isinstance(getattr(*place), nn.Module) else module.forward


def _alone(modules: dict[str, nn.Module], name: str) -> Group:
    linear = modules[name]
    assert isinstance(linear, nn.Linear)

    def replace() -> None:
        parent, child = _place(modules, name)
        setattr(parent, child, SparseLinear(linear))
        if hasattr(parent, _CALLS_LINEARS):
            setattr(parent, _CALLS_LINEARS, True)

    return Group("linear", (name,), (linear,), None, replace)


def activation_named(function: Any) -> str | None:
    """Which activation of the kernels computes the same, on numbers of any size; None: none."""
    sizes = torch.logspace(-8, 30, 305)
    probe = torch.cat([torch.linspace(-6, 6, 97), sizes, -sizes])
    if is_watched(function):
        return None
    try:
        with torch.no_grad():
            output = function(probe)
    except Exception:
        return None
    if not isinstance(output, Tensor) or output.shape != probe.shape:
        return None
    for name in ("relu", "gelu"):
        if torch.allclose(output, getattr(functional, name)(probe), rtol=1e-6, atol=1e-6):
            return name
    return None


def _is_usable(modules: dict[str, nn.Module], name: str) -> bool:
    """Whether this is a plain linear whose own forward is called, or can be."""
    linear = modules.get(name)
    if type(linear) is not nn.Linear or is_watched(linear):
        return False
    # The model itself cannot be replaced in place.
    return bool(name) and _calls_linears(modules[name.rpartition(".")[0]])


def _calls_linears(module: nn.Module) -> bool:
    if type(module).__module__.startswith("torch."):
        return type(module) is nn.Module or isinstance(module, _HOLDERS)
    return not hasattr(module, _READS_WEIGHTS)


def is_watched(module: object) -> bool:
    """Whether a module has hooks or a forward of its own, which a replacement would lose."""
    return isinstance(module, nn.Module) and bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or (isinstance(module, nn.Linear) and "forward" in module.__dict__)
    )


def _below(name: str, child: str) -> str:
    return f"{name}.{child}" if name else child
