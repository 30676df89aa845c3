from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import pretrain
from tiny_model.clusters import frame_count
from tiny_model.pretrain import Round, Settings, Speech, draw_batch

from parp_fairseq.errors import UserError

SETTINGS = Settings(
    speakers=3,
    utterances=2,
    held_out=1,
    batch=2,
    crop_seconds=0.5,
    mask_share=0.4,
    rounds=(
        Round(clusters=4, layer=None, updates=4, peak_lr=1e-3, final_lr=1e-4),
        Round(clusters=3, layer=0, updates=4, peak_lr=1e-3, final_lr=0.0),
    ),
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """One narrow layer and noise instead of speech."""

    def hum(speaker, texts):
        rng = np.random.default_rng(speaker.seed)
        return [0.1 * rng.standard_normal(9_000 + 500 * i).clip(-9, 9) for i in range(len(texts))]

    monkeypatch.setattr(pretrain, "speak", hum)
    for key, value in {
        "encoder_layers": 1,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 32,
    }.items():
        monkeypatch.setitem(pretrain.ARCHITECTURE, key, value)


def numbered_speech():
    """Utterance i is the ramp of its frame numbers; targets say the same."""
    lengths = [370 + 320 * n for n in (30, 40, 50, 35)]
    pieces = [np.arange(n) // 320 + 100 * i for i, n in enumerate(lengths)]
    speech = Speech(np.concatenate(pieces).astype("<i2"), np.cumsum([0, *lengths]).astype(np.int64))
    counts = [frame_count(n) for n in lengths]
    targets = np.concatenate([np.arange(n) + 100 * i for i, n in enumerate(counts)])
    return speech, targets.astype(np.int16), np.cumsum([0, *counts])


def test_crops_and_targets_are_of_the_same_place():
    speech, targets, starts = numbered_speech()
    settings = Settings(utterances=1, held_out=1, batch=8, crop_seconds=0.5, mask_share=0.4)
    source, labels, mask = draw_batch(settings, speech, targets, starts, [1, 2])
    frames = frame_count(8_000)
    assert source.shape == (8, 320 * (frames - 1) + 370)
    assert labels.shape == mask.shape == (8, frames)
    for row, label in zip(source, labels):
        first = row[: 320 * frames : 320] * 32768
        gain = first[-1] / label[-1]
        assert 0.5 <= gain <= 1.5
        np.testing.assert_allclose(first, label * gain, rtol=1e-3, atol=1e-3)
    assert labels.max() < 300, "the held-out utterance"
    _, held, _ = draw_batch(settings, speech, targets, starts, [1, 2], held_out=True)
    assert held.min() >= 300


def test_every_row_masks_as_many_frames_in_spans():
    speech, targets, starts = numbered_speech()
    settings = Settings(
        utterances=1, held_out=1, batch=8, crop_seconds=0.5, mask_share=0.4, mask_dropout=0.0
    )
    _, _, mask = draw_batch(settings, speech, targets, starts, [0])
    masked = set(mask.sum(1))
    assert masked == {round(0.4 * mask.shape[1])}
    edges = np.diff(mask.astype(int), axis=1)
    assert (edges == 1).sum() < mask.sum() / 3, "single frames, not spans"
    holes = draw_batch(replace(settings, mask_dropout=0.5), speech, targets, starts, [0])[2]
    assert set(holes.sum(1)) == {round(0.5 * masked.pop())}
    again = draw_batch(settings, speech, targets, starts, [0])[2]
    np.testing.assert_array_equal(mask, again)


def test_a_killed_run_goes_on_to_the_same_model(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    pretrain.pretrain(SETTINGS, tmp_path / "a", tmp_path / "a.pt", save_every=2)
    whole = torch.load(tmp_path / "a.pt", weights_only=True)
    assert whole["optimizer_history"][-1]["num_updates"] == 8

    real, calls = pretrain._losses, []

    def killed(model, *rest):
        if model.training:
            calls.append(1)
            if len(calls) in kills:
                raise KeyboardInterrupt
        return real(model, *rest)

    kills = {4, 9}
    monkeypatch.setattr(pretrain, "_losses", killed)
    for _ in kills:
        with pytest.raises(KeyboardInterrupt):
            pretrain.pretrain(SETTINGS, tmp_path / "b", tmp_path / "b.pt", save_every=2)
    pretrain.pretrain(SETTINGS, tmp_path / "b", tmp_path / "b.pt", save_every=2)
    resumed = torch.load(tmp_path / "b.pt", weights_only=True)
    assert whole["model"].keys() == resumed["model"].keys()
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


@pytest.mark.parametrize("stop", [3, 4, 6, 8])
def test_a_run_stopped_early_has_the_whole_runs_weights_there(tmp_path, monkeypatch, stop):
    torch.set_num_threads(1)
    course, real = {}, pretrain.save_checkpoint

    def kept(model, settings, path, updates):
        real(model, settings, path, updates)
        course[updates] = torch.load(path, weights_only=True)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "save_checkpoint", kept)
        pretrain.pretrain(SETTINGS, tmp_path / "a", tmp_path / "a.pt", save_every=1)
    out = tmp_path / "b.pt"
    for _ in range(2):
        pretrain.pretrain(SETTINGS, tmp_path / "b", out, stop=stop)
        same(torch.load(out, weights_only=True), course[stop])
        out.unlink()
    pretrain.pretrain(SETTINGS, tmp_path / "b", out)
    same(torch.load(out, weights_only=True), course[8])


def same(one, other):
    assert one["optimizer_history"] == other["optimizer_history"]
    assert one["model"].keys() == other["model"].keys()
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name


def test_a_stop_that_cannot_be_is_refused(tmp_path):
    for stop in (0, 9):
        with pytest.raises(UserError, match=f"--updates is {stop}, expected 1 to 8"):
            pretrain.pretrain(SETTINGS, tmp_path, tmp_path / "a.pt", stop=stop)
    pretrain.pretrain(SETTINGS, tmp_path, tmp_path / "a.pt", stop=5)
    with pytest.raises(UserError, match="is at update 5, past --updates 4; give another --work"):
        pretrain.pretrain(SETTINGS, tmp_path, tmp_path / "a.pt", stop=4)


def test_learning_rate_warms_up_and_falls():
    this = Round(clusters=2, layer=None, updates=100, peak_lr=1.0, final_lr=0.5)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    rates = []
    for update in range(100):
        pretrain._set_lr(optimizer, this, update)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:50] == pytest.approx([(i + 1) / 50 for i in range(50)])
    assert rates[50] == pytest.approx(1.0)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] == pytest.approx(0.51)
