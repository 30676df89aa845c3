"""Audio of every kind, good and bad, against what `parp manifest` makes of it."""

import os

import numpy as np
import pytest
import soundfile

from parp_fairseq.errors import UserError
from parp_fairseq.inference.audio import blocks, find_recordings
from parp_fairseq.manifests.audio.convert import convert
from parp_fairseq.manifests.audio.headers import read_recording


def noise(seconds, rate=16_000, channels=1):
    random = np.random.default_rng(4)
    return random.normal(0, 0.1, (int(seconds * rate), channels))


def samples(path):
    return np.concatenate(list(blocks(read_recording(path))))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_those_of_converted_audio(rate, channels, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(23.4, rate, channels), rate, subtype="PCM_16")
    convert(tmp_path / "a.wav", tmp_path / "a.flac")
    expected, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    recording = read_recording(tmp_path / "a.wav")
    assert (recording.rate, recording.channels) == (rate, channels)
    assert recording.seconds == pytest.approx(23.4, abs=1e-3)
    found = samples(tmp_path / "a.wav")
    assert found.dtype == np.float32 and len(found) == len(expected)
    # FLAC of 16 bits rounds what was resampled.
    assert np.abs(found - expected).max() <= 1 / 32768


def test_folders_are_walked_in_order_and_files_come_once(tmp_path):
    for name in (
        "b/2.wav",
        "b/10.FLAC",
        "a.wav",
        ".hidden/x.wav",
        "b/.y.wav",
        "c.txt",
        "d.ogg",
        "e.M4A",
        "b/f.webm",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    # Of other names, the content counts.
    for name, start in (("b/3", b"RIFF....WAVE"), ("f.sph", b"NIST_1A"), ("g", b"\x1aE\xdf\xa3")):
        (tmp_path / name).write_bytes(start)
    (tmp_path / "h.mkv").write_bytes(b"\x1aE\xdf\xa3")
    found, unread = find_recordings([tmp_path / "d.ogg", tmp_path, tmp_path / "b" / "2.wav"])
    assert unread == {".m4a": 1, ".webm": 1, ".mkv": 1, "nothing": 1}
    names = [path.relative_to(tmp_path).as_posix() for path in found]
    assert names == ["d.ogg", "a.wav", "b/10.FLAC", "b/2.wav", "b/3", "f.sph"]
    # A file that is named is taken whatever it is called.
    assert find_recordings([tmp_path / "c.txt"])[0] == [tmp_path / "c.txt"]


def test_a_name_that_is_not_utf8(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav")
    try:
        with open(odd, "wb") as handle:
            handle.write(b"x")
    except OSError:
        pytest.skip("names are UTF-8 on this file system")
    for given in (tmp_path, os.fsdecode(odd)):
        with pytest.raises(UserError, match=r"/caf\\xe9\.wav: its name is not UTF-8; rename it"):
            find_recordings([given])
