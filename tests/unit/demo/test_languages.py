from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from parp_fairseq.demo.sentences import LANGUAGES, phrase, words_file, words_of
from parp_fairseq.errors import UserError

EACH = pytest.mark.parametrize("language", LANGUAGES)


@EACH
def test_words_are_a_list_without_repeats(language):
    words = words_of(language)
    assert 55 <= len(words) == len(set(words))
    for word in words:
        assert word == unicodedata.normalize("NFC", word).lower()
        assert all(unicodedata.category(letter).startswith(("L", "M")) for letter in word)


@EACH
def test_every_word_has_phones_and_most_have_their_own(language):
    pytest.importorskip("phonemizer")
    pytest.importorskip("espeakng_loader")
    from parp_fairseq.manifests.labels.phones import Phonemizer

    phones = Phonemizer(language)(words_of(language))
    assert all(phones)
    assert len(set(phones)) >= len(phones) - 3


def test_phrases_follow_the_generator():
    def some(seed, language="nl"):
        rng = np.random.default_rng(seed)
        return [phrase(rng, language) for _ in range(40)]

    assert some(1) == some(1)
    assert len({*some(1), *some(2), *some(1, "fr")}) == 120
    lengths = {len(text.split()) for text in some(3)}
    assert lengths == set(range(5, 10))
    assert {word for text in some(4) for word in text.split()} <= set(words_of("nl"))


def test_a_language_without_words_is_named():
    with pytest.raises(UserError, match="no words of 'en' here; use es, fr, it"):
        words_file("en")
