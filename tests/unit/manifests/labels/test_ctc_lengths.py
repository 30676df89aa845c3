import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.manifests.labels.ctc import ctc_frames, least_samples, needed_frames

# Kernel and stride of wav2vec 2.0's feature extractor.
CONVOLUTIONS = [(10, 5)] + [(3, 2)] * 4 + [(2, 2)] * 2


@given(st.integers(1, 2_000_000))
def test_frames_are_those_of_the_convolutions(samples):
    length = samples
    for kernel, stride in CONVOLUTIONS:
        length = max(0, (length - kernel) // stride + 1)
    assert ctc_frames(samples) == length


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.integers(1, 12))
def test_needed_frames_are_those_below_which_the_loss_is_infinite(symbols, frames):
    targets = torch.tensor([["abc".index(symbol) + 1 for symbol in symbols]])
    loss = torch.nn.functional.ctc_loss(
        torch.zeros(frames, 1, 4).log_softmax(-1),
        targets,
        torch.tensor([frames]),
        torch.tensor([len(symbols)]),
    )
    assert math.isinf(loss.item()) == (needed_frames(symbols) > frames)


def test_least_samples():
    assert least_samples(0) == 400 and ctc_frames(399) == 0 and ctc_frames(400) == 1
    assert ctc_frames(least_samples(10)) == 13
    assert ctc_frames(least_samples(10) - 1) == 12
