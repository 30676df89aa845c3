"""How long audio files are, and which are refused: headers alone are not believed."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import write_audio, write_lines

from parp_fairseq.errors import UserError
from parp_fairseq.inference.audio import blocks
from parp_fairseq.manifests.audio.convert import convert
from parp_fairseq.manifests.audio.headers import (
    AudioError,
    Recording,
    check_length,
    in_threads,
    opened,
    read_recording,
)
from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.check.split import check_manifest
from parp_fairseq.manifests.corpora.own_table import build_table

TAG = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
FOOTER = b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI\x04\0\x10\0\0\0\x0a"
TITLE = b"ID3\x03\0\0\0\0\0\x1aTIT2\0\0\0\x10\0\0\0Info - Kanal 55"
PICTURE = b"ID3\x04\0\0\0\x3e\0\0" + bytes(62 << 14)
ID3V1 = b"TAG" + bytes(125)
NOISE = np.random.default_rng(0).normal(0, 0.2, 48_000) * np.repeat([0.001, 1], 24_000)


def tone(seconds=1.0, rate=16_000):
    return (0.3 * np.sin(np.arange(int(seconds * rate)) / 9)).astype(np.float32)


def coded(form, subtype=None, sound=NOISE, rate=16_000, **options):
    """A whole file of three seconds."""
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=form, subtype=subtype, **options)
    return file.getvalue()


def floats(sound):
    return coded("WAV", "FLOAT", sound)


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def counted(data, mark, size, order="<"):
    """A file whose chunk `mark` says that it has `size` bytes."""
    return patched(data, data.index(mark) + len(mark), struct.pack(f"{order}I", size))


def flac_of(samples):
    """FLAC whose header counts so many samples; 0 is unknown, as written into a pipe."""
    data = coded("FLAC")
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return patched(data, 18, fields.to_bytes(8, "big"))


WAV, FLAC, OGG, OPUS = coded("WAV"), coded("FLAC"), coded("OGG"), coded("OGG", "OPUS")
AU, AIFF, RF64, CAF = (coded(form) for form in ("AU", "AIFF", "RF64", "CAF"))
VBR, CBR = (coded("MP3", bitrate_mode=mode) for mode in ("VARIABLE", "CONSTANT"))
# Without the first frame nothing tells how long it is.
BARE = VBR[VBR.index(b"\xff\xf3", 40) :]
CHUNK = b"_PMX" + struct.pack("<I", 30_000) + b"x" * 30_000
QUIET = coded("WAV", sound=np.append(np.zeros(16_000), NOISE))
STEREO = np.stack([NOISE, -0.9 * NOISE], axis=1)
OTHER = {
    "browser": b"\x1aE\xdf\xa3",
    "phone": b"\0\0\0\x18ftypmp42",
    "camera": b"\0\0\0\x08wide",
    "old phone": b"#!AMR\n",
    "stick": b"0&\xb2u\x8ef\xcf\x11",
    "radio": b"\xff\xf1P\x80",
}
OTHER_SCALE = {"int16": 2**15, "int8": 2**7, "int24": 2**23, "int32": 2**31}

MP3_IN_WAV = (
    struct.pack("<4sI8sI", b"RIFF", len(CBR) + 50, b"WAVEfmt ", 30)
    + struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16_000, 4000, 1, 0, 12, 1, 2, 144, 1, 0)
    + struct.pack("<4sI", b"data", len(CBR))
    + CBR
)

CUT = {
    **{"mp3": CBR, "flac": FLAC, "ogg": OGG, "opus": OPUS, "au": AU, "aiff": AIFF, "rf64": RF64},
    **{subtype: coded("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW")},
    **{form: coded(form) for form in ("WAVEX", "W64")},
}
EARLY, LATE, DAMAGED = "audio ends early", "audio ends late", "damaged audio"
REFUSED = {
    **{f"{n} joined": (d + d, LATE) for n, d in {"flac": FLAC, "ogg": OGG, "opus": OPUS}.items()},
    **{f"{n} joined": (d + d, LATE) for n, d in {"au": AU, "rf64": RF64, "caf": CAF}.items()},
    "wav joined": (WAV + WAV, DAMAGED),
    "mp3 joined": (CBR + CBR, LATE),
    "mp3 joined with tags": (TAG + VBR + ID3V1 + TITLE + VBR, LATE),
    "mp3 joined behind a picture": (PICTURE + CBR + CBR, LATE),
    "mp3 without a length": (BARE, LATE),
    "mp3 behind two tags": (TAG + TAG + BARE, LATE),
    "mp3 behind a footer": (FOOTER + BARE, DAMAGED),
    "mp3 behind zeros": (bytes(100) + BARE, DAMAGED),
    "mp3 in wav, cut": (MP3_IN_WAV[: len(MP3_IN_WAV) // 2], EARLY),
    "mp3 in wav, joined": (MP3_IN_WAV + CBR, LATE),
    **{f"{name} cut": (data[: int(0.94 * len(data))], EARLY) for name, data in CUT.items()},
    "wav of a stream": (counted(counted(WAV, b"data", 0), b"RIFF", 0), LATE),
    "wav of a stream, quiet at first": (counted(QUIET, b"data", 0), LATE),
    "wav that counts a half": (counted(WAV, b"data", 48_000), LATE),
    "aiff that counts a half": (
        patched(counted(AIFF, b"SSND", 48_008, ">"), AIFF.index(b"COMM") + 10, b"\0\0\x5d\xc0"),
        LATE,
    ),
    "au of a stream": (patched(AU, 8, bytes(4)), LATE),
    "rf64 of a stream": (patched(RF64, RF64.index(b"ds64") + 16, bytes(8)), LATE),
    "flac that counts a half": (flac_of(24_000), LATE),
    "flac that counts double": (flac_of(96_000), EARLY),
    "flac without a length": (flac_of(0), "unknown length"),
    "caf without a length": (patched(CAF, CAF.index(b"data") + 4, b"\xff" * 8), DAMAGED),
    "nothing": (b"", "empty file"),
    "no audio": (b"no audio at all, but long enough to be read" * 3, DAMAGED),
    **{f"of a {name}": (start + bytes(99), "other format") for name, start in OTHER.items()},
    "without samples": (coded("WAV", sound=np.zeros(0)), "no sound"),
    "short": (coded("WAV", sound=np.ones(399)), "shorter than 25 ms"),
    "nan": (floats(np.append(NOISE, np.nan)), "NaN or infinity"),
    "infinity": (coded("WAV", "DOUBLE", np.append(NOISE, -np.inf)), "NaN or infinity"),
    **{f"{n} as floats": (floats(NOISE * k), "other scale") for n, k in OTHER_SCALE.items()},
}


def transcribed(path):
    """As `parp transcribe` reads a file."""
    with opened(path) as (_, recording):
        check_length(path, recording.samples)
    return [*blocks(recording)]


@pytest.mark.parametrize("name", REFUSED)
def test_one_rule_refuses_for_all_commands(tmp_path, name, capfd):
    """Whatever the file is called, by its header or decoded; libmpg123's notes are not shown."""
    content, problem = REFUSED[name]
    for ending in ("wav", "mp3"):
        path = tmp_path / f"x.{ending}"
        path.write_bytes(content)
        for use in (
            read_recording,
            lambda path: read_recording(path, decode=True),
            lambda path: convert(path, tmp_path / "out.flac"),
            transcribed,
        ):
            with pytest.raises(AudioError) as caught:
                use(path)
            assert caught.value.problem == problem
            assert path.name in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out.flac").exists() and capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    {
        "vbr": VBR,
        "title": TITLE + CBR,
        "title too": TITLE.replace(b"Info", b"Xing") + CBR,
        "tags": PICTURE + CBR + ID3V1,
        "ape": CBR + b"APETAGEX" + bytes([208, 7, 0, 0, 32]) + bytes(27),
        "flac with tags": PICTURE + FLAC + ID3V1,
        "mp3 in wav": MP3_IN_WAV,
        "chunks": counted(WAV, b"RIFF", len(WAV) + len(CHUNK) - 8) + CHUNK,
        "aiff chunks": AIFF + b"ID3 " + struct.pack(">I", 30_000) + b"x" * 30_000,
        "padding": WAV + bytes(30_000),
        **{hex(n): counted(WAV, b"data", n) for n in (0xFFFFFFFF, 0xFFFFFF00, 0x7FFFF000)},
        **{s: coded("WAV", s) for s in ("PCM_U8", "PCM_24", "FLOAT", "ULAW", "GSM610")},
        **{f: coded(f) for f in ("WAVEX", "NIST", "W64")},
    }.items(),
    ids=lambda item: item[0],
)
def test_healthy_files_are_read_whatever_follows_their_sound(tmp_path, content):
    (tmp_path / "x").write_bytes(content[1])
    found = read_recording(tmp_path / "x")
    assert (found.samples, found.missing) == (48_000, 0)
    assert read_recording(tmp_path / "x", decode=True).frames == found.frames


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 32_000, 44_100, 48_000]),
    form=st.sampled_from(["CONSTANT", "AVERAGE", "VARIABLE", "FLAC", "OGG", "WAV"]),
    seconds=st.floats(0.03, 3.0),
)
def test_no_healthy_file_is_refused(tmp_path_factory, rate, form, seconds):
    path = tmp_path_factory.getbasetemp() / "healthy"
    options = {} if len(form) < 5 else {"bitrate_mode": form}
    path.write_bytes(coded("MP3" if options else form, None, tone(seconds, rate), rate, **options))
    assert read_recording(path).samples == pytest.approx(seconds * 16_000, abs=2)
    assert not read_recording(path, decode=True).missing


@pytest.mark.parametrize(
    ("path", "rate", "channels", "problem"),
    [
        ("a.wav", 44_100, 1, "other sample rate"),
        ("a.wav", 16_000, 2, "not mono"),
        ("10:30/a.WAV", 16_000, 1, "colon in its path"),
        ("a:1.mp3", 16_000, 1, "colon in its path"),
        ("x.zip:9:10", 16_000, 1, "colon in its path"),
        ("a.RAW", 16_000, 1, "called raw"),
        ("10:30/a.wav", 16_000, 1, None),
        ("a.WAV", 16_000, 1, None),
    ],
)
def test_what_fairseq_cannot_read_as_it_is(path, rate, channels, problem):
    recording = Recording(Path(path), rate, channels, 16_000)
    if problem is None:
        return recording.check_fits()
    with pytest.raises(AudioError) as caught:
        recording.check_fits()
    assert caught.value.problem == problem


def test_what_a_mac_leaves_next_to_a_file(tmp_path):
    (tmp_path / "x.mp3").write_bytes(CBR)
    (tmp_path / "._x.mp3").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(200))
    recording = read_recording(tmp_path / "x.mp3")
    assert recording.samples == 48_000
    # fairseq opens files by their names.
    with pytest.raises(soundfile.SoundFileError):
        soundfile.read(tmp_path / "x.mp3")
    with pytest.raises(AudioError, match=r"but \._x\.mp3"):
        recording.check_fits()


def test_channels_that_cancel_each_other(tmp_path):
    """One that is silent, or unrelated, or many of them, is no reason."""
    others = np.random.default_rng(1).normal(0, 0.1, (48_000, 8))
    for name, sound, fits in (
        ("opposite", STEREO, False),
        ("in pairs", np.concatenate([STEREO, STEREO], axis=1), False),
        ("with noise", STEREO + 0.02 * others[:, :2], False),
        ("in a part", STEREO * np.where(np.arange(48_000) < 32_000, 1, [[1], [-1]]).T, False),
        ("with a bang", STEREO + 0.9 * (np.arange(48_000) < 500)[:, None], False),
        ("in pauses", STEREO * np.where(np.arange(48_000) < 24_000, 1, [[1], [-1]]).T, True),
        ("half silent", STEREO * [1, 0], True),
        ("one of eight", others * (np.arange(8) == 3), True),
        ("unrelated", others, True),
        ("turned a little", STEREO * [1, -1], True),
    ):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, sound, 16_000)
        if fits:
            assert len(np.concatenate([*blocks(read_recording(path, decode=True))])) == 48_000
            continue
        for use in (
            lambda p: convert(p, tmp_path / "x.flac"),
            lambda p: [*blocks(read_recording(p))],
        ):
            with pytest.raises(AudioError, match=rf"{name}\.wav: its channels cancel each other"):
                use(path)
    assert not (tmp_path / "x.flac").exists()


CLICK = np.zeros(48_000)
CLICK[5_000:5_100] = 0.5
ODD = {
    "silent": {
        "a click": (CLICK, {}),
        "zeros": (np.zeros(48_000), {}),
        "off its middle": (np.full(48_000, 0.4), {}),
        "scaled down twice": (NOISE / 2**15, {"subtype": "FLOAT"}),
        "16 bits in 32": (NOISE / 2**16, {"subtype": "PCM_32"}),
        "zeros, compressed": (np.zeros(48_000), {"format": "MP3"}),
        "zeros of another rate": (np.zeros((96_000, 2)), {"samplerate": 32_000}),
    },
    "clipped": {
        "int16 as floats, cut off": (NOISE * 2**15, {}),
        "by another program": (np.clip(NOISE * 2**15, -1, 1), {"subtype": "FLOAT"}),
        "of another rate": (np.sign(NOISE), {"samplerate": 48_000}),
    },
}


@pytest.mark.parametrize("problem", ODD)
def test_odd_levels_are_a_warning_by_row(tmp_path, problem):
    rows = ["path\ttext\tsplit", "sound.wav\tE\tvalid"]
    soundfile.write(tmp_path / "sound.wav", NOISE / 20, 16_000)
    for number, (sound, options) in enumerate(ODD[problem].values()):
        soundfile.write(tmp_path / f"{number}.wav", sound, **{"samplerate": 16_000, **options})
        rows.append(f"{number}.wav\tE\ttrain")
    table, count = write_lines(tmp_path / "t.tsv", rows), len(ODD[problem])
    (warning,) = build_table(table, tmp_path / "out", convert=True).warnings
    assert warning.startswith(f"odd audio in {count} rows ({problem}); the first: ")
    assert "t.tsv row 3: " in warning and "0.wav " in warning
    report = check_folder(tmp_path / "out", decode=True)
    (finding,) = report.findings
    assert report.ok and (finding.problem, finding.level) == (problem, "warning")
    # What was resampled is no more at full scale.
    assert finding.count == count - (problem == "clipped")
    assert "train.tsv row 2: " in finding.first


def test_a_little_short_is_told_and_refused_by_nothing(tmp_path):
    """As recorders leave it, whose header counts a buffer too many."""
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", tone(2.0), 16_000)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-726])
    assert read_recording(tmp_path / "a.wav").frames == 32_000 - 363
    assert convert(tmp_path / "a.wav", tmp_path / "x.flac").frames == 32_000 - 363
    rows = ["path\ttext\tsplit", "a.wav\tE\ttrain", "b.wav\tE\tvalid"]
    (warning,) = build_table(write_lines(tmp_path / "t.tsv", rows), tmp_path / "out").warnings
    assert "1 rows (audio a little short); the first: " in warning and "t.tsv row 2: " in warning
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
    paths[131].unlink()
    paths[131].mkdir()
    for jobs in (1, 4):
        results = in_threads(read_recording, paths, jobs=jobs)
        bad = {i: r.problem for i, r in enumerate(results) if isinstance(r, AudioError)}
        assert bad == {70: "empty file", 130: "missing audio", 131: "unreadable"}
        assert all(i in bad or r.frames == 1000 + i for i, r in enumerate(results))
    with pytest.raises(UserError, match=r"--jobs must be at least 1 \(got 0\)"):
        in_threads(read_recording, paths, jobs=0)
