"""Synthetic Common Voice releases, and that their builder takes them."""

from __future__ import annotations

import hashlib

import pytest

from parp_fairseq.demo.sentences import words_of
from parp_fairseq.demo.spoken_release import synthesise_release
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("espeakng_loader")
pytest.importorskip("phonemizer")

UTTERANCES = {"train": 6, "dev": 3, "test": 4}


def make(folder, language="nl", **settings):
    return synthesise_release(
        folder, language, **{"utterances": UTTERANCES, "per_speaker": 2, **settings}
    )


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech") / "release"
    make(folder, seed=5)
    return folder


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(file):
    head, *rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
    return [dict(zip(head, row)) for row in rows]


def test_same_seed_same_bytes_whatever_the_jobs(release, tmp_path):
    make(tmp_path / "again", seed=5, jobs=3)
    assert digests(tmp_path / "again") == digests(release)
    make(tmp_path / "other", seed=6)
    audio = {d for name, d in digests(release).items() if name.endswith(".mp3")}
    assert len(audio) == 13
    assert audio.isdisjoint(digests(tmp_path / "other").values())


def test_tables_are_common_voices(release):
    folder = release / "nl"
    tables = {name: table(folder / f"{name}.tsv") for name in (*UTTERANCES, "validated")}
    assert {name: len(rows) for name, rows in tables.items()} == {**UTTERANCES, "validated": 13}
    speakers = [{row["client_id"] for row in tables[split]} for split in UTTERANCES]
    assert [len(each) for each in speakers] == [3, 2, 2]
    assert len(set.union(*speakers)) == 7
    for row in tables["validated"]:
        assert row["locale"] == "nl" and set(row["sentence"].split()) <= set(words_of("nl"))
        info = soundfile.info(str(folder / "clips" / row["path"]))
        assert (info.format, info.samplerate, info.channels) == ("MP3", 16_000, 1)
        assert 0.12 < info.duration / len(row["sentence"].split()) < 1.2


def test_the_builder_takes_it_both_ways(release, tmp_path):
    whole = build_commonvoice(release, "nl", tmp_path / "whole", jobs=1)
    assert {one.split: one.utterances for one in whole.splits} == UTTERANCES
    assert not whole.left
    chosen = build_commonvoice(release, "nl", tmp_path / "hours", hours=0.002, jobs=1)
    assert all(one.utterances for one in chosen.splits)


def test_languages_share_a_release(release, tmp_path):
    make(tmp_path, "nl", seed=5)
    make(tmp_path, "zh-TW", seed=5)
    assert digests(tmp_path / "nl") == digests(release / "nl")
    rows = table(tmp_path / "zh-TW" / "validated.tsv")
    assert {row["locale"] for row in rows} == {"zh-TW"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"language": "en"}, "no words of 'en'"),
        ({"utterances": {"train": 2}}, "utterances are of train, expected train, dev, test"),
        ({"utterances": {**UTTERANCES, "dev": 0}}, "dev must be at least"),
    ],
)
def test_bad_settings_leave_nothing(tmp_path, changes, told):
    with pytest.raises(UserError, match=told):
        make(tmp_path / "new", **changes)
    assert not any(tmp_path.iterdir())


def test_without_mp3_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": ""})
    with pytest.raises(UserError, match="writes no MP3"):
        make(tmp_path / "new")
    assert not any(tmp_path.iterdir())
