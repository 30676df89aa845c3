"""How tiny models are made: targets, batches, options, and runs that resume bit by bit."""

import ast
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from tiny_model import make, pretrain
from tiny_model.clusters import frame_count
from tiny_model.pretrain import ARCHITECTURE, Round, Settings, Speech, draw_batch
from tiny_model.recorded import recorded_speech

from parp_fairseq.demo.sentences import words_of
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


@pytest.mark.parametrize("samples", [369, 370, 689, 690, 16_000, 40_001])
def test_a_frame_is_what_the_front_end_makes(samples):
    length = samples
    for _, kernel, stride in ast.literal_eval(ARCHITECTURE["conv_feature_layers"]):
        length = (length - kernel) // stride + 1
    assert frame_count(samples) == max(0, length)


def spoken(**options):
    settings = Settings(**options)
    return list(pretrain._speakers(settings, np.random.default_rng([settings.seed, 7])))


def language(speaker):
    return speaker.voice.split("+")[0]


def test_every_language_has_its_share_of_speakers_words_and_noise():
    options = {"languages": ("nl", "zh-TW", "tr"), "speakers": 20, "utterances": 3}
    speakers = spoken(**options)
    assert Counter(language(one) for one, _ in speakers) == {"nl": 7, "cmn": 7, "tr": 6}
    noisy = Counter(language(one) for one, _ in speakers if one.snr_db is not None)
    assert noisy == {"nl": 2, "cmn": 2, "tr": 2}
    codes = {"nl": "nl", "cmn": "zh-TW", "tr": "tr"}
    for speaker, texts in speakers:
        words = {word for text in texts for word in text.split()}
        assert len(texts) == 3 and words <= set(words_of(codes[language(speaker)]))
    assert spoken(**options) == speakers != spoken(seed=2, **options)
    english = spoken(speakers=6, utterances=1)
    assert all(speaker.voice.startswith("en-") for speaker, _ in english)
    assert [speaker.snr_db is None for speaker, _ in english].count(True) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--languages", "nl,xx"], "no words of 'xx' here; use es, fr"),
        (["--languages", "nl"], "the English model; give --out"),
        (["--languages", "nl", "--audio", "x"], "--languages does not go with --audio"),
        (["--rounds", "600,x"], "--rounds is 600,x, expected 2 numbers of 1 or more"),
        (["--speakers", "3"], "--speakers is 3, expected 7 or more"),
    ],
)
def test_bad_options_end_in_a_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert make.main(options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_recordings_are_read_once_in_a_seeded_order(tmp_path):
    with pytest.raises(UserError, match="no WAV or FLAC"):
        recorded_speech([tmp_path], 1)
    for number, name in enumerate(("a/1.WAV", "a/b/2.flac", "c/3.wav")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.full(400 + number, 0.1 * (number + 1)), 16_000)
    speech, again = (recorded_speech([tmp_path / "a", tmp_path / "c"], 3) for _ in range(2))
    assert sorted(len(speech.utterance(i)) for i in range(len(speech))) == [400, 401, 402]
    for index in range(3):
        piece = speech.utterance(index)
        np.testing.assert_allclose(piece, 0.1 * (len(piece) - 399), atol=1e-4)
    assert np.array_equal(speech.samples, again.samples)
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 8_000)
    with pytest.raises(UserError, match=r"x\.wav is not 16000 Hz mono"):
        recorded_speech([tmp_path], 1)


BATCHES = Settings(utterances=1, held_out=1, batch=8, crop_seconds=0.5, mask_share=0.4)


def numbered_speech():
    """Utterance i is the ramp of its frame numbers; targets say the same."""
    lengths = [370 + 320 * n for n in (30, 40, 50, 35)]
    pieces = [np.arange(n) // 320 + 100 * i for i, n in enumerate(lengths)]
    counts = [frame_count(n) for n in lengths]
    targets = np.concatenate([np.arange(n) + 100 * i for i, n in enumerate(counts)])
    speech = Speech.joined([piece.astype("<i2") for piece in pieces])
    return speech, targets.astype(np.int16), np.cumsum([0, *counts])


def test_crops_and_targets_are_of_the_same_place():
    numbered = numbered_speech()
    source, labels, mask = draw_batch(BATCHES, *numbered, [1, 2])
    frames = frame_count(8_000)
    assert source.shape == (8, 320 * (frames - 1) + 370)
    assert labels.shape == mask.shape == (8, frames)
    for row, label in zip(source, labels):
        first = row[: 320 * frames : 320] * 32768
        gain = first[-1] / label[-1]
        assert 0.5 <= gain <= 1.5
        np.testing.assert_allclose(first, label * gain, rtol=1e-3, atol=1e-3)
    assert labels.max() < 300, "the held-out utterance"
    assert draw_batch(BATCHES, *numbered, [1, 2], held_out=True)[1].min() >= 300


@pytest.fixture
def small(monkeypatch):
    """One narrow layer and noise instead of speech."""

    def hum(speaker, texts):
        rng = np.random.default_rng(speaker.seed)
        return [0.1 * rng.standard_normal(9_000 + 500 * i).clip(-9, 9) for i in range(len(texts))]

    torch.set_num_threads(1)
    monkeypatch.setattr(pretrain, "speak", hum)
    sizes = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32}
    for key, value in sizes.items():
        monkeypatch.setitem(pretrain.ARCHITECTURE, key, value)


def same(one, other):
    assert one["optimizer_history"] == other["optimizer_history"]
    assert one["model"].keys() == other["model"].keys()
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name


@pytest.mark.parametrize("stop", [3, 4, 6])
def test_a_run_stopped_early_has_the_whole_runs_weights_there(small, tmp_path, monkeypatch, stop):
    course, real = {}, pretrain.save_checkpoint

    def kept(model, settings, path, updates):
        real(model, settings, path, updates)
        course[updates] = torch.load(path, weights_only=True)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "save_checkpoint", kept)
        pretrain.pretrain(SETTINGS, tmp_path / "a", tmp_path / "a.pt", save_every=1)
    assert course[8]["optimizer_history"][-1]["num_updates"] == 8
    out, work = tmp_path / "b.pt", tmp_path / "b"
    for _ in range(2):
        pretrain.pretrain(SETTINGS, work, out, stop=stop)
        same(torch.load(out, weights_only=True), course[stop])
        out.unlink()
    with pytest.raises(UserError, match=f"is at update {stop}, past --updates 2; give another"):
        pretrain.pretrain(SETTINGS, work, out, stop=2)
    with pytest.raises(UserError, match="--updates is 9, expected 1 to 8"):
        pretrain.pretrain(SETTINGS, work, out, stop=9)
    with pytest.raises(UserError, match=r"begun with languages \[\], not \['fr'\]; give"):
        pretrain.pretrain(replace(SETTINGS, languages=("fr",)), work, out)
    pretrain.pretrain(SETTINGS, work, out)
    same(torch.load(out, weights_only=True), course[8])
