from __future__ import annotations

import os
import sys

import numpy as np
import pytest
import soundfile
from small_commonvoice import write_mp3

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.convert import Audio, convert, convert_all, measure

pytest.importorskip("soxr")

RATE = 16_000


def tone(rate, seconds=0.8, pitch=440.0):
    return 0.4 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def read(path):
    samples, rate = soundfile.read(path)
    assert rate == RATE and samples.ndim == 1
    assert soundfile.info(path).subtype == "PCM_16"
    return samples


@pytest.mark.parametrize("ending", ["mp3", "flac"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_and_stereo(tmp_path, rate, ending):
    source = tmp_path / f"in put é.{ending}"
    wave = np.stack([tone(rate), np.zeros_like(tone(rate))], axis=1)
    soundfile.write(source, wave, rate)
    audio = convert(source, tmp_path / "out" / "語.flac")
    samples = read(tmp_path / "out" / "語.flac")
    assert audio == Audio(len(samples)) and abs(len(samples) - 0.8 * RATE) <= 1
    # The same sine, sampled at 16 kHz, at half the height: one channel of two was silent.
    middle = slice(2_000, 10_000)
    expected = 0.5 * tone(RATE)[middle]
    assert np.sqrt(np.mean((samples[middle] - expected) ** 2)) < (
        0.03 if ending == "mp3" else 0.001
    )


def test_what_is_too_loud_is_clipped_and_not_turned_over(tmp_path):
    wave = np.sign(tone(48_000)) * 0.999
    soundfile.write(tmp_path / "a.mp3", wave, 48_000)
    assert np.abs(soundfile.read(tmp_path / "a.mp3")[0]).max() > 1.1
    convert(tmp_path / "a.mp3", tmp_path / "a.flac")
    samples = read(tmp_path / "a.flac")
    assert samples.max() > 0.999 and samples.min() <= -0.999
    steps = np.abs(np.diff(np.sign(samples))) > 0
    assert steps.sum() == pytest.approx(2 * 440 * 0.8, abs=4)


def test_healthy_mp3_of_any_length_and_rate_is_taken(tmp_path):
    pairs, lengths = [], []
    for rate in (8_000, 16_000, 22_050, 32_000, 48_000):
        for mode in ("CONSTANT", "AVERAGE", "VARIABLE"):
            for seconds in (0.03, 0.1, 0.37, 2.0):
                source = tmp_path / f"{rate}-{mode}-{seconds}.mp3"
                soundfile.write(source, tone(rate, seconds), rate, bitrate_mode=mode)
                pairs.append((source, source.with_suffix(".flac")))
                lengths.append(seconds * RATE)
    results = convert_all(pairs, jobs=2)
    assert [audio.fault for audio in results] == [""] * len(pairs)
    assert [audio.samples for audio in results] == pytest.approx(lengths, abs=1)


def damaged(tmp_path):
    """Files that cannot be used and what should be said of them."""
    write_mp3(tmp_path / "good.mp3", 2.0)
    good = (tmp_path / "good.mp3").read_bytes()
    random = np.random.default_rng(0).integers(0, 256, 4_000, dtype=np.uint8).tobytes()
    noise = np.random.default_rng(0).normal(0, 0.2, 96_000) * np.repeat([0.001, 1], 48_000)
    soundfile.write(tmp_path / "v.mp3", noise, 48_000, bitrate_mode="VARIABLE")
    variable = (tmp_path / "v.mp3").read_bytes()
    (tmp_path / "v.mp3").unlink()
    soundfile.write(tmp_path / "short.flac", np.ones(399) * 0.1, RATE)
    short = (tmp_path / "short.flac").read_bytes()
    cases = {
        "nothing.mp3": (b"", "empty file"),
        "junk.mp3": (random, "not readable as audio"),
        "page.mp3": (b"<html>not found</html>" * 99, "not readable as audio"),
        "hole.mp3": (good[:6_000] + random + good[10_000:], "damaged audio"),
        "cut.mp3": (good[: len(good) // 2], "shorter than its header says"),
        "variable.mp3": (
            variable[variable.find(b"\xff\xfb", 40) :],
            "variable bit rate without a length in the header",
        ),
        "short.flac": (short, "shorter than 25 ms"),
    }
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    return {name: said for name, (_, said) in cases.items()} | {"gone.mp3": "no such clip"}


def test_faults_are_told_quietly_and_leave_nothing(tmp_path, capfd):
    (tmp_path / "in").mkdir()
    said = damaged(tmp_path / "in")
    pairs = [(tmp_path / "in" / name, tmp_path / "out" / f"{name}.flac") for name in said]
    pairs.append((tmp_path / "in" / "good.mp3", tmp_path / "out" / "good.flac"))
    results = convert_all(pairs, jobs=2, progress=False)
    assert [audio.fault for audio in results] == [*said.values(), ""]
    assert os.listdir(tmp_path / "out") == ["good.flac"]
    # libmpg123 writes to the descriptor; it must be back afterwards.
    assert capfd.readouterr().err == ""
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_measure_equals_convert(tmp_path):
    for index, (rate, seconds) in enumerate([(48_000, 0.5), (44_100, 1.3), (8_000, 0.03)]):
        source = tmp_path / f"{index}.mp3"
        write_mp3(source, seconds, rate=rate)
        assert measure(source) == convert(source, tmp_path / f"{index}.flac")


def stamps(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_finished_files_stay_and_others_are_made_again(tmp_path):
    pairs = []
    for index in range(6):
        write_mp3(tmp_path / "in" / f"{index}.mp3", 0.3, pitch=200 + 50 * index)
        pairs.append((tmp_path / "in" / f"{index}.mp3", tmp_path / "out" / f"{index}.flac"))
    first = convert_all(pairs, jobs=2)
    before = stamps(tmp_path / "out")
    content = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "0.flac").write_bytes(content["0.flac"][:30])
    (tmp_path / "out" / "1.flac").unlink()
    (tmp_path / "out" / "2.flac").write_bytes(b"")
    newer = (tmp_path / "out" / "3.flac").stat().st_mtime + 5
    os.utime(tmp_path / "in" / "3.mp3", (newer, newer))
    assert convert_all(pairs, jobs=1) == first
    after = stamps(tmp_path / "out")
    assert [name for name in sorted(after) if after[name] == before[name]] == ["4.flac", "5.flac"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == content


@pytest.mark.parametrize("kind", ["8 kHz", "stereo", "WAV", "text"])
def test_a_file_of_somebody_elses_is_not_replaced(tmp_path, kind):
    write_mp3(tmp_path / "a.mp3", 0.3)
    target = tmp_path / "a.flac"
    if kind == "text":
        target.write_text("mine", encoding="utf-8")
    elif kind == "stereo":
        soundfile.write(target, np.zeros((9_000, 2)), RATE)
    elif kind == "WAV":
        soundfile.write(target, np.zeros(9_000), RATE, format="WAV")
    else:
        soundfile.write(target, tone(8_000), 8_000)
    os.utime(target, (1, 1))
    before = target.read_bytes()
    with pytest.raises(UserError, match=r"a\.flac is there and was not made from a\.mp3"):
        convert(tmp_path / "a.mp3", target)
    assert target.read_bytes() == before


def test_a_target_that_cannot_be_written(tmp_path):
    write_mp3(tmp_path / "a.mp3", 0.3)
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(UserError, match=r"out/a\.flac cannot be written"):
        convert_all([(tmp_path / "a.mp3", tmp_path / "out" / "a.flac")], jobs=2)
    assert sorted(os.listdir(tmp_path)) == ["a.mp3", "out"]


def test_an_interrupt_leaves_whole_files_only(tmp_path, monkeypatch):
    for index in range(8):
        write_mp3(tmp_path / "in" / f"{index}.mp3", 0.3)
    names = [f"{index}" for index in range(8)]
    pairs = [(tmp_path / "in" / f"{n}.mp3", tmp_path / "out" / f"{n}.flac") for n in names]
    replace = os.replace

    def interrupted(source, target):
        if target.name == "3.flac":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert_all(pairs, jobs=1)
    names = os.listdir(tmp_path / "out")
    assert "3.flac" not in names and not any(name.startswith(".") for name in names)


def test_without_soxr(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(UserError, match=r"soxr.*pip install '\.\[audio\]'"):
        convert_all([], jobs=1)


def test_the_bar_shows_files_and_hours(tmp_path, capfd):
    pairs = []
    for index in range(3):
        write_mp3(tmp_path / f"{index}.mp3", 3.6)
        pairs.append((tmp_path / f"{index}.mp3", tmp_path / f"{index}.flac"))
    convert_all(pairs, jobs=1, progress=True)
    shown = capfd.readouterr().err
    assert "3/3" in shown and "0.00 h left" in shown
