"""Sparse layers against dense ones."""

import numpy as np
import pytest
import torch
from arrays import anything
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from parp_fairseq.kernels import native
from parp_fairseq.kernels import sparse_linear as sparse
from parp_fairseq.kernels.sparse_linear import (
    count_kept,
    feed_forward,
    sparse_linear,
    sparse_linear_reference,
    sparse_matrix,
)


def pruned(rows, inputs, sparsity, seed=0):
    """A weight with exact zeros; some rows keep nothing, some keep all."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, inputs, generator=generator)
    weight[torch.rand(rows, inputs, generator=generator) < sparsity] = 0.0
    if rows > 2:
        weight[0] = 0.0
        weight[1] = 1.0
    return weight


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_results_go_where_they_are_wanted(level):
    first, second = (sparse_matrix(pruned(*shape, 0.8)) for shape in ((30, 40), (20, 30)))
    x = torch.randn(2, 70, 40)
    one, two = (torch.full((2, 70, rows), torch.nan) for rows in (30, 20))
    assert sparse_linear(x, first, out=one) is one
    assert feed_forward(x, first, None, "gelu", second, None, out=two) is two
    close(one, functional.linear(x, first.dense()))
    close(two, functional.linear(functional.gelu(one), second.dense()))


@anything
@given(
    frames=st.integers(0, 150),
    rows=st.integers(1, 140),
    inputs=st.integers(1, 420),
    sparsity=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    biased=st.booleans(),
    activation=st.sampled_from([None, "relu", "gelu"]),
)
def test_is_the_dense_layer(level, frames, rows, inputs, sparsity, biased, activation):
    weight = pruned(rows, inputs, sparsity, frames)
    bias = torch.randn(rows) if biased else None
    x = torch.randn(frames, inputs)
    matrix = sparse_matrix(weight)
    assert torch.equal(matrix.dense(), weight)
    expected = functional.linear(x, weight, bias)
    if activation:
        expected = getattr(functional, activation)(expected)
    close(sparse_linear(x, matrix, bias, activation), expected)
    close(sparse_linear_reference(x, matrix, bias, activation), expected)


def test_any_shape_and_layout(level):
    weight = pruned(30, 40, 0.8)
    matrix = sparse_matrix(weight)
    for x in (
        torch.randn(40),
        torch.randn(2, 3, 40),
        torch.randn(40, 70).t(),
        torch.randn(50, 80)[::2, :40],
        torch.randn(50, 80)[:, ::2],
        torch.randn(0, 40),
        torch.randn(7, 3, 40).transpose(0, 1),
    ):
        close(sparse_linear(x, matrix), functional.linear(x, weight))


@pytest.mark.parametrize("frames", [1, 15, 16, 33, 64, 65, 200])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_two_layers_without_unpacking(level, frames, activation):
    first, second = pruned(90, 33, 0.7), pruned(33, 90, 0.7, 1)
    biases = torch.randn(90), torch.randn(33)
    x = torch.randn(frames, 33)
    hidden = functional.linear(x, first, biases[0])
    if activation:
        hidden = getattr(functional, activation)(hidden)
    found = feed_forward(
        x, sparse_matrix(first), biases[0], activation, sparse_matrix(second), biases[1]
    )
    close(found, functional.linear(hidden, second, biases[1]))


def test_gelu_is_the_exact_one(level):
    x = torch.cat([torch.linspace(-12, 12, 100_001), torch.tensor([0.0, -0.0, 1e-30, 1e30, -1e30])])
    one = sparse_matrix(torch.ones(1, 1))
    torch.testing.assert_close(
        sparse_linear(x[:, None], one, None, "gelu")[:, 0], functional.gelu(x), rtol=2e-6, atol=2e-6
    )


def test_numbers_that_are_none_stay_so(level):
    x = torch.tensor([[float("nan")], [float("-inf")], [float("inf")], [-1.0]])
    one = sparse_matrix(torch.ones(1, 1))
    relu = sparse_linear(x, one, None, "relu")
    torch.testing.assert_close(relu, functional.relu(x), equal_nan=True)
    assert sparse_linear(x, one, None, "gelu")[0].isnan()


def test_long_inputs_go_through_in_pieces(level, monkeypatch):
    monkeypatch.setattr(sparse, "_PIECE", 70)
    first, second = pruned(90, 33, 0.7), pruned(20, 90, 0.7, 1)
    one, two = sparse_matrix(first), sparse_matrix(second)
    for frames in (69, 70, 71, 211):
        x = torch.randn(33, frames).t()
        expected = functional.gelu(functional.linear(x, first))
        close(sparse_linear(x, one, None, "gelu"), expected)
        found = feed_forward(x, one, None, "gelu", two, None)
        close(found, functional.linear(expected, second))


def test_what_does_not_fit_is_refused(level):
    matrix = sparse_matrix(torch.ones(2, 3))
    for x in (torch.randn(4, 2), torch.randn(4, 3).half(), torch.randn(4, 3, dtype=torch.float64)):
        if level != native.REFERENCE:
            with pytest.raises(ValueError, match="a sparse layer of 3 inputs takes float32"):
                sparse_linear(x, matrix)
    for weight in (torch.ones(2), torch.ones(2, 3).half(), torch.ones(2, 3, device="meta")):
        with pytest.raises(ValueError, match="made of a float32 matrix on the CPU"):
            sparse_matrix(weight)
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="not made of an empty one"):
            sparse_matrix(torch.ones(shape))


@settings(anything, max_examples=20)
@given(
    rows=st.integers(1, 90),
    inputs=st.integers(1, 800),
    sparsity=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
)
def test_what_is_kept_is_what_numpy_finds(level, rows, inputs, sparsity):
    weight = pruned(inputs, rows, sparsity).t()
    weight[0, 0] = float("nan")
    matrix = sparse_matrix(weight)
    starts = matrix.starts.view(-1, rows + 1).tolist()
    for number, line in enumerate(starts):
        part = weight[:, number * matrix.block : (number + 1) * matrix.block].numpy()
        where = np.nonzero(part)
        first, last = line[0], line[-1]
        assert matrix.columns[first:last].tolist() == where[1].tolist()
        assert np.array_equal(matrix.values[first:last], part[where], equal_nan=True)
        assert line == [first, *(first + np.cumsum((part != 0).sum(1)))]
    assert len(matrix.values) == starts[-1][-1] == count_kept(weight)
