from __future__ import annotations

import ast

import numpy as np
import pytest
from tiny_model.clusters import assign, fit_clusters, frame_count, mfcc
from tiny_model.pretrain import ARCHITECTURE


@pytest.mark.parametrize("samples", [369, 370, 689, 690, 16_000, 40_001])
def test_a_frame_is_what_the_front_end_makes(samples):
    length = samples
    for _, kernel, stride in ast.literal_eval(ARCHITECTURE["conv_feature_layers"]):
        length = (length - kernel) // stride + 1
    assert frame_count(samples) == max(0, length)


def test_mfcc_is_normalised_and_ignores_the_level():
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(16_000) * np.linspace(0.01, 0.2, 16_000)).astype(np.float32)
    features = mfcc(samples)
    assert features.shape == (frame_count(16_000), 39)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0), 1, atol=1e-2)
    np.testing.assert_allclose(mfcc(samples * 3), features, atol=0.05)


def test_k_means_finds_separate_blobs():
    rng = np.random.default_rng(0)
    means = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float32)
    true = rng.integers(4, size=400)
    frames = (means[true] + 0.3 * rng.standard_normal((400, 2))).astype(np.float32)
    centres = fit_clusters(frames, 4, seed=1)
    labels = assign(frames, centres)
    for blob in range(4):
        assert len(set(labels[true == blob])) == 1
    assert len(set(labels)) == 4
    np.testing.assert_array_equal(centres, fit_clusters(frames, 4, seed=1))


def test_assign_is_the_nearest_centre():
    rng = np.random.default_rng(3)
    frames = rng.standard_normal((50, 5)).astype(np.float32)
    centres = rng.standard_normal((7, 5)).astype(np.float32)
    distances = [[np.linalg.norm(f.astype(float) - c) for c in centres] for f in frames]
    np.testing.assert_array_equal(assign(frames, centres), np.argmin(distances, axis=1))
