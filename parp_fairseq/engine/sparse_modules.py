"""Modules that replace linears: the same outputs, computed from the kept weights only."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
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


class SparseLinear(nn.Module):
    """A linear; for inference on a CPU."""

    def __init__(self, linear: nn.Linear) -> None:
        """Take over weight and bias."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.matrix = sparse_matrix(linear.weight)
        self.bias = _copied(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to (…, out)."""
        return sparse_linear(x, self.matrix, self.bias)

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), computed when a model reads it."""
        return self.matrix.dense()


class SharedInput:
    """Linears that a model calls in turn with the same tensor: q, k and v.

    The first call computes all of them; the others take what is theirs. A model that turns out to
    call them with different tensors gets each computed by itself from then on.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self.matrix = sparse_matrix(torch.cat([linear.weight.detach() for linear in linears]))
        self.biases = [_copied(linear.bias) for linear in linears]
        self.widths = [linear.out_features for linear in linears]
        parts = [
            torch.zeros(width) if bias is None else bias
            for bias, width in zip(self.biases, self.widths)
        ]
        biased = any(bias is not None for bias in self.biases)
        self.bias: Tensor | None = torch.cat(parts) if biased else None
        self._separate: list[SparseMatrix] | None = None

    def output(self, number: int, x: Tensor) -> Tensor:
        """What linear `number` makes of `x`."""
        waiting = _waiting()
        entry = None if self._separate else waiting.pop(self, None)
        if entry is not None:
            shared, left = entry
            if number in left and _is_same(shared, x):
                output = left.pop(number)
                if left:
                    waiting[self] = shared, left
                return output
            self._separate = [sparse_matrix(self.weight(each)) for each in range(len(self.widths))]
        if self._separate:
            return sparse_linear(x, self._separate[number], self.biases[number])
        left = dict(enumerate(sparse_linear(x, self.matrix, self.bias).split(self.widths, dim=-1)))
        output = left.pop(number)
        if left:
            waiting[self] = x, left
        return output

    def weight(self, number: int) -> Tensor:
        """The dense weight of linear `number`."""
        return self.matrix.dense().split(self.widths)[number].contiguous()


_threads = threading.local()


def _waiting() -> weakref.WeakKeyDictionary[SharedInput, tuple[Tensor, dict[int, Tensor]]]:
    """Inputs, and outputs that were not asked for yet: a thread has its own."""
    if not hasattr(_threads, "waiting"):
        _threads.waiting = weakref.WeakKeyDictionary()
    return _threads.waiting


def _is_same(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors, both alive, look at the same memory in the same way."""
    return one is two or (
        one.data_ptr() == two.data_ptr()
        and one.shape == two.shape
        and one.stride() == two.stride()
        and one.dtype == two.dtype
    )


class SharedLinear(nn.Module):
    """One of the linears of a `SharedInput`."""

    def __init__(self, linear: nn.Linear, shared: SharedInput, number: int) -> None:
        """Stand in for `linear`, which is number `number` of `shared`."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.shared, self.number = shared, number

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to (…, out)."""
        return self.shared.output(self.number, x)

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in), computed when a model reads it."""
        return self.shared.weight(self.number)

    @property
    def bias(self) -> Tensor | None:
        """The bias (out,)."""
        return self.shared.biases[self.number]


class SparseFeedForward(nn.Module):
    """Two linears with an activation between; dropout has no place in inference."""

    def __init__(self, first: nn.Linear, activation: str, second: nn.Linear) -> None:
        """Take over both linears; `activation` is "relu" or "gelu"."""
        super().__init__()
        self.first, self.second = sparse_matrix(first.weight), sparse_matrix(second.weight)
        self.first_bias, self.second_bias = _copied(first.bias), _copied(second.bias)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to (…, out)."""
        return feed_forward(
            x, self.first, self.first_bias, self.activation, self.second, self.second_bias
        )


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


def _copied(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach().clone()
