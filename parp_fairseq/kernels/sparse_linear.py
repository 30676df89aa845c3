"""Linear layers whose weights are mostly zeros, computed from the kept weights only."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from parp_fairseq.kernels.native import kernel, threads

ACTIVATIONS = {None: 0, "relu": 1, "gelu": 2}
"""What may follow a layer; gelu is the exact one (by erf)."""

# Floats of packed input that a block of the weight's columns sees: what the first cache takes.
_BLOCK_FLOATS = 12_288
_MOST_KEPT = 2**31 - 1
# Frames that go through at once: what is between two layers then takes some megabytes, however
# long the input is.
_PIECE = 1024


@dataclass(frozen=True)
class SparseMatrix:
    """A weight (rows, inputs) as csrc/sparse_linear.cpp reads it.

    Attributes:
        starts: int32 (blocks, rows + 1): where the kept entries of a block of inputs and a row
            begin in the next two.
        columns: uint16 (kept,): their inputs, counted within the block.
        values: float32 (kept,).
        rows: outputs of the layer.
        inputs: inputs of the layer.
        block: inputs in a block.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor
    rows: int
    inputs: int
    block: int

    def dense(self) -> Tensor:
        """The weight, float32 (rows, inputs)."""
        weight = torch.zeros(self.rows, self.inputs)
        starts = self.starts.view(-1, self.rows + 1).long()
        for number, start in enumerate(starts):
            first, last = int(start[0]), int(start[-1])
            rows = torch.repeat_interleave(torch.arange(self.rows), start.diff())
            columns = self.columns[first:last].int().long() + number * self.block
            weight[rows, columns] = self.values[first:last]
        return weight


def sparse_matrix(weight: Tensor) -> SparseMatrix:
    """Keep the entries of a dense weight (rows, inputs) that are not zero.

    Raises:
        ValueError: not a float32 matrix on the CPU, an empty one, or one that keeps more entries
            than 32 bits count.
    """
    if weight.dim() != 2 or weight.dtype != torch.float32 or weight.device.type != "cpu":
        raise ValueError(
            f"a sparse matrix is made of a float32 matrix on the CPU, not of {weight.dtype} "
            f"{tuple(weight.shape)} on {weight.device}"
        )
    if not weight.numel():
        raise ValueError(f"a sparse matrix is not made of an empty one, {tuple(weight.shape)}")
    dense = weight.detach().contiguous()
    rows, inputs = dense.shape
    # Frames packed together times inputs in a block is the same on every processor.
    block = max(1, min(_BLOCK_FLOATS // tile_frames(), inputs, 1 << 16))
    counts = _counts(dense, block)
    ends = counts.view(-1).cumsum(0).view_as(counts)
    kept = int(counts.sum())
    if kept > _MOST_KEPT:
        raise ValueError(f"{kept:,} kept weights are more than a sparse matrix counts")
    starts = torch.cat([ends[:, :1] - counts[:, :1], ends], 1).int()
    columns, values = _kept(dense, block, starts, kept)
    return SparseMatrix(starts.view(-1), columns, values, rows, inputs, block)


def count_kept(weight: Tensor) -> int:
    """How many entries of a float32 weight (rows, inputs) on the CPU are not zero."""
    dense = weight.detach().contiguous()
    return int(_counts(dense, dense.shape[1]).sum()) if dense.numel() else 0


def _counts(dense: Tensor, block: int) -> Tensor:
    """How many entries of each block of inputs and row are not zero: int64 (blocks, rows)."""
    rows, inputs = dense.shape
    run = kernel("sparse_count")
    if run is None:
        parts = dense.split(block, dim=1)
        return torch.stack([part.count_nonzero(1) for part in parts])
    counts = torch.empty(-(-inputs // block), rows, dtype=torch.int64)
    run(dense.data_ptr(), rows, inputs, block, counts.data_ptr(), threads())
    return counts


def _kept(dense: Tensor, block: int, starts: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The columns (within their block) and values of a `SparseMatrix`."""
    rows, inputs = dense.shape
    run = kernel("sparse_keep")
    if run is None:
        parts = dense.split(block, dim=1)
        columns = torch.cat([part.nonzero()[:, 1] for part in parts])
        return columns.to(torch.uint16), torch.cat([part[part != 0] for part in parts])
    columns = torch.empty(kept, dtype=torch.uint16)
    values = torch.empty(kept)
    arrays = starts.data_ptr(), columns.data_ptr(), values.data_ptr()
    run(dense.data_ptr(), rows, inputs, block, *arrays, threads())
    return columns, values


def sparse_linear(
    x: Tensor,
    matrix: SparseMatrix,
    bias: Tensor | None = None,
    activation: str | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return activation(x Wᵀ + bias).

    Args:
        x: float32 (…, inputs) on the CPU, contiguous or not.
        matrix: W.
        bias: float32 (rows,).
        activation: one of ACTIVATIONS.
        out: where to write it, float32 (…, rows), contiguous: memory that is fresh for every call
            may cost more than the work.

    Returns:
        float32 (…, rows).

    Raises:
        ValueError: x does not fit, or is no float32 on the CPU.
    """
    run = kernel("sparse_linear")
    if run is None:
        return _given(out, sparse_linear_reference(x, matrix, bias, activation))
    frames = _frames(x, matrix)
    y = x.new_empty(*x.shape[:-1], matrix.rows) if out is None else out
    for piece, made in zip(frames.split(_PIECE), y.view(-1, matrix.rows).split(_PIECE)):
        _run(run, piece, len(piece), matrix, bias, activation, made)
    return y


def sparse_linear_reference(
    x: Tensor, matrix: SparseMatrix, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """The definition."""
    y = functional.linear(x, matrix.dense(), bias)
    if activation == "relu":
        return functional.relu(y)
    return functional.gelu(y) if activation == "gelu" else y


def feed_forward(
    x: Tensor,
    first: SparseMatrix,
    first_bias: Tensor | None,
    activation: str | None,
    second: SparseMatrix,
    second_bias: Tensor | None,
    out: Tensor | None = None,
) -> Tensor:
    """Return second(activation(first(x))); what is between them stays as the kernel packs it.

    Args:
        x: float32 (…, inputs of `first`) on the CPU.
        first: (hidden, inputs).
        first_bias: (hidden,).
        activation: one of ACTIVATIONS.
        second: (outputs, hidden).
        second_bias: (outputs,).
        out: where to write it, as in `sparse_linear`.
    """
    run = kernel("sparse_linear")
    if run is None:
        hidden = sparse_linear_reference(x, first, first_bias, activation)
        return _given(out, sparse_linear_reference(hidden, second, second_bias))
    frames = _frames(x, first)
    y = x.new_empty(*x.shape[:-1], second.rows) if out is None else out
    for piece, made in zip(frames.split(_PIECE), y.view(-1, second.rows).split(_PIECE)):
        count = len(piece)
        hidden = _scratch("hidden", _padded(count) * first.rows)
        _run(run, piece, count, first, first_bias, activation, hidden, packed_out=True)
        _run(run, hidden, count, second, second_bias, None, made, packed_in=True)
    return y


def _given(out: Tensor | None, made: Tensor) -> Tensor:
    return made if out is None else out.copy_(made)


def tile_frames() -> int:
    """How many frames the kernel packs together."""
    run = kernel("sparse_tile")
    return run() if run else 64


def _frames(x: Tensor, matrix: SparseMatrix) -> Tensor:
    if x.shape[-1] != matrix.inputs or x.dtype != torch.float32 or x.device.type != "cpu":
        raise ValueError(
            f"a sparse layer of {matrix.inputs} inputs takes float32 on the CPU, not {x.dtype} "
            f"{tuple(x.shape)} on {x.device}"
        )
    frames = x.detach().reshape(-1, matrix.inputs)
    return frames if frames.stride(-1) == 1 else frames.contiguous()


def _padded(frames: int) -> int:
    tile = tile_frames()
    return -(-frames // tile) * tile


def _run(
    run,
    x: Tensor,
    frames: int,
    matrix: SparseMatrix,
    bias: Tensor | None,
    activation: str | None,
    y: Tensor,
    *,
    packed_in: bool = False,
    packed_out: bool = False,
) -> None:
    if not frames:
        return
    scratch = None if packed_in else _scratch("input", _padded(frames) * matrix.inputs)
    run(
        x.data_ptr(),
        frames,
        0 if packed_in else x.stride(0),
        packed_in,
        matrix.starts.data_ptr(),
        matrix.columns.data_ptr(),
        matrix.values.data_ptr(),
        None if bias is None else bias.data_ptr(),
        matrix.rows,
        matrix.inputs,
        matrix.block,
        ACTIVATIONS[activation],
        y.data_ptr(),
        0 if packed_out else y.stride(0),
        packed_out,
        None if scratch is None else scratch.data_ptr(),
        threads(),
    )


_buffers = threading.local()


def _scratch(name: str, floats: int) -> Tensor:
    """Memory that a thread uses again: fresh pages would cost as much as the work on them."""
    buffer = getattr(_buffers, name, None)
    if buffer is None or buffer.numel() < floats:
        buffer = torch.empty(floats)
        setattr(_buffers, name, buffer)
    return buffer
