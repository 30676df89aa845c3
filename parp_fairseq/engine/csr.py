"""Linears that run as sparse matrices, where that is faster.

PyTorch's CSR kernels beat its dense ones on a CPU only from a high sparsity on, and how high
depends on the machine, on the matrix and on the length of the input. So each large linear is
measured once on random input, and keeps its dense form unless CSR wins clearly.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

FRAMES = (100, 500)
"""Lengths that are measured: CSR must win at both (fairseq's models make 50 frames a second)."""

TILE = 64
"""Inputs are multiplied this many frames at a time, so that a tile stays in a core's cache."""

MARGIN = 0.9
"""CSR is taken below this share of the dense time; more would be within the noise."""

LEAST_SPARSITY = 0.5
"""Less sparse linears stay dense without a measurement."""

LEAST_ENTRIES = 2**14

# Linears of one shape whose sparsities fall into one step share a measurement.
_STEP = 0.025
_REPEATS = 4


class CsrLinear(nn.Module):
    """A linear whose weight is a sparse CSR matrix; for inference on a CPU."""

    def __init__(self, linear: nn.Linear) -> None:
        """Take over the weight (out by in) and bias of `linear`."""
        super().__init__()
        weight = linear.weight.detach()
        with warnings.catch_warnings():
            # torch calls CSR a beta feature.
            warnings.simplefilter("ignore", UserWarning)
            csr = weight.to_sparse_csr()
            # The kernels want 32-bit indices and would convert others at every call.
            self.weight = torch.sparse_csr_tensor(
                csr.crow_indices().int(), csr.col_indices().int(), csr.values(), weight.shape
            )
        self.bias = None if linear.bias is None else linear.bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to (…, out)."""
        rows = x.reshape(-1, x.shape[-1])
        out = x.new_empty(len(rows), self.weight.shape[0])
        for start in range(0, len(rows), TILE):
            tile = rows[start : start + TILE]
            out[start : start + TILE] = (self.weight @ tile.t()).t()
        if self.bias is not None:
            out += self.bias
        return out.view(*x.shape[:-1], -1)


class ProjectedAttention(nn.Module):
    """Self-attention of a fairseq `MultiheadAttention` that calls its projections as modules.

    fairseq's own hands their weights to a function of torch's, so that a replaced projection would
    not be called. For inference: there is no dropout.
    """

    def __init__(self, attention: nn.Module) -> None:
        """Take over the projections and the number of heads of `attention`."""
        super().__init__()
        self.num_heads = attention.num_heads
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
            projection(query).view(frames, batch, self.num_heads, -1).permute(1, 2, 0, 3)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if key_padding_mask is None else ~key_padding_mask.bool()[:, None, None, :]
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.permute(2, 0, 1, 3).reshape(frames, batch, width)), None


def use_csr(model: nn.Module, faster: Callable[[nn.Linear], bool] | None = None) -> tuple[str, ...]:
    """Replace the linears of `model` that are faster as CSR matrices, in place.

    Args:
        model: a fairseq model in evaluation mode, on the CPU.
        faster: tells for a linear whether to replace it (default: `Chooser`, by measuring).

    Returns:
        Names of the linears replaced.
    """
    faster = faster or Chooser()
    modules = dict(model.named_modules())
    chosen = [
        name
        for name, module in modules.items()
        if type(module) is nn.Linear and _can_replace(modules, name) and faster(module)
    ]
    for name in chosen:
        parent, _, child = name.rpartition(".")
        setattr(modules[parent], child, CsrLinear(modules[name]))
    for parent in dict.fromkeys(name.rpartition(".")[0] for name in chosen):
        if _is_attention(modules[parent]):
            outer, _, child = parent.rpartition(".")
            setattr(modules[outer], child, ProjectedAttention(modules[parent]))
    return tuple(chosen)


class Chooser:
    """Measures whether a linear is faster as a CSR matrix."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], bool] = {}

    def __call__(self, linear: nn.Linear) -> bool:
        """Whether CSR wins clearly at every length of FRAMES, on this machine and its threads."""
        weight = linear.weight.detach()
        sparsity = 1.0 - int(weight.count_nonzero()) / weight.numel()
        if sparsity < LEAST_SPARSITY or weight.numel() < LEAST_ENTRIES:
            return False
        key = (*weight.shape, int(sparsity / _STEP))
        if key not in self._known:
            sparse = CsrLinear(linear)
            self._known[key] = all(_wins(sparse, linear, frames) for frames in FRAMES)
        return self._known[key]


def _wins(sparse: nn.Module, dense: nn.Module, frames: int) -> bool:
    x = torch.randn(frames, dense.in_features)
    best = {sparse: float("inf"), dense: float("inf")}
    with torch.inference_mode():
        for _ in range(_REPEATS):
            # In turn, so that a slow moment of the machine meets both.
            for module in best:
                start = time.perf_counter()
                module(x)
                best[module] = min(best[module], time.perf_counter() - start)
    return best[sparse] < MARGIN * best[dense]


def _can_replace(modules: dict[str, nn.Module], name: str) -> bool:
    parent = modules[name.rpartition(".")[0]]
    if type(parent).__name__ != "MultiheadAttention":
        return True
    return _is_attention(parent)


def _is_attention(module: nn.Module) -> bool:
    """Whether this is the plain self-attention that `ProjectedAttention` stands in for."""
    return (
        type(module).__name__ == "MultiheadAttention"
        and module.self_attention
        and module.bias_k is None
        and not module.add_zero_attn
        and not module.use_xformers
    )
