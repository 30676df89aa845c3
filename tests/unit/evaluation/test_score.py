from __future__ import annotations

import json
from functools import cache

import editdistance
import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.evaluation.score import (
    EditCounts,
    Score,
    Utterance,
    edit_counts,
    render_scores,
    write_transcripts,
)

words = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=9)


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
def test_counts_are_a_best_alignment_with_most_substitutions(reference, hypothesis):
    counts = edit_counts(reference, hypothesis)
    found = all_alignments(tuple(reference), tuple(hypothesis))
    fewest = min(sum(edits) for edits in found)
    best = max((edits for edits in found if sum(edits) == fewest), key=lambda edits: edits[0])
    assert (counts.substitutions, counts.insertions, counts.deletions) == best


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcde"), max_size=40), st.lists(st.sampled_from("abcde")))
def test_errors_equal_fairseqs_edit_distance(reference, hypothesis):
    assert edit_counts(reference, hypothesis).errors == editdistance.eval(reference, hypothesis)


def test_kinds_of_edits():
    assert edit_counts(["the", "cat", "sat"], ["the", "bat", "sat", "down"]) == EditCounts(1, 1, 0)
    assert edit_counts(["a", "b", "c"], []) == EditCounts(0, 0, 3)
    assert edit_counts([], ["a", "b"]) == EditCounts(0, 2, 0)
    assert edit_counts(["a", "b"], ["b", "a"]) == EditCounts(2, 0, 0)


def score_of(pairs):
    utterances = tuple(
        Utterance(row, f"x/u{row}.flac", ref, hyp, ref, hyp, edit_counts(ref.split(), hyp.split()))
        for row, (ref, hyp) in enumerate(pairs)
    )
    return Score("c.pt", "data", "test", "ltr", "WER", utterances)


PAIRS = [("A B C", "A X C D"), ("D", "D"), ("E F", "")]


def test_rate_equals_jiwer():
    score = score_of(PAIRS)
    references, hypotheses = zip(*PAIRS)
    assert score.rate == pytest.approx(100 * jiwer.wer(list(references), list(hypotheses)))
    assert (score.errors, score.length) == (4, 6)
    assert (score.substitutions, score.insertions, score.deletions) == (1, 1, 2)


def test_json_is_plain_and_complete():
    told = json.loads(json.dumps(score_of(PAIRS).to_json(with_utterances=True)))
    assert told["rate"] == 4 * 100.0 / 6
    assert told["utterances"] == 3
    assert told["transcripts"][0] == {
        "id": "u0",
        "path": "x/u0.flac",
        "reference": "A B C",
        "hypothesis": "A X C D",
        "errors": 2,
    }
    assert "transcripts" not in score_of(PAIRS).to_json()


def test_table_is_aligned():
    lines = render_scores([score_of(PAIRS), score_of([("A", "B")] * 1200)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["c.pt", "test", "WER", "66.67", "4", "6", "1", "1", "2", "3"]
    assert "1,200" in lines[2]


def test_transcripts_are_written_all_or_none(tmp_path):
    write_transcripts(score_of(PAIRS), tmp_path / "out")
    assert (tmp_path / "out" / "hypo.word").read_text() == "A X C D (u0)\nD (u1)\n (u2)\n"
    assert (tmp_path / "out" / "ref.units").read_text() == "A B C (u0)\nD (u1)\nE F (u2)\n"
