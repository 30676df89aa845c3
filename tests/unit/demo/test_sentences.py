import re
import unicodedata

import numpy as np
import pytest
from tiny_model.pretrain import PRETRAINING_WORDS_FILE

from parp_fairseq.demo.sentences import (
    LANGUAGES,
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


def test_words_are_not_repeated_and_the_model_has_heard_them():
    heard = word_lists(PRETRAINING_WORDS_FILE)
    for kind, words in word_lists().items():
        assert set(words) <= set(heard[kind])
        assert len(set(words)) == len(words) and len(set(heard[kind])) == len(heard[kind])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_of_a_language(language):
    words = words_of(language)
    assert 55 <= len(words) == len(set(words))
    for word in words:
        assert word == unicodedata.normalize("NFC", word).lower()
        assert all(unicodedata.category(letter).startswith(("L", "M")) for letter in word)
    pytest.importorskip("phonemizer")
    pytest.importorskip("espeakng_loader")
    from parp_fairseq.manifests.labels.phones import Phonemizer

    # Every word has phones, and most have their own.
    phones = Phonemizer(language)(words)
    assert all(phones) and len(set(phones)) >= len(phones) - 3


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
