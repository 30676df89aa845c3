"""Text into phones: phonemizer over espeak-ng."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

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


class Phonemizer:
    """Phones of sentences in one language: espeak-ng's IPA without stress and punctuation.

    Words that espeak-ng reads as another language's keep their phones, without the flags.

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
                self.voice, language_switch="remove-flags", with_stress=False, logger=logger
            )
        except RuntimeError as error:
            raise UserError(f"espeak-ng does not start: {error}") from error
        espeak = ".".join(str(part) for part in EspeakBackend.version())
        self.source = f"espeak-ng {espeak}, voice {self.voice}, by phonemizer {version}"

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Phones of each text, a space between them; an empty string where it has none."""
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
