"""Modules that stand in for linears: the same outputs over the kept weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from parp_fairseq.kernels.sparse import feed_forward, sparse_linear, sparse_matrix


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

    def extra_repr(self) -> str:
        """Shown where the model is printed."""
        return f"{self.in_features} to {self.out_features}, sparsity {self.matrix.sparsity:.4f}"


class SharedInput:
    """Linears that a model calls one after the other with the very same tensor: q, k and v.

    The first call computes all of them; the others take what is theirs.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self.matrix = sparse_matrix(torch.cat([linear.weight.detach() for linear in linears]))
        self.biases = [_copied(linear.bias) for linear in linears]
        widths = [linear.out_features for linear in linears]
        parts = [
            torch.zeros(width) if bias is None else bias for bias, width in zip(self.biases, widths)
        ]
        biased = any(bias is not None for bias in self.biases)
        self.bias: Tensor | None = torch.cat(parts) if biased else None
        self.widths = widths
        self._x: Tensor | None = None
        self._left: dict[int, Tensor] = {}

    def output(self, number: int, x: Tensor) -> Tensor:
        """What linear `number` makes of `x`."""
        if self._x is not x or number not in self._left:
            outputs = sparse_linear(x, self.matrix, self.bias).split(self.widths, dim=-1)
            self._x, self._left = x, dict(enumerate(outputs))
        found = self._left.pop(number)
        if not self._left:
            # Nothing of a past input is kept alive.
            self._x = None
        return found


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
    ) -> tuple[Tensor, None]:
        """Attend over `query` (frames, batch, width), which is also key and value.

        Args:
            key_padding_mask: (batch, frames), True where a frame is padding.

        Returns:
            The output (frames, batch, width), and None for the attention's weights.
        """
        if attn_mask is not None or need_weights:
            raise ValueError("wav2vec 2.0's encoder asks for neither a mask nor weights")
        frames, batch, width = query.shape
        q, k, v = (
            projection(query).reshape(frames, batch, self.num_heads, -1).permute(1, 2, 0, 3)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if key_padding_mask is None else ~key_padding_mask.bool()[:, None, None, :]
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.permute(2, 0, 1, 3).reshape(frames, batch, width)), None


def _copied(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach().clone()
