"""Modules that replace linears: the same outputs, computed from the kept weights only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, library, nn

from parp_fairseq.kernels.sparse_linear import (
    SparseMatrix,
    feed_forward,
    sparse_linear,
    sparse_matrix,
)


class EngineError(ValueError):
    """A model that the engine does not run, or a choice that does not fit it; a line says why."""


class Replaced(nn.Module):
    """In place of a linear: saved as the linear was, read-only, and without gradients."""

    def __init__(self, linear: nn.Linear) -> None:
        """Take over sizes, weight and bias."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.matrix: SparseMatrix = sparse_matrix(linear.weight)
        self.bias = None if linear.bias is None else linear.bias.detach().clone()
        self._trained = linear.weight.requires_grad

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), computed when it is read."""
        return self.matrix.dense()

    @property
    def outputs(self) -> int:
        """Length of what it computes."""
        return self.out_features

    def computed(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Map (…, in) to what it computes, in `out` if given, without gradients."""
        raise NotImplementedError

    def run(self, x: Tensor) -> Tensor:
        """Do the same; tracing it and a backward pass through it are refused."""
        layers = getattr(_tracing, "layers", None)
        if layers is not None:
            layers.append(self)
            node: Tensor = torch.ops.parp_engine.sparse(x, len(layers) - 1)
            return node
        refuse_tracing()
        return refuse_backward(self.computed(x), self._trained or x.requires_grad)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weight
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, *lists: list[str]
    ) -> None:
        lists[-1].append(f"{prefix[:-1]} was replaced by accelerate(); load the weights before it")


def refuse_tracing() -> None:
    """Refuse it: what is computed outside torch would become a constant."""
    if torch.jit.is_tracing():
        raise EngineError("an accelerated model cannot be traced; trace it before accelerate()")


def refuse_backward(y: Tensor, trained: bool) -> Tensor:
    """Return `y`; a backward pass through it is refused if something before it is trained."""
    if not trained or not torch.is_grad_enabled() or not y.is_floating_point():
        return y
    result: Tensor = _NoBackward.apply(y, torch.zeros((), requires_grad=True))
    return result


_tracing = threading.local()


@contextlib.contextmanager
def traced() -> Iterator[list[Replaced]]:
    """Sparse layers appear in traces as operations that name a place in this list."""
    layers: list[Replaced] = []
    operations = library.Library("parp_engine", "FRAGMENT")
    operations.define("sparse(Tensor x, int number) -> Tensor")
    operations.impl("sparse", lambda x, number: layers[number].computed(x), "CPU")
    _tracing.layers = layers
    try:
        yield layers
    finally:
        _tracing.layers = None
        operations._destroy()


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, trained: Tensor) -> Tensor:
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise EngineError("an accelerated model is for inference; train the model it was made of")


class SparseLinear(Replaced):
    """A linear; for inference on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to (…, out)."""
        return self.run(x)

    def computed(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Map (…, in) to (…, out), without gradients."""
        return sparse_linear(x, self.matrix, self.bias, out=out)


class SparseFeedForward(Replaced):
    """In place of the first of two linears with an activation between: does the work of all three.

    In place of the activation and of the second linear is what returns its input.
    """

    def __init__(self, first: nn.Linear, activation: str, second: MadeBefore) -> None:
        """Take over the first linear; `activation` is "relu" or "gelu"."""
        super().__init__(first)
        self.activation = activation
        self._second = (second,)  # Its place in the model is elsewhere.

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to what stands for (…, out); the second linear returns its own output."""
        (two,) = self._second
        return two.made(self.run(x))

    @property
    def outputs(self) -> int:
        """Length of the second linear's output."""
        (two,) = self._second
        return two.out_features

    def computed(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Map (…, in) to (…, out), without gradients."""
        (two,) = self._second
        return feed_forward(x, self.matrix, self.bias, self.activation, two.matrix, two.bias, out)


class MadeBefore(Replaced):
    """In place of the second of two linears: its output was made in place of the first."""

    def made(self, y: Tensor) -> Hidden:
        """Return what stands for the hidden vectors of the output `y`."""
        return Hidden.of(y, self.in_features)

    def forward(self, hidden: Hidden) -> Tensor:
        """Return the output.

        Raises:
            EngineError: it is given something else than the activation returned, or twice.
        """
        if not isinstance(hidden, Hidden) or hidden.output is None or not hidden.active:
            raise _otherwise()
        output, hidden.output = hidden.output, None
        return output


def _otherwise() -> EngineError:
    return EngineError(
        "a feed-forward part that was replaced as one is called in another way than when it was "
        "replaced; leave it dense with accelerate(model, choice)"
    )


class Hidden(Tensor):
    """Stands for hidden vectors that were never written to memory: nothing can be computed of it.

    Attributes:
        output: what the second linear is to return; None where it has.
        active: whether the activation was called.
    """

    output: Tensor | None
    active: bool

    @classmethod
    def of(cls, output: Tensor, size: int) -> Hidden:
        """Make those of an output (…, out), as (…, size)."""
        shape = (*output.shape[:-1], size)
        hidden = torch.empty((), dtype=output.dtype).expand(shape).as_subclass(cls)
        hidden.output, hidden.active = output, False
        return hidden

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Allow to ask for a size or a type, and dropout that drops nothing."""
        kwargs = kwargs or {}
        if function is nn.functional.dropout and not kwargs.get("training", True):
            return args[0]
        if function.__name__ not in ("__get__", "dim", "size", "numel", "as_subclass"):
            raise _otherwise()
        return super().__torch_function__(function, types, args, kwargs)


class Same(nn.Module):
    """In place of an activation whose work another module does: returns its input."""

    def forward(self, hidden: Hidden) -> Hidden:
        """Return `hidden`.

        Raises:
            EngineError: it is given something else than the first linear returned, or twice.
        """
        if not isinstance(hidden, Hidden) or hidden.active:
            raise _otherwise()
        hidden.active = True
        return hidden
