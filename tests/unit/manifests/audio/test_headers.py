from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import write_audio

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio import headers as audio
from parp_fairseq.manifests.audio.headers import AudioError, HeaderReader, read_header, read_headers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("headers")


def flac(frames: int, rate: int, channels: int, subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    wave = np.zeros((frames, channels))
    soundfile.write(stream, wave, rate, format="FLAC", subtype=subtype)
    return stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 70_000),
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 96_000]),
    channels=st.integers(1, 8),
    subtype=st.sampled_from(["PCM_S8", "PCM_16", "PCM_24"]),
)
def test_flac_headers_are_what_soundfile_says(folder, frames, rate, channels, subtype):
    path = folder / "a.flac"
    path.write_bytes(flac(frames, rate, channels, subtype))
    info = soundfile.info(str(path))
    assert audio._flac_header(path) == (info.samplerate, info.channels, info.frames)


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, 7) | st.integers(18, 25) | st.integers(42, 44),
    byte=st.integers(0, 255),
    length=st.integers(0, 200) | st.just(10_000),
)
def test_a_damaged_or_cut_beginning_is_not_taken_for_a_sound_one(folder, at, byte, length):
    data = bytearray(flac(5000, 16_000, 1))
    data[at] = byte
    path = folder / "b.flac"
    path.write_bytes(data[:length])
    quick = audio._flac_header(path)
    try:
        info = soundfile.info(str(path))
    except soundfile.SoundFileError:
        assert quick is None
    else:
        assert quick in (None, (info.samplerate, info.channels, info.frames))


def test_long_blocks_before_the_first_frame(folder):
    data = flac(5000, 16_000, 1)
    padding = b"\x01" + (3000).to_bytes(3, "big") + bytes(3000)
    path = folder / "c.flac"
    path.write_bytes(data[:42] + padding + data[42:])
    assert audio._flac_header(path) == (16_000, 1, 5000)
    assert soundfile.info(str(path)).frames == 5000
    frame = data.index(b"\xff\xf8", 42)
    first, second = (data[:at] + b"\0" + data[at + 1 :] for at in (frame, frame + 1))
    for damaged in (first, second, data[:frame]):
        path.write_bytes(damaged)
        assert audio._flac_header(path) is None
    path.write_bytes(data[:42] + padding[:-1] + data[42:])
    assert audio._flac_header(path) is None


def test_other_formats_and_problems_have_names(tmp_path):
    write_audio(tmp_path / "a.wav", 900)
    assert read_header(tmp_path / "a.wav") == 900
    assert read_header(str(tmp_path / "a.wav")) == 900
    write_audio(tmp_path / "rate.flac", 900, rate=44_100)
    write_audio(tmp_path / "two.flac", 900, channels=2)
    (tmp_path / "empty.flac").write_bytes(b"")
    (tmp_path / "text.flac").write_text("no audio at all, but long enough to be read" * 3)
    (tmp_path / "head.flac").write_bytes(flac(900, 16_000, 1)[:42])
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    for name, problem in {
        "rate.flac": "other sample rate",
        "two.flac": "not mono",
        "empty.flac": "empty file",
        "text.flac": "damaged audio",
        "gone.flac": "missing audio",
        "none.wav": "no sound",
    }.items():
        with pytest.raises(AudioError) as caught:
            read_header(tmp_path / name)
        assert caught.value.problem == problem and name in str(caught.value)


def test_many_files_keep_their_order_and_the_first_bad_one_is_told(tmp_path):
    paths = []
    for index in range(200):
        paths.append(tmp_path / f"{index}.flac")
        write_audio(paths[-1], 1000 + index)
    for jobs in (1, 3):
        assert read_headers(paths, jobs=jobs) == [1000 + index for index in range(200)]
    with HeaderReader(200, jobs=2) as reader:
        assert reader(paths[:3]) == [1000, 1001, 1002]
        assert reader(paths[150:]) == [1150 + index for index in range(50)]
    paths[70].write_bytes(b"")
    paths[130].unlink()
    with pytest.raises(AudioError, match=r"70\.flac"):
        read_headers(paths, jobs=4)
    with HeaderReader(200, jobs=4) as reader:
        results = list(reader.results(paths))
    bad = {i: r.problem for i, r in enumerate(results) if isinstance(r, AudioError)}
    assert bad == {70: "empty file", 130: "missing audio"}
    with pytest.raises(UserError, match="jobs is 0"):
        read_headers(paths, jobs=0)
