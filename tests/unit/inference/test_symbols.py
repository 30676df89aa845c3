"""Text of best paths against fairseq's own dictionary and joining."""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.data.data_utils import post_process
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.checkpoints.dictionary import Symbols, Word, joining_of

DICTIONARIES = {
    "letter": list("|ETAON'É"),
    "none": ["tʃ", "ɛ", "i:", "m", "n", "sil"],
    "sentencepiece": ["\u2581THE", "\u2581A", "S", "ING", "\u2581", "E", "A\u2581B"],
    "own blank": ["E", "<ctc_blank>", "|", "T"],
}
PATHS = st.lists(st.integers(0, 7), max_size=60)


def fairseqs(own, path):
    """What fairseq's infer makes of a path."""
    dictionary = Dictionary()
    for symbol in own:
        dictionary.add_symbol(symbol)
    blank = dictionary.index("<ctc_blank>") if "<ctc_blank>" in own else dictionary.bos()
    frames = torch.tensor(path, dtype=torch.long).unique_consecutive()
    heard = dictionary.string(frames[frames != blank].int())
    return post_process(heard, joining_of(own, None))


@pytest.mark.parametrize("name", DICTIONARIES)
@given(path=PATHS)
def test_text_is_fairseqs(name, path):
    own = DICTIONARIES[name]
    symbols = Symbols.of_dictionary(own, joining_of(own, None))
    found = np.array(path, dtype=np.int16)
    assert symbols.text(found) == fairseqs(own, path)


@pytest.mark.parametrize("name", DICTIONARIES)
@given(path=PATHS)
def test_words_are_those_of_the_text_with_their_frames(name, path):
    symbols = Symbols.of_dictionary(DICTIONARIES[name], joining_of(DICTIONARIES[name], None))
    found = np.array(path, dtype=np.int16)
    words = symbols.words(found)
    assert [word.text for word in words] == symbols.text(found).split()
    edges = [edge for word in words for edge in (word.start, word.end)]
    # A piece with a space inside of it belongs to two words.
    assert edges == sorted(edges) or name == "sentencepiece"
    for word in words:
        assert 0 <= word.start < word.end <= len(path)
        if name == "letter":
            alone = path[word.start : word.end]
            assert symbols.text(np.array(alone)) == word.text
            assert path[word.start] not in (0, 2) and path[word.end - 1] not in (0, 2)


def test_an_example():
    symbols = Symbols.of_dictionary(list("|EAT"), "letter")
    path = np.array([0, 4, 4, 0, 6, 6, 6, 0, 7, 4, 0, 5, 5, 0, 5, 0])
    assert symbols.text(path) == "AT EE"
    assert symbols.words(path) == [Word("AT", 4, 9), Word("EE", 11, 15)]
    assert symbols.text(np.array([], dtype=np.int16)) == ""
    assert symbols.words(np.zeros(5, dtype=np.int16)) == []


@pytest.mark.parametrize(
    ("own", "labels", "trained", "joining"),
    [
        # The ending decides, not what happens to be in the dictionary.
        ("a b |", "phn", "letter", "none"),
        ("a \u2581 \u2581b", "phn", None, "none"),
        ("\u2581a | b", "spm", None, "sentencepiece"),
        ("| a \u2581", "ltr", "none", "letter"),
        ("a b", "ltr", "letter", "none"),
        ("\u2581a b", "ltr", None, "sentencepiece"),
        ("a | b", "ipa", "none", "none"),
        ("a | b", "ipa", None, "letter"),
        ("\u2581a b", None, None, "sentencepiece"),
    ],
)
def test_the_kind_of_labels_decides_how_symbols_are_joined(own, labels, trained, joining):
    assert joining_of(own.split(), labels, trained) == joining
