from __future__ import annotations

import hashlib
import re
import sys

import numpy as np
import pytest

from parp_fairseq.demo import spoken_corpus
from parp_fairseq.demo.speech import part_folder, synthesise_corpus
from parp_fairseq.demo.voices import Speaker, draw_speakers, speak
from parp_fairseq.errors import UserError

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("espeakng_loader")

UTTERANCES = {"1h/0/clean": 3, "1h/5/other": 2, "9h/other": 2, "dev-other": 2, "test-clean": 3}


def make(folder, **settings):
    synthesise_corpus(folder, **{"utterances": UTTERANCES, "per_speaker": 2, **settings})
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("speech") / "corpus", seed=5)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_whatever_the_jobs(corpus, tmp_path):
    again = make(tmp_path / "again", seed=5, jobs=3)
    assert digests(again) == digests(corpus)
    other = make(tmp_path / "other", seed=6)
    audio = {d for name, d in digests(corpus).items() if name.endswith(".flac")}
    assert audio.isdisjoint(digests(other).values())


def test_folders_names_texts_and_audio_are_librispeechs(corpus):
    for part, count in UTTERANCES.items():
        assert len(list((corpus / part_folder(part)).glob("*/*/*.flac"))) == count
    assert len(list(corpus.rglob("*.flac"))) == sum(UTTERANCES.values())
    for transcript in corpus.rglob("*.trans.txt"):
        speaker, chapter = transcript.parent.parent.name, transcript.parent.name
        assert transcript.name == f"{speaker}-{chapter}.trans.txt"
        texts = dict(line.split(" ", 1) for line in transcript.read_text().splitlines())
        assert list(texts) == sorted(flac.stem for flac in transcript.parent.glob("*.flac"))
        for name, text in texts.items():
            assert re.fullmatch(rf"{speaker}-{chapter}-\d{{4}}", name)
            assert text == text.upper().strip() and len(text.split()) >= 4
            file = transcript.parent / f"{name}.flac"
            info = soundfile.info(str(file))
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            samples, _ = soundfile.read(str(file))
            assert 0.25 < np.abs(samples).max() < 0.85
            # 145 to 185 words a minute, up to 8% off, and the quiet around them.
            assert 0.12 < info.duration / len(text.split()) < 1.0
            # Speech, not silence or one tone: loud and soft stretches of 20 ms.
            blocks = samples[: len(samples) // 320 * 320].reshape(-1, 320).std(1)
            assert blocks.max() > 5 * np.median(blocks[:5])
    chapters = {flac.parent for flac in corpus.rglob("*.flac")}
    assert chapters == {transcript.parent for transcript in corpus.rglob("*.trans.txt")}
    owners = {}
    for flac in corpus.rglob("*.flac"):
        owners.setdefault(flac.stem.split("-")[0], set()).add(flac.parents[2])
    assert all(len(parts) == 1 for parts in owners.values())


def test_other_is_noisier_than_clean(corpus):
    def floor(part):
        quiet = []
        for flac in (corpus / part_folder(part)).rglob("*.flac"):
            samples, _ = soundfile.read(str(flac))
            quiet.append(samples[:1200].std() / samples.std())
        return np.mean(quiet)

    assert floor("dev-other") > 5 * floor("test-clean")


def test_voices_belong_to_one_part():
    clean, other = draw_speakers(np.random.default_rng(1), 60, 60)
    voices = [speaker.voice for speaker in clean + other]
    assert len(set(voices)) == len(voices)
    assert all(s.snr_db is None for s in clean) and all(s.snr_db is not None for s in other)


def test_a_finished_corpus_is_left_as_it_is(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    make(corpus, seed=5)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    with pytest.raises(UserError, match="something else"):
        make(corpus, seed=6)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    done = []

    def fail_at_the_third(speaker, texts):
        done.append(speaker)
        if len(done) == 3:
            raise UserError("espeak-ng does not speak")
        return [np.zeros(1600, dtype=np.float32) for _ in texts]

    monkeypatch.setattr(spoken_corpus, "speak", fail_at_the_third)
    with pytest.raises(UserError, match="does not speak"):
        make(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"utterances": {"1h/6/clean": 1}}, "unknown part '1h/6/clean'"),
        ({"utterances": {"9h/clean": 0}}, "9h/clean must be at least"),
        ({"per_speaker": 0}, "per_speaker must be at least"),
        ({"jobs": 0}, "jobs must be at least"),
        ({"seed": -1}, "seed must be at least"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "corpus", **settings)
    assert list(tmp_path.iterdir()) == []


def test_without_espeak_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        make(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


def test_a_voice_that_espeak_does_not_know_is_named():
    speaker = Speaker("xx-nowhere", 50, 50, 170, None, 1)
    with pytest.raises(UserError, match="no voice xx-nowhere"):
        speak(speaker, ["A WORD"])
