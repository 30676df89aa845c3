"""Audio that is cut off or holds no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from parp_fairseq.manifests.audio.convert import convert
from parp_fairseq.manifests.audio.headers import AudioError, read_header


def tone(seconds=1.0, rate=16_000):
    return (0.3 * np.sin(np.arange(int(seconds * rate)) / 9)).astype(np.float32)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("missing", [2, 1_000, 20_000])
def test_a_wav_file_that_was_cut_off(tmp_path, subtype, missing):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16_000, subtype=subtype)
    assert read_header(path) == 16_000
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(AudioError, match=r"x\.wav is cut off"):
        read_header(path)
    assert convert(path, tmp_path / "x.flac").fault.startswith("cut off")


def test_sizes_that_a_pipe_leaves_are_no_damage(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read_header(path) > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_numbers(tmp_path, bad, subtype):
    samples = tone(6.0)
    samples[70_000] = bad
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype=subtype)
    with pytest.raises(AudioError, match=r"x\.wav holds NaN or infinity"):
        read_header(tmp_path / "x.wav")
    soundfile.write(tmp_path / "8.wav", samples, 8_000, subtype=subtype)
    fault = convert(tmp_path / "8.wav", tmp_path / "8.flac").fault
    assert fault == "NaN or infinity in its samples"
    assert not (tmp_path / "8.flac").exists()


@pytest.mark.parametrize("share", [0.97, 0.5])
def test_an_mp3_file_that_was_cut_off(tmp_path, share):
    path = tmp_path / "x.mp3"
    soundfile.write(path, tone(4.0, 48_000), 48_000, format="MP3")
    assert not convert(path, tmp_path / "whole.flac").fault
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert convert(path, tmp_path / "x.flac").fault


def test_a_folder_is_no_audio(tmp_path):
    with pytest.raises(AudioError, match="is a folder"):
        read_header(tmp_path)
