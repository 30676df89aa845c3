"""Modules that replace linears: the same outputs, computed from the kept weights only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

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

    def without_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the output `y` of `x`; tracing it and a backward pass through it are refused."""
        if torch.jit.is_tracing():
            # What the kernel computes would become a constant.
            raise EngineError("an accelerated model cannot be traced; trace it before accelerate()")
        if not torch.is_grad_enabled() or not (self._trained or x.requires_grad):
            return y
        result: Tensor = _NoBackward.apply(y, torch.zeros((), requires_grad=True))
        return result

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[f"{prefix}weight"] = self.weight
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, *lists: list[str]
    ) -> None:
        lists[-1].append(f"{prefix[:-1]} was replaced by accelerate(); load the weights before it")


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
        return self.without_gradient(x, sparse_linear(x, self.matrix, self.bias))


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
        """Map (…, in) to (…, out of the second)."""
        (two,) = self._second
        y = feed_forward(x, self.matrix, self.bias, self.activation, two.matrix, two.bias)
        return two.made(self.without_gradient(x, y))


class MadeBefore(Replaced):
    """In place of the second of two linears: its output was made in place of the first."""

    def made(self, y: Tensor) -> Tensor:
        """Return `y`, the output, marked as such."""
        y.__dict__[_MARK] = _version(y)
        return y

    def forward(self, y: Tensor) -> Tensor:
        """Return `y`.

        Raises:
            EngineError: it is something else than what `made` returned, or was changed since.
        """
        if y.__dict__.pop(_MARK, None) != _version(y):
            raise EngineError(
                "a feed-forward part that was replaced as one is called in another way than when "
                "it was replaced; leave it dense with accelerate(model, choice)"
            )
        return y


_MARK = "_parp_made_by_a_feed_forward"


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; inference mode does not count."""
    return 0 if tensor.is_inference() else tensor._version


class Same(nn.Module):
    """In place of an activation whose work another module does: returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x
