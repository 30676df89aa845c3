"""How long audio files are, and which are refused."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import write_audio, write_lines

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.convert import convert
from parp_fairseq.manifests.audio.headers import AudioError, count_samples, in_threads, read_header
from parp_fairseq.manifests.audio.mp3 import mp3_frames
from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.check.split import check_manifest
from parp_fairseq.manifests.corpora.own_table import build_table

TAG = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
TAG_AND_FOOTER = b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI\x04\0\x10\0\0\0\x0a"
TITLE = b"ID3\x03\0\0\0\0\0\x1aTIT2\0\0\0\x10\0\0\0Info - Kanal 55"


def tone(seconds=1.0, rate=16_000):
    return (0.3 * np.sin(np.arange(int(seconds * rate)) / 9)).astype(np.float32)


def cut(path, missing):
    path.write_bytes(path.read_bytes()[:-missing])


def problem_of(path):
    with pytest.raises(AudioError) as caught:
        count_samples(path).check_fits()
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.problem


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
    header = count_samples(path)
    assert (header.frames, header.missing) == (32_000, 0)
    cut(path, int(missing * path.stat().st_size))
    assert problem_of(path) in ("audio ends early", "damaged audio")
    with pytest.raises(AudioError):
        convert(path, tmp_path / "x.flac")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFF00, 0x7FFFFFFF, 0x7FFFF000])
def test_sizes_that_a_pipe_leaves_are_no_damage(tmp_path, size):
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    data[4:8] = min(size + 36, 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(data)
    header = read_header(path)
    assert (header.frames, header.missing) == (16_000, 0)


def test_problems_have_names(tmp_path):
    write_audio(tmp_path / "a.flac", 900)
    good = (tmp_path / "a.flac").read_bytes()
    write_audio(tmp_path / "rate.flac", 900, rate=44_100)
    write_audio(tmp_path / "two.flac", 900, channels=2)
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "scale.wav", tone() * 32_767, 16_000, subtype="FLOAT")
    for subtype in ("FLOAT", "DOUBLE"):
        samples = tone(6.0)
        samples[70_000] = np.nan if subtype == "FLOAT" else -np.inf
        soundfile.write(tmp_path / f"{subtype}.wav", samples, 16_000, subtype=subtype)
    contents = {
        "empty.flac": b"",
        "text.flac": b"no audio at all, but long enough to be read" * 3,
        "phone.wav": b"\0\0\0\x18ftypmp42" + bytes(99),
        "browser.wav": b"\x1aE\xdf\xa3" + bytes(99),
        # As FLAC that was written into a pipe: the number of samples is unknown.
        "piped.flac": good[:21] + bytes([good[21] & 0xF0]) + bytes(4) + good[26:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    expected = {
        "rate.flac": "other sample rate",
        "two.flac": "not mono",
        "none.wav": "no sound",
        "scale.wav": "other scale",
        "FLOAT.wav": "NaN or infinity",
        "DOUBLE.wav": "NaN or infinity",
        "empty.flac": "empty file",
        "text.flac": "damaged audio",
        "phone.wav": "other format",
        "browser.wav": "other format",
        "piped.flac": "unknown length",
        "folder": "a folder",
        "gone.flac": "missing audio",
    }
    assert {name: problem_of(tmp_path / name) for name in expected} == expected


def test_mp3_is_read_to_its_end_or_refused(tmp_path):
    """libsndfile goes by the first frame: what it would miss is refused, whatever is in front."""
    noise = np.random.default_rng(0).normal(0, 0.2, 144_000) * np.repeat([0.001, 1], 72_000)
    parts = {}
    for mode in ("VARIABLE", "CONSTANT"):
        soundfile.write(tmp_path / "x.mp3", noise, 48_000, bitrate_mode=mode)
        parts[mode] = (tmp_path / "x.mp3").read_bytes()
    # Without the first frame nothing tells how long it is.
    bare = parts["VARIABLE"][parts["VARIABLE"].index(b"\xff\xfb", 40) :]
    whole = parts["CONSTANT"]
    for name, content in {
        "v": parts["VARIABLE"],
        "c": whole,
        "title": TITLE + whole,
        "title too": TITLE.replace(b"Info", b"Xing") + whole,
        "tags": TAG + TAG_AND_FOOTER + whole + b"TAG" + bytes(125),
        "ape": whole + b"APETAGEX" + bytes([208, 7, 0, 0, 32]) + bytes(27),
    }.items():
        path = tmp_path / (f"{name}.mp3" if name == "tags" else f"{name}.wav")
        path.write_bytes(content)
        assert count_samples(path).samples == 48_000, name
    for name, (content, problem) in {
        "bare": (bare, "audio ends late"),
        "two": (TAG + TAG + bare, "audio ends late"),
        "footer": (TAG_AND_FOOTER + bare, "audio ends late"),
        "zeros": (bytes(100) + bare, "audio ends late"),
        "joined": (whole + whole, "audio ends late"),
        "joined tags": (TAG + whole + b"TAG" + bytes(125) + TAG + whole, "audio ends late"),
        "cut": (whole[: len(whole) // 2], "audio ends early"),
        "cut a little": (whole[: int(0.97 * len(whole))], "audio ends early"),
    }.items():
        for ending in ("mp3", "wav"):
            path = tmp_path / f"{name}.{ending}"
            path.write_bytes(content)
            # Behind zeros and footers libsndfile knows MP3 by its name only.
            assert problem_of(path) in (problem, "damaged audio"), name
            assert ending == "wav" or problem_of(path) == problem, name


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 32_000, 44_100, 48_000]),
    mode=st.sampled_from(["CONSTANT", "AVERAGE", "VARIABLE"]),
    seconds=st.floats(0.03, 3.0),
)
def test_frames_of_healthy_mp3_files_are_never_too_many(tmp_path_factory, rate, mode, seconds):
    path = tmp_path_factory.getbasetemp() / "healthy.mp3"
    soundfile.write(path, tone(seconds, rate), rate, bitrate_mode=mode)
    enough, was_cut = mp3_frames(path)
    assert not was_cut and enough <= seconds * 16_000 + 1
    assert enough > (seconds - 6 * 1152 / rate) * 16_000 - 1
    assert count_samples(path).samples == pytest.approx(seconds * 16_000, abs=2)


def test_what_a_mac_leaves_next_to_a_file_is_not_looked_at(tmp_path):
    soundfile.write(tmp_path / "x.mp3", tone(1.0), 16_000)
    (tmp_path / "._x.mp3").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(200))
    assert count_samples(tmp_path / "x.mp3").samples == 16_000


def test_a_little_short_is_told_and_refused_by_nothing(tmp_path):
    """As recorders leave it, whose header counts a buffer too many."""
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", tone(2.0), 16_000)
    cut(tmp_path / "a.wav", 726)
    assert read_header(tmp_path / "a.wav").frames == 32_000 - 363
    assert convert(tmp_path / "a.wav", tmp_path / "x.flac") == 32_000 - 363
    rows = ["path\ttext\tsplit", "a.wav\tE\ttrain", "b.wav\tE\tvalid"]
    (warning,) = build_table(write_lines(tmp_path / "t.tsv", rows), tmp_path / "out").warnings
    assert warning.startswith("1 files end a little before") and "a.wav" in warning
    report = check_folder(tmp_path / "out", decode=True)
    (finding,) = report.findings
    assert report.ok and (finding.split, finding.level) == ("train", "warning")
    assert finding.problem == "audio a little short" and "a.wav" in finding.first
    check_manifest(tmp_path / "out", "train", "ltr", training=True)


def test_many_files_keep_their_order_and_errors_their_place(tmp_path):
    paths = [tmp_path / f"{index}.flac" for index in range(200)]
    for index, path in enumerate(paths):
        write_audio(path, 1000 + index)
    paths[70].write_bytes(b"")
    paths[130].unlink()
    for jobs in (1, 4):
        results = in_threads(read_header, paths, jobs=jobs)
        bad = {i: r.problem for i, r in enumerate(results) if isinstance(r, AudioError)}
        assert bad == {70: "empty file", 130: "missing audio"}
        assert all(i in bad or r.frames == 1000 + i for i, r in enumerate(results))
    with pytest.raises(UserError, match=r"--jobs must be at least 1 \(got 0\)"):
        in_threads(read_header, paths, jobs=0)
