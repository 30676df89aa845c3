from __future__ import annotations

from functools import cache

import editdistance
import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.evaluation.score import EditCounts, edit_counts

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


@settings(max_examples=200, deadline=None)
@given(st.text("AB É", min_size=1), st.text("AB É"))
def test_characters_equal_jiwer(reference, hypothesis):
    counts = edit_counts(reference, hypothesis)
    found = jiwer.process_characters(
        reference,
        hypothesis,
        jiwer.ReduceToListOfListOfChars(),
        jiwer.ReduceToListOfListOfChars(),
    )
    assert counts.errors == found.substitutions + found.insertions + found.deletions
    assert counts.insertions - counts.deletions == found.insertions - found.deletions


def test_long_sequences_do_not_overflow():
    assert edit_counts("ab" * 2_000, "b" * 3_000) == EditCounts(1_000, 0, 1_000)


@pytest.mark.legacy
def test_kinds_of_edits():
    assert edit_counts(["the", "cat", "sat"], ["the", "bat", "sat", "down"]) == EditCounts(1, 1, 0)
    assert edit_counts(["a", "b", "c"], []) == EditCounts(0, 0, 3)
    assert edit_counts([], ["a", "b"]) == EditCounts(0, 2, 0)
    assert edit_counts(["a", "b"], ["b", "a"]) == EditCounts(2, 0, 0)
    assert edit_counts("A CAT", "A BAT ") == EditCounts(1, 1, 0)
