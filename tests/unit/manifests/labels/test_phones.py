# ruff: noqa: RUF001
import sys

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels.phones import Phonemizer, voice_of

VOICES_OF_THE_TEN = ["es", "fr-fr", "it", "ky", "nl", "ru", "sv", "tr", "tt", "cmn"]
VOICES = [*VOICES_OF_THE_TEN, "en-us", "pt-br", "yue", "zle"]


def test_common_voices_codes():
    codes = ["es", "fr", "it", "ky", "nl", "ru", "sv-SE", "tr", "tt", "zh-TW"]
    codes += ["en", "zh-HK", "pt-BR"]
    expected = [*VOICES_OF_THE_TEN, "en-us", "yue", "pt-br"]
    assert [voice_of(code, VOICES) for code in codes] == expected
    assert voice_of("xx", VOICES, "it") == "it"
    with pytest.raises(UserError, match=r"does not speak 'ab'; choose from cmn"):
        voice_of("ab", VOICES)
    with pytest.raises(UserError, match="does not speak 'nln'"):
        voice_of("nl", VOICES, "nln")


def test_without_phonemizer(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    with pytest.raises(UserError, match=r"phonemizer.*pip install '\.\[phones\]'"):
        Phonemizer("nl")


@pytest.fixture(scope="module")
def dutch():
    pytest.importorskip("phonemizer")
    return Phonemizer("nl")


def test_known_words(dutch):
    texts = ["Ik fiets.", "“Hallo”, zei hij", "vijf", "5"]
    assert dutch(texts) == ["ɪ k f i t s", "h ɑ l oː z ɛɪ h ɛɪ", "v ɛɪ f", "v ɛɪ f"]


def test_phones_of_a_sentence_do_not_depend_on_the_others(dutch):
    texts = ["Het weekend.", "De football manager", "In 1999 was het e-mail", "Ik [[_::]] fiets"]
    alone = [dutch([text])[0] for text in texts]
    assert dutch(texts[::-1])[::-1] == alone
    assert not any(set("()[]|") & set(line) for line in alone)


@pytest.mark.parametrize(
    ("lang", "text", "character"),
    [
        ("ja", "今日は", "今"),
        ("ja", "ひらがな web", "w"),
        ("he", "שלום تصبح", "ت"),
        ("en", "say привет", "п"),
        ("en", "α and β", "α"),
        ("en", "hello 😀", "😀"),
        ("nl", "een ♥", "♥"),
        ("ko", "한국 韓國", "韓"),
        ("zh-TW", "𠮷野家", "𠮷"),
    ],
)
def test_texts_that_espeak_would_spell_are_refused(lang, text, character):
    pytest.importorskip("phonemizer")
    says = Phonemizer(lang).objection(text)
    assert repr(character) in says and "spells" in says


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("ja", "ひらがな、カタカナー ｶﾅ"),
        ("sr", "Добро dobro"),
        ("en", "naïve Łódź, 50% at 5°"),
        ("ml", "മലയാളം ഭാഷ"),
        ("fa", "می\u200cخواهم"),
        ("hi", "नमस्ते क़"),
    ],
)
def test_texts_that_it_reads(lang, text):
    pytest.importorskip("phonemizer")
    assert Phonemizer(lang).objection(text) == ""


def test_words_of_other_languages_and_signs_are_counted():
    pytest.importorskip("phonemizer")
    dutch = Phonemizer("nl")
    dutch(["ik fiets.", "het weekend", "5% van 6%", "6%, weekend", "a < b ^ c"])
    switched, signs = dutch.warnings()
    assert "words of 2 texts as another language's, such as 'het weekend'" in switched
    assert "'%' as p r oː s ɛ n t (2 texts)" in signs and "'^' as nothing (1 texts)" in signs
