from __future__ import annotations

import numpy as np
import pytest
import soundfile
from tiny_model.pretrain import Settings, architecture
from tiny_model.recorded import recorded_speech

from parp_fairseq.errors import UserError


def test_every_file_is_there_once_in_a_seeded_order(tmp_path):
    for number, name in enumerate(("a/1.WAV", "a/b/2.flac", "c/3.wav")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.full(400 + number, 0.1 * (number + 1)), 16_000)
    speech = recorded_speech([tmp_path / "a", tmp_path / "c"], 3)
    assert sorted(len(speech.utterance(i)) for i in range(len(speech))) == [400, 401, 402]
    for index in range(3):
        piece = speech.utterance(index)
        np.testing.assert_allclose(piece, 0.1 * (len(piece) - 399), atol=1e-4)
    again = recorded_speech([tmp_path / "a", tmp_path / "c"], 3)
    assert np.array_equal(speech.samples, again.samples)


def test_other_audio_and_empty_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="no WAV or FLAC"):
        recorded_speech([tmp_path], 1)
    soundfile.write(tmp_path / "x.wav", np.zeros(100), 8_000)
    with pytest.raises(UserError, match=r"x\.wav is not 16000 Hz mono"):
        recorded_speech([tmp_path], 1)


def test_a_wider_model_is_wider_throughout():
    assert architecture(Settings())["encoder_embed_dim"] == 128
    wide = architecture(Settings(width=192))
    assert (wide["encoder_embed_dim"], wide["encoder_ffn_embed_dim"]) == (192, 768)
