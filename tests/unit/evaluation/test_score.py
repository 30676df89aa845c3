"""Edits, error rates and their intervals against other programs and plain loops."""

import csv
import json
import random
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import score as scoring
from parp_fairseq.evaluation.score import (
    EditCounts,
    Score,
    Utterance,
    bootstrap_interval,
    edit_counts,
)

PAIRS = [("A B C", "A X C D"), ("D", "D"), ("E F", "")]
words = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=9)
text = st.lists(st.text("AB É", max_size=5), max_size=5).map(" ".join)


def score_of(pairs, metric="WER", split="test", checkpoint="c.pt"):
    utterances = tuple(
        Utterance(row, f"x/u{row}.flac", reference, hypothesis, reference, hypothesis)
        for row, (reference, hypothesis) in enumerate(pairs)
    )
    return Score(checkpoint, "data", split, "ltr", metric, utterances)


def all_alignments(reference, hypothesis):
    """Every (substitutions, insertions, deletions) of an alignment, by plain recursion."""

    @cache
    def of(i, j):
        if i == 0 and j == 0:
            return {(0, 0, 0)}
        found = set()
        if i and j:
            step = int(reference[i - 1] != hypothesis[j - 1])
            found |= {(s + step, n, d) for s, n, d in of(i - 1, j - 1)}
        if j:
            found |= {(s, n + 1, d) for s, n, d in of(i, j - 1)}
        if i:
            found |= {(s, n, d + 1) for s, n, d in of(i - 1, j)}
        return found

    return of(len(reference), len(hypothesis))


@settings(max_examples=300, deadline=None)
@given(words, words)
def test_edits_are_a_best_alignment_with_most_substitutions(reference, hypothesis):
    counts = edit_counts(reference, hypothesis)
    found = all_alignments(tuple(reference), tuple(hypothesis))
    fewest = min(map(sum, found))
    best = max((edits for edits in found if sum(edits) == fewest), key=lambda edits: edits[0])
    assert counts == EditCounts(*best)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(text, text), min_size=1, max_size=6))
def test_rates_equal_jiwer(pairs):
    # The last reference has a word; others may be empty, and what is heard there is inserted.
    pairs = [*pairs, ("AB", "B")]
    references, hypotheses = map(list, zip(*pairs))
    score = score_of(pairs)
    for rate, found, theirs in (
        (score.words, jiwer.process_words(references, hypotheses), "wer"),
        (score.characters, jiwer.process_characters(references, hypotheses), "cer"),
    ):
        assert rate.rate == pytest.approx(100 * getattr(found, theirs))
        assert rate.errors == found.substitutions + found.insertions + found.deletions
        assert rate.total.insertions - rate.total.deletions == found.insertions - found.deletions


@pytest.mark.legacy
def test_counts():
    score = score_of(PAIRS)
    assert (score.words.total, score.words.errors, score.words.length) == (
        EditCounts(1, 1, 2),
        4,
        6,
    )
    assert score.rate == score.words.rate == 4 * 100.0 / 6
    # "A B C" → "A X C D": B → X, and " D"; "E F" → nothing.
    assert (score.characters.total, score.characters.length) == (EditCounts(1, 2, 3), 9)
    assert score_of(PAIRS, "PER").characters is None
    empty = score_of([("", "A B"), ("C", "C")])
    assert (empty.words.total.insertions, empty.words.length, empty.rate) == (2, 1, 200.0)


def test_json_is_plain_and_has_the_same_keys_for_every_metric():
    read = json.loads(json.dumps(score_of(PAIRS).to_json()))
    assert (read["rate"], read["cer"]) == (4 * 100.0 / 6, 6 * 100.0 / 9)
    assert read["rate_low"] < read["rate"] < read["rate_high"]
    assert (read["cer_errors"], read["cer_length"], read["utterances"]) == (6, 9, 3)
    assert (read["substitutions"], read["insertions"], read["deletions"]) == (1, 1, 2)
    phones = score_of(PAIRS, "PER").to_json()
    assert list(phones) == list(read)
    assert {key for key, value in phones.items() if value is None} == {
        *(key for key in read if key.startswith("cer")),
        *("zeros", "sparsity", "lm", "lexicon", "beam", "lm_weight", "word_score"),
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("19/198/19-198-0001.flac", "19-198-0001"),
        ("common_voice_tr_1.2.mp3", "common_voice_tr_1.2"),
        ("audio.zip:1034:88", "audio.zip:1034:88"),
    ],
)
def test_ids_are_unique(path, expected):
    assert Utterance(0, path, "", "", "", "").id == expected


def drawn(utterances, seed):
    """Errors that go with the lengths."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 30, utterances)
    return generator.binomial(lengths, generator.beta(2, 5, utterances)), lengths


def test_the_interval_equals_a_plain_loop():
    errors, lengths = drawn(12, 4)
    draw = random.Random(8)
    rates = []
    for _ in range(20_000):
        rows = [draw.randrange(12) for _ in range(12)]
        rates.append(100 * sum(errors[i] for i in rows) / sum(lengths[i] for i in rows))
    rates.sort()
    low, high = bootstrap_interval(errors, lengths)
    assert low == pytest.approx(rates[500], abs=0.5)
    assert high == pytest.approx(rates[19_500], abs=0.5)
    assert high - low > 10


@pytest.mark.legacy
def test_the_interval_is_repeatable_whatever_is_drawn_at_once(monkeypatch):
    errors, lengths = drawn(100, 5)
    first = bootstrap_interval(errors, lengths)
    assert bootstrap_interval(list(errors), tuple(lengths)) == first
    monkeypatch.setattr(scoring, "_AT_ONCE", 700)
    assert bootstrap_interval(errors, lengths) == first


def test_sets_without_reference_words_do_not_count():
    # Of the sets {1,1}, {1,2}, {2,1}, {2,2} the first has no rate.
    assert bootstrap_interval([1, 2], [0, 4]) == (50.0, 75.0)


def test_the_table_is_aligned_and_phones_have_no_cer():
    long = score_of([("A", "B")] * 1200, split="dev-other")
    lines = scoring.render_scores([score_of(PAIRS), long]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = lines[1].replace(", ", ":").split()
    assert cells[:4] == ["c.pt", "test", "WER", "66.67"]
    assert [*cells[5:11], cells[12]] == ["4", "6", "1", "1", "2", "66.67", "3"]
    assert cells[4][0] == "[" and cells[11][-1] == "]"
    assert "[100.00, 100.00]   1,200  1,200" in lines[2]
    assert "CER" not in scoring.render_scores([score_of(PAIRS, "PER")])


def test_transcripts(tmp_path):
    best = ["runs/a/ckpt/best.pt", Path("runs/b/ckpt/best.pt")]
    files = scoring.transcript_files("out", best, ["x", "y"])
    assert files["runs/a/ckpt/best.pt", "x"] == Path("out/a/ckpt/best.pt/x.tsv")
    assert len(set(files.values())) == 4
    (alone,) = scoring.transcript_files("out", ["runs/a/best.pt"], ["x"]).values()
    assert alone == Path("out/best.pt/x.tsv")
    scoring.write_transcripts(score_of(PAIRS), tmp_path / "new" / "test.tsv")
    with open(tmp_path / "new" / "test.tsv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(row["id"], row["reference"], row["hypothesis"]) for row in rows] == [
        (f"u{number}", *pair) for number, pair in enumerate(PAIRS)
    ]
    assert [rows[0][key] for key in ("substitutions", "insertions", "deletions")] == list("110")
    assert rows[0]["reference_units"] == "A B C"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["test.tsv"]


def test_outputs_are_checked_before_the_work(tmp_path):
    """Existing files and inputs are in tests/unit/cli/test_outputs.py."""

    def check(**outputs):
        named = {f"--{option}": files for option, files in outputs.items()}
        scoring.check_outputs(named, ["c.pt", "w.pt"], tmp_path, ["test"], force=True)

    check(json=[tmp_path / "new" / "a.json"])
    scoring.write_transcripts(score_of(PAIRS), tmp_path / "test.tsv")
    with pytest.raises(UserError, match="is also an input"):
        check(transcripts=[tmp_path / "test.tsv"])
    scoring.write_transcripts(score_of(PAIRS), tmp_path / "heard.tsv")
    check(transcripts=[tmp_path / "heard.tsv"])
    with pytest.raises(UserError, match="is not a file of scores"):
        check(json=[tmp_path / "heard.tsv"])
