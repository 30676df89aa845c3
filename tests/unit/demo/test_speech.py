from __future__ import annotations

import builtins
import hashlib

import numpy as np
import pytest

from parp_fairseq.demo.speech import part_folder, synthesise_corpus
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


def test_layout_is_that_of_librilight_and_librispeech(corpus):
    for part, count in UTTERANCES.items():
        flacs = sorted((corpus / part_folder(part)).glob("*/*/*.flac"))
        assert len(flacs) == count
        for flac in flacs:
            speaker, chapter, utterance = flac.stem.split("-")
            assert flac.parent.name == chapter
            assert flac.parent.parent.name == speaker
            assert speaker.isdigit() and chapter.isdigit()
            assert utterance.isdigit() and len(utterance) == 4
    expected = sum(UTTERANCES.values())
    assert len(list(corpus.rglob("*.flac"))) == expected
    assert {p.name for p in corpus.iterdir()} == {
        "librispeech_finetuning",
        "LibriSpeech",
        "corpus.json",
    }


def test_every_file_has_its_transcript_and_every_transcript_its_file(corpus):
    for transcript in corpus.rglob("*.trans.txt"):
        lines = transcript.read_text().splitlines()
        speaker, chapter = transcript.parent.parent.name, transcript.parent.name
        assert transcript.name == f"{speaker}-{chapter}.trans.txt"
        assert [line.split(" ", 1)[0] for line in lines] == sorted(
            flac.stem for flac in transcript.parent.glob("*.flac")
        )
        for line in lines:
            text = line.split(" ", 1)[1]
            assert text == text.upper().strip() and len(text.split()) >= 4
    chapters = {flac.parent for flac in corpus.rglob("*.flac")}
    assert chapters == {transcript.parent for transcript in corpus.rglob("*.trans.txt")}


def test_audio_is_16_khz_mono_and_long_enough_for_its_text(corpus):
    for transcript in corpus.rglob("*.trans.txt"):
        for line in transcript.read_text().splitlines():
            name, text = line.split(" ", 1)
            info = soundfile.info(str(transcript.parent / f"{name}.flac"))
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            samples, _ = soundfile.read(str(transcript.parent / f"{name}.flac"))
            assert 0.25 < np.abs(samples).max() < 0.85
            # 145 to 185 words a minute, up to 8% off, and the quiet around them.
            assert 0.12 < info.duration / len(text.split()) < 1.0
            # Speech, not silence or one tone: loud and soft stretches of 20 ms.
            blocks = samples[: len(samples) // 320 * 320].reshape(-1, 320).std(1)
            assert blocks.max() > 5 * np.median(blocks[:5])


def test_other_is_noisier_than_clean(corpus):
    def floor(part):
        quiet = []
        for flac in (corpus / part_folder(part)).rglob("*.flac"):
            samples, _ = soundfile.read(str(flac))
            quiet.append(samples[:1200].std() / samples.std())
        return np.mean(quiet)

    assert floor("dev-other") > 5 * floor("test-clean")


def test_speakers_belong_to_one_part(corpus):
    owners = {}
    for flac in corpus.rglob("*.flac"):
        owners.setdefault(flac.stem.split("-")[0], set()).add(flac.parents[2])
    assert all(len(parts) == 1 for parts in owners.values())


def test_voices_belong_to_one_part():
    from parp_fairseq.demo.voices import draw_speakers

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
    import parp_fairseq.demo.speech as speech

    done = []

    def fail_at_the_third(speaker, texts):
        done.append(speaker)
        if len(done) == 3:
            raise UserError("espeak-ng does not speak")
        return [np.zeros(1600, dtype=np.float32) for _ in texts]

    monkeypatch.setattr(speech, "speak", fail_at_the_third)
    with pytest.raises(UserError, match="does not speak"):
        make(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"utterances": {"1h/6/clean": 1}}, "unknown part '1h/6/clean'"),
        ({"utterances": {"train-clean": 1}}, "unknown part 'train-clean'"),
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
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        make(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


def test_a_voice_that_espeak_does_not_know_is_named():
    from parp_fairseq.demo.voices import Speaker, speak

    speaker = Speaker("xx-nowhere", 50, 50, 170, None, 1)
    with pytest.raises(UserError, match="no voice xx-nowhere"):
        speak(speaker, ["A WORD"])
