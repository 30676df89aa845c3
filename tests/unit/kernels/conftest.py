"""Every level, with small tiles; and another library, if one is named: that with sanitizers."""

import os
from pathlib import Path

import pytest

from parp_fairseq.kernels import native

if "KERNELS_UNDER_TEST" in os.environ:
    native.BINARY = Path(os.environ["KERNELS_UNDER_TEST"])
    native._library.cache_clear()


@pytest.fixture(params=[native.REFERENCE, *native.available()])
def level(request, monkeypatch):
    """A level of kernels, in use."""
    monkeypatch.setenv(native.VARIABLE, request.param)
    monkeypatch.setattr(native, "TILE", 64)
    return request.param
