import re

import numpy as np
import pytest
from tiny_model.pretrain import PRETRAINING_WORDS_FILE

from parp_fairseq.demo.sentences import (
    WORDS_FILE,
    phrase,
    sentence,
    word_lists,
    words_file,
    words_of,
)
from parp_fairseq.errors import UserError


@pytest.mark.parametrize("path", [WORDS_FILE, PRETRAINING_WORDS_FILE])
def test_sentences_are_capitals_and_words_of_the_list_and_follow_the_seed(path):
    known = {word.upper() for words in word_lists(path).values() for word in words} | {"AND"}
    one, other, again = ([sentence(np.random.default_rng(s), path)] for s in (1, 2, 1))
    assert one == again != other
    rng = np.random.default_rng(0)
    for text in {sentence(rng, path) for _ in range(300)}:
        assert re.fullmatch("[A-Z]+( [A-Z]+){3,13}", text) and set(text.split()) <= known


def test_phrases_follow_the_generator():
    def some(seed, language="nl"):
        rng = np.random.default_rng(seed)
        return [phrase(rng, language) for _ in range(40)]

    assert some(1) == some(1)
    assert len({*some(1), *some(2), *some(1, "fr")}) == 120
    assert {len(text.split()) for text in some(3)} == set(range(5, 10))
    assert {word for text in some(4) for word in text.split()} <= set(words_of("nl"))
    with pytest.raises(UserError, match="no words of 'en' here; use es, fr, it"):
        words_file("en")
