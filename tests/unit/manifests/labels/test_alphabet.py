"""What nobody sees in texts is named, counted and found again by its row."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.manifests.labels.alphabet import control_character, oddities, render_alphabet


def found(*texts):
    rows = [(f"row {number}", text) for number, text in enumerate(texts, start=1)]
    return [(odd.what, odd.texts, odd.first) for odd in oddities(rows)]


@pytest.mark.parametrize(
    ("texts", "what", "count", "first"),
    [
        (["a", "b\u200bc", "\u200b\u200b"], "invisible U+200B ZERO WIDTH SPACE", 2, "row 2"),
        (["a\x07"], "invisible U+0007", 1, "row 1"),
        (["a\u00ad"], "U+00AD SOFT HYPHEN", 1, "row 1"),
        (["x", "\ufeffx"], "U+FEFF ZERO WIDTH NO-BREAK SPACE", 1, "row 2"),
        (["\u3164"], "U+3164 HANGUL FILLER", 1, "row 1"),
        (["a\ufe0f"], "U+FE0F VARIATION SELECTOR-16", 1, "row 1"),
        (["caf\ufffd"], "U+FFFD REPLACEMENT CHARACTER", 1, "row 1"),
        (["\ue000"], "invisible U+E000", 1, "row 1"),
        # One letter in two codings: accents, syllables, signs of the same letter.
        (["é", "x", "e\u0301", "ée\u0301"], "several: é (2 and 2 texts); normalise", 2, "row 3"),
        (["한", "\u1112\u1161\u11ab"], "several: 한 (1 and 1 texts)", 1, "row 2"),
        (["\u00c5", "\u212b"], "\u00c5 (1 and 1 texts)", 1, "row 2"),
        (["it's", "l\u2019an", "d'un"], "' (U+0027, in 2) and \u2019 (U+2019, in 1)", 1, "row 2"),
        (["\u0219i", "\u015fi", "\u015f"], "look alike; write one", 1, "row 1"),
        (["a", "\uff41"], "\uff41 (U+FF41, in 1) and a (U+0061, in 1)", 1, "row 2"),
        (["g \u0261"], "look alike", 1, "row 1"),
        (["fine", "\ufb01ne"], "\ufb01 (U+FB01) can be written fi; write one", 1, "row 2"),
        (["\u0e33", "\u0e4d", "\u0e32"], "\u0e33 (U+0E33) can be written", 1, "row 1"),
        (["a-b", "c\u2013d"], "- (U+002D, in 1) and \u2013 (U+2013, in 1)", 1, "row 1"),
        (["'okina", "\ua78cokina"], "look alike", 1, "row 1"),
        (["hell\u03bf", "hello"], "Latin and Greek letters, such as 'hell\u03bf'", 1, "row 1"),
        (["a", '"b, c"', '"d"'], "in quotation marks, as a .csv has them", 2, "row 2"),
        (["'a|b'|"], "in quotation marks", 1, "row 1"),
        (["a", "nan", "b"], "texts of a missing value, such as 'nan'", 1, "row 2"),
        (["None|", "NULL|"], "of a missing value", 2, "row 1"),
        (["Tom &amp; I", "it&#39;s"], "with codes, such as '&amp;'", 2, "row 1"),
        (["\\u00e9t\\u00e9"], "with codes", 1, "row 1"),
        (
            ["Ã©tÃ©", "donâ\u20ac\u2122t", "\u00d0\u00b8"],
            "UTF-8 that was read in another encoding",
            3,
            "row 1",
        ),
        (
            ["mo\u0441t", "мост", "most"],
            "Latin and Cyrillic letters, such as 'mo\u0441'",
            1,
            "row 1",
        ),
    ],
)
def test_what_is_hardly_meant(texts, what, count, first):
    ((says, texts_there, where),) = found(*texts)
    assert what in says and (texts_there, where) == (count, first)


@pytest.mark.parametrize(
    "texts",
    [
        ["it's", "don't"],
        ["l\u2019été", "\u201coui\u201d"],
        # Only one coding, whichever; and marks that no letter has within it.
        ["e\u0301t", "e\u0301"],
        ["ọ\u0301 é e", "é"],
        ["tʰ h ɛ̃ tʃ i\u02d0", "\u0261"],
        ["привет", "hello", "日本 ひらがな カナ"],
        ["x² ½ 2", "5"],
        ['"no" he said', "'t is", "nan is bread", "AT&T", "CAFÉ»", "NÃ”", "βθχa μm", "a\u2026"],
        ["r\\ n", "x & y;"],
    ],
)
def test_what_is_fine(texts):
    assert found(*texts) == []


@given(st.text())
def test_control_characters_are_refused_and_no_others(text):
    codes = [ord(c) for c in text if ord(c) < 32 or 127 <= ord(c) < 160]
    assert bool(control_character(text)) == bool(codes)
    if codes:
        assert f"U+{codes[0]:04X} " in control_character(text)
    assert "U+D83D" in control_character("a\ud83d")


@given(st.dictionaries(st.text("abé", min_size=1), st.integers(1, 10**6), max_size=90))
def test_the_alphabet_is_one_short_block(counts):
    title, *lines = render_alphabet(counts).splitlines()
    assert f" {len(counts)} symbols" in title and all(len(line) <= 102 for line in lines)
    cells = [cell for line in lines for cell in line.split("  ") if cell.strip()]
    if len(counts) <= 60:
        shown = [cell.strip().rsplit(" ", 1) for cell in cells]
        assert {symbol: int(n.replace(",", "")) for symbol, n in shown} == counts
    else:
        assert len(cells) == 61 and cells[40].strip() == "…"


def test_marks_and_invisible_letters_are_shown_by_their_code():
    text = render_alphabet(Counter({"\u0301": 3, "a\u200b": 2}))
    assert text.splitlines()[1] == "  U+0301 3   aU+200B 2"
