"""What texts are written with, as a person should look at it once: characters, counts, oddities."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from unicodedata import category, combining, decomposition, is_normalized, name, normalize

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")
# Visible categories that hold characters which nobody sees, and the sign of a wrong decoding.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180e\u2800\u3164\ufe00-\ufe0f\uffa0\ufffd"
    "\U000e0100-\U000e01ef]"
)
# Forms of letters for which there is another character: full-width, Arabic's in a word, long s.
_FORMS = ("<wide>", "<narrow>", "<compat>", "<font>", "<initial>", "<medial>", "<final>", "<isol")
# Others that are mistaken for each other: apostrophes, hyphens, Romanian, Persian, phones.
_ALIKE = (
    "'\u2018\u2019\u02bc\u02bb`\u00b4\u2032\ua78c",
    "-\u2010\u2011\u2013\u2212",
    "\u015f\u0219",
    "\u0163\u021b",
)
_ALIKE += ("\u0643\u06a9", "\u064a\u06cc", "g\u0261", ":\u02d0", "\u0259\u01dd", "\u025b\u03b5")
# Greek letters that look like Latin ones; phones have others (\u03b2, \u03b8, \u03c7).
_GREEK = "\u0391\u0392\u0395-\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
_GREEK += "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5"
_MISREAD = "\u00a2-\u00a9\u00ac\u00ae\u00af\u00b1\u00b3\u00b6\u00b8\u00bc-\u00be"
_HARDLY_MEANT = {
    what: re.compile(pattern)
    for what, pattern in (
        ("in quotation marks, as a .csv has them", r"""^(["']).+\1\|?$"""),
        ("of a missing value", r"^(nan|NaN|NA|N/A|#N/A|<NA>|None|NULL|undefined)\|?$"),
        (
            "with codes",
            r"&(#x?[\dA-Fa-f]+|amp|lt|gt|quot|apos|nbsp);|\\u[\dA-Fa-f]{4}|\\x[\da-f]{2}",
        ),
        ("of UTF-8 that was read in another encoding", f"[\u00c2-\u00df][{_MISREAD}]|\u00e2\u20ac"),
        (
            "with words of Latin and Cyrillic letters",
            r"[A-Za-z]\w*?[\u0400-\u04ff]|[\u0400-\u04ff]\w*?[A-Za-z]",
        ),
        (
            "with words of Latin and Greek letters",
            rf"[A-Za-z]\w*?[{_GREEK}]|[{_GREEK}]\w*?[A-Za-z]",
        ),
    )
}
_MOST, _RAREST, _WIDTH = 40, 20, 100


class Oddity(NamedTuple):
    """Something in texts that is hardly meant: what, in how many, and where first."""

    what: str
    texts: int
    first: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.what} ({self.texts:,} texts, the first: {self.first})"


def control_character(text: str) -> str:
    """Why a text cannot be written for a control character in it; empty where it has none."""
    found = _CONTROL.search(text)
    return f"there is the control character {code(found[0])} in it; take it out" if found else ""


def oddities(texts: Iterable[tuple[str, str]]) -> Iterator[Oddity]:
    """What is hardly meant in texts, each given with where it is listed.

    Invisible characters; a letter in two codings (composed and decomposed, or one that looks like
    another); words of letters of two scripts; texts that were quoted, coded or missing.
    """
    rows: Counter[str] = Counter()
    first: dict[str, str] = {}
    apart: dict[str, list[str]] = defaultdict(list)
    odd: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for where, text in texts:
        for character in set(text):
            rows[character] += 1
            first.setdefault(character, where)
        for what, pattern in _HARDLY_MEANT.items():
            found = pattern.search(text)
            if found:
                odd[what].append((found[0], where))
        if text.isascii():
            continue
        if not is_normalized("NFC", text):
            whole = normalize("NFC", text)
            for letter in set(whole):
                if whole.count(letter) > text.count(letter):
                    apart[letter].append(where)
    for character in sorted(filter(_unseen, rows)):
        what = f"invisible {code(character)} {name(character, '')}".strip()
        yield Oddity(f"{what}, a letter to a model", rows[character], first[character])
    twice = sorted(letter for letter in apart if letter in rows)
    if twice:
        decomposed = list(dict.fromkeys(row for letter in twice for row in apart[letter]))
        each = ", ".join(f"{c} ({rows[c]:,} and {len(apart[c]):,} texts)" for c in twice[:3])
        says = f"written as one character and as several: {each}{', …' if twice[3:] else ''}"
        yield Oddity(f"{says}; normalise all to NFC", len(decomposed), decomposed[0])
    compatible = [(c, normalize("NFKC", c)) for c in rows if decomposition(c).startswith(_FORMS)]
    for alike in ([c for c in group if c in rows] for group in (*_ALIKE, *compatible)):
        if len(alike) > 1:
            rare = min(alike, key=rows.__getitem__)
            each = " and ".join(f"{c} ({code(c)}, in {rows[c]:,})" for c in alike)
            yield Oddity(f"{each} look alike; write one", rows[rare], first[rare])
    for letter, several in compatible:
        if len(several) > 1 and rows.keys() >= set(several):
            says = f"{letter} ({code(letter)}) can be written {several}; write one"
            yield Oddity(says, rows[letter], first[letter])
    for what, those in odd.items():
        word, where = those[0]
        yield Oddity(f"texts {what}, such as {word[:40]!r}", len(those), where)


def _unseen(character: str) -> bool:
    return category(character) in ("Cc", "Cf", "Co", "Cn") or bool(_UNSEEN.match(character))


def code(character: str) -> str:
    """`U+200B`."""
    return f"U+{ord(character):04X}"


def render_alphabet(counts: Mapping[str, int]) -> str:
    """Symbols and how often each is there, in aligned columns; of many, the ends of the list."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    cells = [f"{_shown(symbol)} {count:,}" for symbol, count in ordered]
    if len(cells) > _MOST + _RAREST:
        cells[_MOST:-_RAREST] = ["…"]
    width = max(map(len, cells), default=0) + 2
    columns = max(1, _WIDTH // width)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    lines = ["  " + "".join(cell.ljust(width) for cell in row).rstrip() for row in rows]
    return "\n".join([f"alphabet: {len(ordered):,} symbols and their counts", *lines])


def _shown(symbol: str) -> str:
    alone = len(symbol) == 1 and combining(symbol)
    return "".join(code(c) if alone or _unseen(c) else c for c in symbol)
