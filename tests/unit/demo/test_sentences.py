from __future__ import annotations

import re

import numpy as np
import pytest
from tiny_model.pretrain import PRETRAINING_WORDS_FILE

from parp_fairseq.demo.sentences import (
    WORDS_FILE,
    sentence,
    word_lists,
)

FILES = pytest.mark.parametrize("path", [WORDS_FILE, PRETRAINING_WORDS_FILE])


@FILES
def test_sentences_are_capitals_and_words_of_the_list(path):
    known = {word.upper() for words in word_lists(path).values() for word in words} | {"AND"}
    rng = np.random.default_rng(0)
    for _ in range(300):
        words = sentence(rng, path).split(" ")
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


def test_words_are_not_repeated_and_the_model_has_heard_them():
    heard = word_lists(PRETRAINING_WORDS_FILE)
    for kind, words in word_lists().items():
        assert set(words) <= set(heard[kind])
        assert len(set(words)) == len(words) and len(set(heard[kind])) == len(heard[kind])
