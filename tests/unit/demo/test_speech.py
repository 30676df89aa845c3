"""Synthetic speech as LibriSpeech and as a Common Voice release, and that a builder takes it."""

import hashlib
import re
import sys

import numpy as np
import pytest

from parp_fairseq.demo import spoken_corpus
from parp_fairseq.demo.sentences import words_of
from parp_fairseq.demo.speech import part_folder, synthesise_corpus
from parp_fairseq.demo.spoken_release import synthesise_release
from parp_fairseq.demo.voices import Speaker, speak
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("espeakng_loader")
pytest.importorskip("phonemizer")

UTTERANCES = {"1h/0/clean": 3, "1h/5/other": 2, "9h/other": 2, "dev-other": 2, "test-clean": 3}
CLIPS = {"train": 6, "dev": 3, "test": 4}


def corpus_in(folder, **settings):
    synthesise_corpus(folder, **{"utterances": UTTERANCES, "per_speaker": 2, **settings})
    return folder


def release_in(folder, language="nl", **settings):
    synthesise_release(folder, language, **{"utterances": CLIPS, "per_speaker": 2, **settings})
    return folder


BOTH = pytest.mark.parametrize(
    ("make", "count"), [(corpus_in, sum(UTTERANCES.values())), (release_in, sum(CLIPS.values()))]
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_in(tmp_path_factory.mktemp("speech") / "corpus", seed=5)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return release_in(tmp_path_factory.mktemp("speech") / "release", seed=5)


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@BOTH
def test_same_seed_same_bytes_whatever_the_jobs(request, tmp_path, make, count):
    made = digests(request.getfixturevalue("corpus" if make is corpus_in else "release"))
    assert digests(make(tmp_path / "again", seed=5, jobs=3)) == made
    audio = {digest for name, digest in made.items() if name.endswith((".flac", ".mp3"))}
    assert len(audio) == count
    assert audio.isdisjoint(digests(make(tmp_path / "other", seed=6)).values())


def test_folders_names_texts_and_audio_are_librispeechs(corpus):
    owners = {}
    for part, count in UTTERANCES.items():
        files = list((corpus / part_folder(part)).glob("*/*/*.flac"))
        assert len(files) == count
        for file in files:
            owners.setdefault(file.stem.split("-")[0], set()).add(part)
    assert all(len(parts) == 1 for parts in owners.values())
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


def table(file):
    head, *rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return [dict(zip(head, row)) for row in rows]


def test_a_release_is_common_voices_and_languages_share_one(release, tmp_path):
    folder = release / "nl"
    tables = {name: table(folder / f"{name}.tsv") for name in (*CLIPS, "validated")}
    assert {name: len(rows) for name, rows in tables.items()} == {**CLIPS, "validated": 13}
    speakers = [{row["client_id"] for row in tables[split]} for split in CLIPS]
    assert [len(each) for each in speakers] == [3, 2, 2] and len(set.union(*speakers)) == 7
    for row in tables["validated"]:
        assert row["locale"] == "nl" and set(row["sentence"].split()) <= set(words_of("nl"))
        info = soundfile.info(str(folder / "clips" / row["path"]))
        assert (info.format, info.samplerate, info.channels) == ("MP3", 16_000, 1)
        assert 0.12 < info.duration / len(row["sentence"].split()) < 1.2
    for language in ("nl", "zh-TW"):
        release_in(tmp_path, language, seed=5)
    assert digests(tmp_path / "nl") == digests(folder)
    assert {row["locale"] for row in table(tmp_path / "zh-TW" / "validated.tsv")} == {"zh-TW"}


def test_the_builder_takes_it_both_ways(release, tmp_path):
    whole = build_commonvoice(release, "nl", tmp_path / "whole", jobs=1)
    assert {one.split: one.utterances for one in whole.splits} == CLIPS and not whole.left
    chosen = build_commonvoice(release, "nl", tmp_path / "hours", hours=0.002, jobs=1)
    assert all(one.utterances for one in chosen.splits)


def test_a_finished_corpus_is_left_as_it_is(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    corpus_in(corpus, seed=5)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    with pytest.raises(UserError, match="something else"):
        corpus_in(corpus, seed=6)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    done = []

    def fail_at_the_third(speaker, texts):
        done.append(speaker)
        if len(done) == 3:
            raise UserError("espeak-ng does not speak")
        return [np.zeros(1600, dtype=np.float32) for _ in texts]

    monkeypatch.setattr(spoken_corpus, "speak", fail_at_the_third)
    with pytest.raises(UserError, match="does not speak"):
        corpus_in(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (corpus_in, {"utterances": {"1h/6/clean": 1}}, "unknown part '1h/6/clean'"),
        (corpus_in, {"utterances": {"9h/clean": 0}}, "9h/clean must be at least"),
        (corpus_in, {"per_speaker": 0}, "per_speaker must be at least"),
        (corpus_in, {"seed": -1}, "seed must be at least"),
        (release_in, {"language": "en"}, "no words of 'en'"),
        (release_in, {"utterances": {"train": 2}}, "are of train, expected train, dev, test"),
        (release_in, {"utterances": {**CLIPS, "dev": 0}}, "dev must be at least"),
    ],
)
def test_bad_settings_are_named_and_leave_nothing(tmp_path, make, settings, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path / "new", **settings)
    assert not any(tmp_path.iterdir())


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no voice xx-nowhere"):
        speak(Speaker("xx-nowhere", 50, 50, 170, None, 1), ["A WORD"])
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": ""})
    with pytest.raises(UserError, match="writes no MP3"):
        release_in(tmp_path / "new")
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        corpus_in(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []
