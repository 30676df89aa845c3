from __future__ import annotations

import json

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.evaluation.score import EditCounts, Score, Utterance

PAIRS = [("A B C", "A X C D"), ("D", "D"), ("E F", "")]
text = st.lists(st.text("AB É", max_size=5), max_size=5).map(" ".join)


def score_of(pairs, metric="WER", split="test", checkpoint="c.pt"):
    utterances = tuple(
        Utterance(row, f"x/u{row}.flac", reference, hypothesis, reference, hypothesis)
        for row, (reference, hypothesis) in enumerate(pairs)
    )
    return Score(checkpoint, "data", split, "ltr", metric, utterances)


@pytest.mark.legacy
def test_counts():
    score = score_of(PAIRS)
    words = score.words
    assert (words.errors, words.length) == (4, 6)
    assert words.total == EditCounts(1, 1, 2)
    assert score.rate == words.rate == 4 * 100.0 / 6
    characters = score.characters
    # "A B C" → "A X C D": B → X, and " D"; "E F" → nothing.
    assert (characters.errors, characters.length) == (6, 9)
    assert characters.total == EditCounts(1, 2, 3)
    assert score_of(PAIRS, "PER").characters is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(text, text), min_size=1, max_size=6))
def test_rates_equal_jiwer(pairs):
    # The last reference has a word; others may be empty, and what is heard there is inserted.
    pairs = [*pairs, ("AB", "B")]
    references, hypotheses = map(list, zip(*pairs))
    score = score_of(pairs)
    found = jiwer.process_words(references, hypotheses)
    assert score.rate == pytest.approx(100 * found.wer)
    assert score.words.errors == found.substitutions + found.insertions + found.deletions
    found = jiwer.process_characters(references, hypotheses)
    assert score.characters.rate == pytest.approx(100 * found.cer)
    assert score.characters.errors == found.substitutions + found.insertions + found.deletions


def test_an_empty_reference_counts_what_was_heard():
    score = score_of([("", "A B"), ("C", "C")])
    assert (score.words.total.insertions, score.words.length, score.rate) == (2, 1, 200.0)


def test_json_is_plain_and_has_the_same_keys_for_every_metric():
    told = json.loads(json.dumps(score_of(PAIRS).to_json()))
    assert told["rate"] == 4 * 100.0 / 6
    assert told["rate_low"] < told["rate"] < told["rate_high"]
    assert told["cer"] == 6 * 100.0 / 9
    assert (told["cer_errors"], told["cer_length"]) == (6, 9)
    assert told["cer_low"] < told["cer"] < told["cer_high"]
    assert told["utterances"] == 3
    phones = score_of(PAIRS, "PER").to_json()
    assert list(phones) == list(told)
    assert {key for key, value in phones.items() if value is None} == {
        *(key for key in told if key.startswith("cer")),
        "zeros",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("19/198/19-198-0001.flac", "19-198-0001"),
        ("common_voice_tr_1.2.mp3", "common_voice_tr_1.2"),
        ("audio.zip:1034:88", "audio.zip:1034:88"),
    ],
)
def test_ids_tell_utterances_apart(path, expected):
    assert Utterance(0, path, "", "", "", "").id == expected
