"""The CSR engine: the same outputs, modules that are called, dense where CSR does not win."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parp_fairseq.engine import csr
from parp_fairseq.engine.csr import TILE, Chooser, CsrLinear, ProjectedAttention, use_csr


def sparse_linear(inside=96, outside=200, sparsity=0.9, bias=True):
    torch.manual_seed(1)
    linear = nn.Linear(inside, outside, bias=bias)
    with torch.no_grad():
        linear.weight[torch.rand(outside, inside) < sparsity] = 0.0
    return linear


@pytest.mark.legacy
@pytest.mark.parametrize("shape", [(1, 96), (7, 3, 96), (TILE, 96), (2 * TILE + 1, 1, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_csr_linear_equals_the_dense_one(shape, bias):
    linear = sparse_linear(bias=bias)
    x = torch.randn(shape).transpose(0, 1).contiguous().transpose(0, 1)
    expected = x.double() @ linear.weight.double().t()
    if bias:
        expected = expected + linear.bias.double()
    out = CsrLinear(linear)(x)
    assert out.shape == (*shape[:-1], 200) and out.is_contiguous()
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=0)


def test_a_matrix_of_zeros():
    linear = sparse_linear(sparsity=2.0)
    x = torch.randn(5, 96)
    torch.testing.assert_close(CsrLinear(linear)(x), linear.bias.expand(5, -1))


@pytest.mark.legacy
@pytest.mark.parametrize("padded", [False, True])
def test_attention_equals_fairseqs(padded):
    from fairseq.modules import MultiheadAttention

    torch.manual_seed(2)
    attention = MultiheadAttention(64, 4, dropout=0.1, self_attention=True).eval()
    x = torch.randn(37, 3, 64)
    mask = None
    if padded:
        mask = torch.zeros(3, 37, dtype=torch.bool)
        mask[1, 30:] = mask[2, 5:] = True
    expected, _ = attention(x, x, x, key_padding_mask=mask, need_weights=False)
    out, weights = ProjectedAttention(attention)(x, x, x, key_padding_mask=mask)
    assert weights is None
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.legacy
def test_every_replaced_linear_is_called(tmp_path):
    from small_model import random_state, save

    from parp_fairseq.evaluation.load import load_sparse
    from parp_fairseq.export.sparse import export_sparse

    export_sparse(save(random_state(), tmp_path / "c.pt"), tmp_path / "m.safetensors")
    loaded = load_sparse(tmp_path / "m.safetensors")
    chosen = use_csr(loaded.model, lambda linear: bool((linear.weight == 0).float().mean() > 0.5))
    assert len(chosen) == 12
    called = []
    for name in chosen:
        module = loaded.model.get_submodule(name)
        assert isinstance(module, CsrLinear)
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    loaded.model(source=torch.randn(1, 8000), padding_mask=torch.zeros(1, 8000, dtype=torch.bool))
    assert sorted(called) == sorted(chosen)


def test_dense_stays_where_csr_does_not_win_clearly(monkeypatch):
    asked = []

    def wins(sparse, dense, frames):
        asked.append((tuple(dense.weight.shape), frames))
        return frames < 500 or dense.in_features > 200

    monkeypatch.setattr(csr, "_wins", wins)
    chooser = Chooser()
    assert not chooser(sparse_linear(256, 256, 0.3)) and not chooser(sparse_linear(256, 256, 0.0))
    assert not chooser(sparse_linear(32, 32, 0.9))
    assert asked == []
    assert not chooser(sparse_linear(192, 256, 0.9))
    assert chooser(sparse_linear(256, 256, 0.9))
    assert [frames for _, frames in asked] == [100, 500, 100, 500]
    # The same shape and sparsity is not measured twice, another sparsity is.
    assert chooser(sparse_linear(256, 256, 0.9))
    assert len(asked) == 4
    assert chooser(sparse_linear(256, 256, 0.7))
    assert len(asked) == 6


def test_a_clear_win_is_one_beyond_the_noise(monkeypatch):
    clock = [0.0]

    class Takes(nn.Module):
        in_features = 4

        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, x):
            clock[0] += self.seconds

    monkeypatch.setattr(csr.time, "perf_counter", lambda: clock[0])
    assert csr._wins(Takes(0.8), Takes(1.0), 10)
    assert not csr._wins(Takes(0.95), Takes(1.0), 10)
    assert not csr._wins(Takes(1.5), Takes(1.0), 10)
