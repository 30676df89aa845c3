"""Packed masks against numpy."""

import numpy as np
import pytest
import torch
from arrays import anything
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.kernels import bits, native


@anything
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_counts(level, data, seed):
    a = np.frombuffer(data, np.uint8).copy()
    b = np.random.default_rng(seed).integers(0, 256, a.size, dtype=np.uint8)
    one, other = torch.from_numpy(a), torch.from_numpy(b)
    assert bits.count(one) == int(np.unpackbits(a).sum())
    assert bits.count_both(one, other) == int(np.unpackbits(a & b).sum())


def test_counts_in_pieces_and_of_strided_bytes(level):
    data = torch.randint(0, 256, (400_001,), dtype=torch.uint8)
    for one in (data, data[1:], data[::3]):
        assert bits.count(one) == int(np.unpackbits(one.numpy()).sum())


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (8,), (3, 7), (2, 0, 5), (5, 4, 13)])
def test_pack_unpack_and_count_here_and_on_a_gpu(shape, remote, monkeypatch):
    monkeypatch.setattr(native, "is_remote", lambda tensor: remote)
    keep = torch.rand(shape) < 0.5
    packed = bits.pack(keep)
    assert packed.tolist() == np.packbits(keep.numpy().reshape(-1)).tolist()
    assert torch.equal(bits.unpack(packed, shape), keep)
    assert bits.count(packed) == int(keep.sum())
