"""Targets of masked prediction: MFCCs of speech and k-means over frames."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import dct

_WINDOW, _HOP, _FFT, _MELS, _CEPSTRA = 400, 160, 512, 40, 13


def frame_count(samples: int, receptive: int = 370, stride: int = 320) -> int:
    """Frames that a front-end with this receptive field and stride makes of `samples`."""
    return max(0, (samples - receptive) // stride + 1)


def mfcc(samples: np.ndarray) -> np.ndarray:
    """MFCCs with first and second differences, normalised over the utterance.

    Args:
        samples: (n,) speech at 16 kHz, within [-1, 1].

    Returns:
        float32 (frame_count(n), 39), a frame every 20 ms; every column has mean 0 and variance 1.
    """
    frames = frame_count(len(samples))
    padded = np.concatenate([samples, np.zeros(_WINDOW, dtype=samples.dtype)])
    starts = np.arange(2 * frames) * _HOP
    windows = padded[starts[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2
    energies = np.log(power @ _mel_filters() + 1e-6)
    cepstra = dct(energies, type=2, norm="ortho", axis=1)[:, :_CEPSTRA]
    first = np.gradient(cepstra, axis=0)
    second = np.gradient(first, axis=0)
    features = np.concatenate([cepstra, first, second], axis=1)[::2]
    features = (features - features.mean(0)) / (features.std(0) + 1e-5)
    return features.astype(np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> np.ndarray:
    def mel(hertz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hertz / 700)

    edges = np.linspace(mel(np.array(60.0)), mel(np.array(7600.0)), _MELS + 2)
    bins = mel(np.fft.rfftfreq(_FFT, 1 / 16_000))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rising, falling), 0, None)


def fit_clusters(frames: np.ndarray, clusters: int, seed: int, rounds: int = 40) -> np.ndarray:
    """k-means: centres (clusters, width) of `frames` (n, width), from k-means++ starts."""
    rng = np.random.default_rng(seed)
    centres = frames[rng.integers(len(frames))][None]
    nearest = np.full(len(frames), np.inf)
    while len(centres) < clusters:
        nearest = np.minimum(nearest, ((frames - centres[-1]) ** 2).sum(1))
        chosen = frames[rng.choice(len(frames), p=nearest / nearest.sum())]
        centres = np.concatenate([centres, chosen[None]])
    for _ in range(rounds):
        labels = assign(frames, centres)
        sizes = np.bincount(labels, minlength=clusters)
        sums = np.zeros_like(centres, dtype=np.float64)
        np.add.at(sums, labels, frames)
        filled = sizes > 0
        centres[filled] = (sums[filled] / sizes[filled, None]).astype(np.float32)
        centres[~filled] = frames[rng.integers(len(frames), size=int((~filled).sum()))]
    return centres


def assign(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre for each frame, int64 (n,)."""
    return np.argmin((centres**2).sum(1) - 2 * frames @ centres.T, axis=1)
