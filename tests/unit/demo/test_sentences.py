from __future__ import annotations

import re

import numpy as np

from parp_fairseq.demo.sentences import sentence, word_lists


def test_sentences_are_capitals_and_words_of_the_list():
    known = {word.upper() for words in word_lists().values() for word in words} | {"AND"}
    rng = np.random.default_rng(0)
    for _ in range(300):
        words = sentence(rng).split(" ")
        assert 4 <= len(words) <= 14
        for word in words:
            assert re.fullmatch("[A-Z]+", word)
            assert word in known


def test_sentences_follow_the_seed():
    def some(seed):
        rng = np.random.default_rng(seed)
        return [sentence(rng) for _ in range(20)]

    assert some(1) == some(1)
    assert some(1) != some(2)
    assert len(set(some(1))) == 20


def test_no_kind_repeats_a_word():
    for kind, words in word_lists().items():
        assert len(set(words)) == len(words), kind
