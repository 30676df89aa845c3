"""Audio that is cut off or holds no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from parp_fairseq.manifests import build_table, check_folder, check_manifest
from parp_fairseq.manifests.audio.convert import convert
from parp_fairseq.manifests.audio.headers import AudioError, read_header


def tone(seconds=1.0, rate=16_000):
    return (0.3 * np.sin(np.arange(int(seconds * rate)) / 9)).astype(np.float32)


def cut(path, missing):
    path.write_bytes(path.read_bytes()[:-missing])


@pytest.mark.parametrize("missing", [0.06, 0.5])
@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        *(("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW")),
        *((form, "PCM_16") for form in ("WAVEX", "RF64", "W64", "AIFF", "AU")),
        *(("OGG", subtype) for subtype in ("VORBIS", "OPUS")),
    ],
)
def test_a_file_that_was_cut_off(tmp_path, form, subtype, missing):
    path = tmp_path / "x.audio"
    sound = np.random.default_rng(1).normal(0, 0.1, 32_000)
    soundfile.write(path, sound, 16_000, format=form, subtype=subtype)
    short = []
    assert read_header(path, short=short) == 32_000 and not short
    cut(path, int(missing * path.stat().st_size))
    with pytest.raises(AudioError, match=r"x\.audio (is cut off|cannot be read as audio)"):
        read_header(path)
    assert convert(path, tmp_path / "x.flac").fault


def test_a_recorders_header_that_counts_a_buffer_too_many(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(2.0), 16_000)
    cut(path, 726)
    short = []
    assert read_header(path, short=short) == 32_000 - 363
    assert short == [str(path)]
    assert convert(path, tmp_path / "x.flac").samples == 32_000 - 363
    read_header(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFF00, 0x7FFFFFFF, 0x7FFFF000])
def test_sizes_that_a_pipe_leaves_are_no_damage(tmp_path, size):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    data[4:8] = min(size + 36, 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(data)
    short = []
    assert read_header(path, short=short) == 16_000 and not short


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


def test_a_little_short_is_told_and_refused_by_nothing(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", tone(2.0), 16_000)
    cut(tmp_path / "a.wav", 726)
    rows = "path\ttext\tsplit\na.wav\tE\ttrain\nb.wav\tE\tvalid\n"
    (tmp_path / "t.tsv").write_text(rows, encoding="utf-8")
    summary = build_table(tmp_path / "t.tsv", tmp_path / "out")
    (warning,) = summary.warnings
    assert warning.startswith("1 files end a little before") and "a.wav" in warning
    report = check_folder(tmp_path / "out", decode=True)
    (finding,) = report.findings
    assert report.ok and (finding.split, finding.level) == ("train", "warning")
    assert finding.problem == "audio a little short" and "a.wav" in finding.first
    check_manifest(tmp_path / "out", "train", "ltr", training=True)


def test_what_decoding_alone_finds(tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.flac", tone(2.0), 16_000)
    rows = "path\ttext\tsplit\na.flac\tE\ttrain\nb.flac\tE\tvalid\n"
    (tmp_path / "t.tsv").write_text(rows, encoding="utf-8")
    cut(tmp_path / "a.flac", 3_000)
    build_table(tmp_path / "t.tsv", tmp_path / "out")
    assert check_folder(tmp_path / "out").ok
    (finding,) = check_folder(tmp_path / "out", decode=True).findings
    assert finding.level == "error" and finding.problem == "audio ends early"
    # What others' manifests may name.
    soundfile.write(tmp_path / "c.mp3", tone(2.0), 16_000, format="MP3")
    cut(tmp_path / "c.mp3", 1_000)
    frames = soundfile.info(tmp_path / "c.mp3").frames
    (tmp_path / "out/train.tsv").write_text(f"{tmp_path}\nc.mp3\t{frames}\n", encoding="utf-8")
    (finding,) = check_folder(tmp_path / "out", decode=True).findings
    assert finding.problem == "audio ends early"
