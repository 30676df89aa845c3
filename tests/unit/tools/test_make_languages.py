"""The tiny model of several languages: its speakers, and what bad options are told."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tiny_model import make, pretrain
from tiny_model.pretrain import Settings

from parp_fairseq.demo.sentences import words_of
from parp_fairseq.errors import UserError


def spoken(settings):
    return list(pretrain._speakers(settings, np.random.default_rng([settings.seed, 7])))


def test_every_language_has_its_share_of_speakers_words_and_noise():
    speakers = spoken(Settings(languages=("nl", "zh-TW", "tr"), speakers=20, utterances=3))
    languages = Counter(speaker.voice.split("+")[0] for speaker, _ in speakers)
    assert languages == {"nl": 7, "cmn": 7, "tr": 6}
    noisy = Counter(
        speaker.voice.split("+")[0] for speaker, _ in speakers if speaker.snr_db is not None
    )
    assert noisy == {"nl": 2, "cmn": 2, "tr": 2}
    codes = {"nl": "nl", "cmn": "zh-TW", "tr": "tr"}
    for speaker, texts in speakers:
        words = {word for text in texts for word in text.split()}
        assert len(texts) == 3 and words <= set(words_of(codes[speaker.voice.split("+")[0]]))
    order = [speaker.voice.split("+")[0] for speaker, _ in speakers]
    assert order != sorted(order) and len({speaker.seed for speaker, _ in speakers}) == 20


def test_speakers_follow_the_seed():
    settings = Settings(languages=("nl", "fr"), speakers=8, utterances=1)
    assert spoken(settings) == spoken(settings)
    assert spoken(settings) != spoken(Settings(2, ("nl", "fr"), speakers=8, utterances=1))


def test_english_is_what_it_was():
    speakers = spoken(Settings(speakers=6, utterances=1))
    assert all(speaker.voice.startswith("en-") for speaker, _ in speakers)
    assert [speaker.snr_db is None for speaker, _ in speakers].count(True) == 4


def test_the_options_reach_the_settings(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(make, "pretrain", lambda *args, **named: called.append((args, named)))
    out = tmp_path / "four.pt"
    options = ["--languages", "nl,fr", "--speakers", "30", "--rounds", "6,12", "--seed", "3"]
    assert make.main([*options, "--work", str(tmp_path), "--out", str(out)]) == 0
    ((settings, work, written), named) = called[0]
    assert (settings.languages, settings.speakers, settings.seed) == (("nl", "fr"), 30, 3)
    assert [one.updates for one in settings.rounds] == [6, 12]
    assert [one.clusters for one in settings.rounds] == [one.clusters for one in Settings.rounds]
    assert (work, written, named) == (tmp_path, out, {"speech": None, "stop": None})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--languages", "nl,xx"], "no words of 'xx' here; use es, fr"),
        (["--languages", "nl"], "the English model; give --out"),
        (["--languages", "nl", "--audio", "x"], "--languages does not go with --audio"),
        (["--rounds", "600"], "--rounds is 600, expected 2 numbers of 1 or more"),
        (["--rounds", "600,x"], "--rounds is 600,x"),
        (["--speakers", "3"], "--speakers is 3, expected 7 or more"),
    ],
)
def test_bad_options_end_in_a_line(options, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert make.main(options) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_work_folder_of_other_settings_is_refused(tmp_path):
    settings = Settings(languages=("nl",))
    pretrain._check_work(settings, tmp_path)
    pretrain._check_work(settings, tmp_path)
    with pytest.raises(UserError, match=r"begun with languages \['nl'\], not \['fr'\]; give"):
        pretrain._check_work(Settings(languages=("fr",)), tmp_path)
