"""Tensors of any bits: NaN, infinities, denormals, both zeros, and ties."""

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from parp_fairseq.kernels.words import INTEGERS

anything = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = list(INTEGERS)
# Around what kernels take at a time (64) and a thread at a time (64 too, see `level`).
SIZES = st.one_of(st.integers(0, 20), st.sampled_from([63, 64, 65, 127, 128, 129, 200, 513]))


@st.composite
def flat(draw, dtype, *, finite=False, size=SIZES):
    """A flat tensor, now and then a view that begins in the middle of another."""
    count, seed = draw(size), draw(st.integers(0, 2**32))
    generator = torch.Generator().manual_seed(seed)
    kind = draw(st.sampled_from(["bits", "few", "normal", "small"]))
    skipped = draw(st.integers(0, 3))
    shape = (count + skipped,)
    if kind == "few":
        values = torch.tensor([0.0, -0.0, 0.5, -0.5, 1.0, -2.0], dtype=torch.float64)
        made = values[torch.randint(0, len(values), shape, generator=generator)].to(dtype)
    elif kind == "normal":
        made = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    else:
        bits = torch.finfo(dtype).bits
        integers = INTEGERS[dtype]
        made = torch.randint(0, 2**16, shape, generator=generator)
        if kind == "bits":
            for _ in range(bits // 16 - 1):
                made = made << 16 | torch.randint(0, 2**16, shape, generator=generator)
        made = made.to(integers).view(dtype)
    if finite:
        made = torch.where(made.isfinite(), made, torch.ones((), dtype=dtype))
    return made[skipped:]


@st.composite
def several(draw, **options):
    """Up to four flat tensors of one type."""
    dtype = draw(st.sampled_from(DTYPES))
    return draw(st.lists(flat(dtype, **options), min_size=1, max_size=4))
