"""Modules that replace linears: the same outputs, computed from the kept weights only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        """Return the output `y` of `x`; a backward pass through it is refused."""
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


class ProjectedAttention(nn.Module):
    """Self-attention of a fairseq `MultiheadAttention` that calls its projections as modules.

    fairseq's own hands their weights to a function of torch's, so that a replaced projection would
    not be called. For inference: there is no dropout.
    """

    def __init__(self, attention: Any) -> None:
        """Take over the projections and the number of heads of `attention`."""
        super().__init__()
        self.num_heads: int = attention.num_heads
        self.q_proj: nn.Module
        self.k_proj: nn.Module
        self.v_proj: nn.Module
        self.out_proj: nn.Module
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, getattr(attention, name))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend over `query` (frames, batch, width), which is also key and value.

        Args:
            key_padding_mask: (batch, frames), True where a frame is padding.
            attn_mask: (frames, frames) or (batch · heads, frames, frames), added to the products;
                bool: True where a frame does not see another.

        Returns:
            The output (frames, batch, width); and the weights (batch, frames, frames), the mean
            over heads, where `need_weights` is set, else None.
        """
        frames, batch, width = query.shape
        q, k, v = (
            projection(query).reshape(frames, batch, self.num_heads, -1).permute(1, 2, 0, 3)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = _mask(key_padding_mask, attn_mask, batch)
        if need_weights:
            out, weights = _attend(q, k, v, mask)
            weights = weights.mean(1)
        else:
            out, weights = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask), None
        return self.out_proj(out.permute(2, 0, 1, 3).reshape(frames, batch, width)), weights


class WavLMProjections:
    """Replaces the method `torch_multi_head_self_attention` of a transformers `WavLMAttention`.

    It calls the projections as modules, as `ProjectedAttention` does.
    """

    def __init__(self, attention: Any) -> None:
        self.attention = attention

    def __call__(
        self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend over (batch, frames, width); the bias is (batch · heads, frames, frames).

        Returns:
            The output (batch, frames, width), and the weights (batch, heads, frames, frames): for
            all heads their mean, as transformers has it.
        """
        attention = self.attention
        batch, frames, width = hidden_states.shape
        q, k, v = (
            projection(hidden_states)
            .reshape(batch, frames, attention.num_heads, -1)
            .transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        padding = None if attention_mask is None else attention_mask.ne(1)
        out, weights = _attend(q, k, v, _mask(padding, gated_position_bias, batch))
        shown = weights.mean(1, keepdim=True).expand_as(weights)
        return attention.out_proj(out.transpose(1, 2).reshape(batch, frames, width)), shown


def _mask(padding: Tensor | None, added: Tensor | None, batch: int) -> Tensor | None:
    """What scaled_dot_product_attention takes: bool, True where to look; or numbers to add."""
    seen = None if padding is None else ~padding.bool()[:, None, None, :]
    if added is None:
        return seen
    if added.dim() == 3:
        added = added.unflatten(0, (batch, -1))
    if added.dtype == torch.bool:
        return ~added if seen is None else ~added & seen
    return added if seen is None else added.masked_fill(~seen, float("-inf"))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention with its weights (batch, heads, frames, frames)."""
    products = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None and mask.dtype == torch.bool:
        products = products.masked_fill(~mask, float("-inf"))
    elif mask is not None:
        products = products + mask
    weights = products.softmax(-1)
    return weights @ v, weights
