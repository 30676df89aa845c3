"""Text into phones: phonemizer over espeak-ng."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from unicodedata import category, normalize

from parp_fairseq.errors import UserError

# Common Voice's codes whose voice espeak-ng calls otherwise.
_VOICES = {
    "en": "en-us",
    "fr": "fr-fr",
    "hy-am": "hy",
    "nn-no": "nb",
    "zh-cn": "cmn",
    "zh-hk": "yue",
    "zh-tw": "cmn",
}
_BATCH = 256

# Scripts, by the first word of Unicode's names of letters, and the voices that read them; others
# read Latin, and so do some of these.
_READ_BY = (
    "ARABIC: ar fa sd ug ur; ARMENIAN: hy hyw; BENGALI: as bn bpy; CHEROKEE: chr; "
    "CJK: cmn hak yue; CYRILLIC: ba be bg cv kaa kk ky mk nog ru sr tt uk uz; "
    "DEVANAGARI: hi kok mr ne; ETHIOPIC: am ti; GEORGIAN: ka; GREEK: el grc; GUJARATI: gu; "
    "GURMUKHI: pa; HANGUL: ko; HEBREW: he; HIRAGANA: ja; KANNADA: kn; KATAKANA: ja; "
    "MALAYALAM: ml; MYANMAR: my shn; ORIYA: or; SHAVIAN: en-shaw; SINHALA: si; TAMIL: ta; "
    "TELUGU: te; THAI: th"
)
_LATIN_TOO = ("cmn-latn-pinyin", "fa-latn", "kaa", "sr", "uz")
_SPOKEN_SIGNS = "°№"  # Of the kind of emoji, but read as people do.

_FLAG = re.compile(r"\([\w-]+\)")


class Phonemizer:
    """Phones of sentences in one language: espeak-ng's IPA without stress and punctuation.

    What it cannot read it spells (kanji become "Chinese letter"): `objection` finds such texts.
    Words that it takes for another language's keep their phones; `warnings` counts them.

    `lang` is Common Voice's code of the language, such as nl or zh-TW; `voice` is espeak-ng's name
    for it, where the code does not tell. Raises UserError where phonemizer is missing, or espeak-ng
    does not speak the language.

    Attributes:
        source: versions of what makes the phones, for whoever wants the same again.
    """

    def __init__(self, lang: str, voice: str | None = None) -> None:
        try:
            import espeakng_loader
            from phonemizer import __version__ as version
            from phonemizer.backend import EspeakBackend
            from phonemizer.backend.espeak.wrapper import EspeakWrapper
        except ImportError as error:
            raise UserError(
                "phonemizer is missing; in the clone of parp-fairseq: pip install '.[phones]'"
            ) from error
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
        # Its warnings about words of other languages would come between the lines of a bar.
        logger = logging.getLogger(__name__)
        logger.setLevel(logging.ERROR)
        try:
            self.voice = voice_of(lang, EspeakBackend.supported_languages(), voice)
            self._backend = EspeakBackend(
                self.voice, language_switch="keep-flags", with_stress=False, logger=logger
            )
        except RuntimeError as error:
            raise UserError(f"espeak-ng does not start: {error}") from error
        espeak = ".".join(str(part) for part in EspeakBackend.version())
        self.source = f"espeak-ng {espeak}, voice {self.voice}, by phonemizer {version}"
        names = {self.voice, self.voice.split("-")[0]}
        table = (entry.split(": ") for entry in _READ_BY.split("; "))
        self._scripts = {script for script, voices in table if names & set(voices.split())}
        if not self._scripts or self.voice in _LATIN_TOO:
            self._scripts.add("LATIN")
        self._switched: list[str] = []
        self._signs: Counter[str] = Counter()

    def objection(self, text: str) -> str:
        """Why espeak-ng cannot read a text: letters of other scripts and emoji; empty if it can."""
        for character in dict.fromkeys(text):
            kind = category(character)
            foreign = kind[0] == "L" and _script(character) not in (*self._scripts, "MODIFIER")
            if foreign or (kind == "So" and character not in _SPOKEN_SIGNS):
                what = f"{character!r} ({unicodedata.name(character, 'unknown')})"
                says = f"espeak-ng's voice {self.voice} cannot read {what}, and spells it"
                return f"{says}; rewrite the text or leave it out"
        return ""

    def warnings(self) -> list[str]:
        """What it read otherwise than letter by letter so far, a line each."""
        lines = []
        if self._switched:
            says = f"words of {len(self._switched):,} texts as another language's, such as"
            lines.append(f"espeak-ng reads {says} {self._switched[0]!r}")
        counts = sorted(self._signs.items(), key=lambda item: (-item[1], item[0]))
        alone = self._phones([sign for sign, _ in counts])
        read = [
            f"{sign!r} as {_FLAG.sub('', spoken).strip() or 'nothing'} ({count:,} texts)"
            for (sign, count), spoken in zip(counts, alone)
            if spoken or category(sign)[0] == "S"
        ]
        return [*lines, f"espeak-ng reads {', '.join(read)}"] if read else lines

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Phones of each text, a space between them; an empty string where it has none."""
        flagged = self._phones(texts)
        for text, phones in zip(texts, flagged):
            self._signs.update(sign for sign in set(text) if category(sign)[0] in "SP")
            if _FLAG.search(phones):
                self._switched.append(text)
        return [" ".join(_FLAG.sub("", phones).split()) for phones in flagged]

    def _phones(self, texts: Sequence[str]) -> list[str]:
        from phonemizer.separator import Separator
        from tqdm import tqdm

        # Not stripped, so that the phones of two words stay apart without a mark between words.
        separator = Separator(phone=" ", word="", syllable="")
        phones: list[str] = []
        for start in tqdm(range(0, len(texts), _BATCH), desc="phones", disable=None):
            batch = list(texts[start : start + _BATCH])
            lines = self._backend.phonemize(batch, separator=separator, strip=False)
            phones += [" ".join(line.split()) for line in lines]
        return phones


def _script(letter: str) -> str:
    """The first word of a letter's name; rare ideographs are none that espeak-ng knows."""
    letter = normalize("NFKC", letter)[0]
    first = re.split("[ -]", unicodedata.name(letter, "unknown"))[0]
    return "RARE" if first == "CJK" and letter > "\uffff" else first


def voice_of(lang: str, voices: Collection[str], voice: str | None = None) -> str:
    """espeak-ng's voice, among `voices`: `voice`, or that of Common Voice's language code `lang`.

    Raises UserError where there is none.
    """
    code = lang.lower()
    for name in [voice] if voice else [_VOICES.get(code), code, code.split("-")[0]]:
        if name in voices:
            return name
    there = ", ".join(sorted(voices))
    raise UserError(f"espeak-ng does not speak {voice or lang!r}; choose from {there}")
