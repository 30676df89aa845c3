import os
import sys

import numpy as np
import pytest
import soundfile
from small_corpora import snapshot, write_mp3

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.convert import convert, convert_all
from parp_fairseq.manifests.audio.headers import read_recording

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
    source, target = tmp_path / f"in put é.{ending}", tmp_path / "out" / "語.flac"
    wave = np.stack([tone(rate), np.zeros_like(tone(rate))], axis=1)
    soundfile.write(source, wave, rate)
    count = convert(source, target).frames
    samples = read(target)
    assert count == len(samples) == read_recording(source).samples
    assert abs(count - 0.8 * RATE) <= 1
    # The same sine, sampled at 16 kHz, at half the height: one channel of two was silent.
    middle = slice(2_000, 10_000)
    error = np.sqrt(np.mean((samples[middle] - 0.5 * tone(RATE)[middle]) ** 2))
    assert error < (0.03 if ending == "mp3" else 0.001)


def test_what_is_too_loud_is_clipped_and_not_turned_over(tmp_path):
    soundfile.write(tmp_path / "a.mp3", np.sign(tone(48_000)) * 0.999, 48_000)
    assert np.abs(soundfile.read(tmp_path / "a.mp3")[0]).max() > 1.1
    convert(tmp_path / "a.mp3", tmp_path / "a.flac")
    samples = read(tmp_path / "a.flac")
    assert samples.max() > 0.999 and samples.min() <= -0.999
    steps = np.abs(np.diff(np.sign(samples))) > 0
    assert steps.sum() == pytest.approx(2 * 440 * 0.8, abs=4)


def test_faults_are_told_quietly_and_leave_nothing(tmp_path, capfd):
    """Faults of each kind are in test_audio_files."""
    write_mp3(tmp_path / "good", 2.0)
    good = (tmp_path / "good").read_bytes()
    (tmp_path / "hole").write_bytes(
        good[:6_000] + np.random.default_rng(0).bytes(4_000) + good[10_000:]
    )
    names = ["hole", "gone", "good"]
    pairs = [(tmp_path / name, tmp_path / "out" / f"{name}.flac") for name in names]
    problems = [getattr(result, "problem", "") for result in convert_all(pairs, jobs=2)]
    assert problems == ["audio ends early", "missing audio", ""]
    assert os.listdir(tmp_path / "out") == ["good.flac"]
    # libmpg123 writes to the descriptor; it must be back afterwards.
    assert capfd.readouterr().err == ""
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_finished_files_stay_and_others_are_made_again(tmp_path):
    pairs = []
    for index in range(6):
        write_mp3(tmp_path / "in" / f"{index}.mp3", 0.3, pitch=200 + 50 * index)
        pairs.append((tmp_path / "in" / f"{index}.mp3", tmp_path / "out" / f"{index}.flac"))
    first, out = convert_all(pairs, jobs=2), tmp_path / "out"
    content = snapshot(out)
    (out / "0.flac").write_bytes(content["0.flac"][:-300])
    (out / "1.flac").unlink()
    (out / "2.flac").write_bytes(b"")
    # Another recording under the same name, older and just as long: the content tells them apart.
    write_mp3(tmp_path / "in" / "3.mp3", 0.3, pitch=900)
    os.utime(tmp_path / "in" / "3.mp3", (1, 1))
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    assert convert_all(pairs, jobs=1) == first
    after = {path.name: path.stat().st_ino for path in out.iterdir()}
    kept = [name for name in sorted(after) if after[name] == before.get(name)]
    assert kept == ["4.flac", "5.flac"]
    again = snapshot(out)
    assert again.pop("3.flac") != content.pop("3.flac") and again == content


@pytest.mark.parametrize(
    "options",
    [{}, {"samplerate": 8_000}, {"format": "OGG"}, None],
    ids=str,
)
def test_a_file_of_somebody_elses_is_not_replaced(tmp_path, options):
    """Not even 16 kHz mono FLAC."""
    write_mp3(tmp_path / "a.mp3", 0.3)
    target = tmp_path / "a.flac"
    target.write_text("mine", encoding="utf-8")
    if options is not None:
        options = {"samplerate": RATE, "format": "FLAC", **options}
        soundfile.write(target, np.zeros(9_000), **options)
    before = target.read_bytes()
    with pytest.raises(UserError, match=r"a\.flac already exists and no conversion made it"):
        convert(tmp_path / "a.mp3", target)
    assert target.read_bytes() == before


def test_an_interrupt_leaves_whole_files_only(tmp_path, monkeypatch):
    write_mp3(tmp_path / "a.mp3", 0.3)
    pairs = [(tmp_path / "a.mp3", tmp_path / "out" / f"{index}.flac") for index in range(8)]
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


def test_without_soxr_and_without_room(tmp_path, monkeypatch):
    write_mp3(tmp_path / "a.mp3", 0.3)
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(UserError, match=r"out/a\.flac cannot be written"):
        convert_all([(tmp_path / "a.mp3", tmp_path / "out" / "a.flac")], jobs=2)
    assert sorted(os.listdir(tmp_path)) == ["a.mp3", "out"]
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(UserError, match=r"soxr.*pip install '\.\[audio\]'"):
        convert_all([], jobs=1)
