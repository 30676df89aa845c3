"""Beam search over the words of a lexicon with a KenLM n-gram, as fairseq's infer does it.

`decoding.type=kenlm` of `examples/speech_recognition/new` searches with flashlight's lexicon
decoder, and so does this. Defaults are those of infer's decoder (its yaml sets a beam of 5 instead
of 50); what has no option here is as infer has it by default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parp_fairseq.checkpoints.dictionary import NONE, Symbols, Word
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

# infer's decoding.beamthreshold; its silweight is 0, its unkweight minus infinity.
_THRESHOLD = 50.0


@dataclass(frozen=True)
class LanguageModel:
    """What a beam search needs; the defaults are those of fairseq's infer."""

    lm: PathLike  # a KenLM n-gram of words, binary or ARPA
    lexicon: PathLike  # a text file, a word and its symbols a line
    beam: int = 50  # hypotheses kept after each frame, 1 or more
    lm_weight: float = 2.0  # of the n-gram's log probability (base 10)
    word_score: float = -1.0  # added for each word


class Found(NamedTuple):
    """The best hypothesis: rows of symbols, repetitions merged; text; words with their frames."""

    rows: np.ndarray
    text: str
    words: tuple[Word, ...]


class BeamSearch:
    """A search with one language model over the symbols of one dictionary."""

    def __init__(self, language: LanguageModel, symbols: Symbols) -> None:
        """Load the n-gram and the lexicon.

        Raises UserError: the extra `lm` is missing, a file is missing or damaged, the lexicon
        spells with other symbols, or the symbols are phones, whose words have no phones to score.
        """
        if symbols.joining == NONE:
            raise UserError("--lm needs a model of letters or pieces, and this one hears phones")
        try:
            from flashlight.lib.text.decoder import (
                CriterionType,
                LexiconDecoder,
                LexiconDecoderOptions,
                SmearingMode,
                Trie,
            )
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import create_word_dict, load_words
        except ImportError as error:
            raise UserError(
                "flashlight-text or kenlm is missing; in the clone of parp-fairseq: "
                "pip install '.[lm]'"
            ) from error
        # As in fairseq's dictionary, the last of duplicates.
        rows = {name: row for row, name in enumerate(symbols.names)}
        _check_lexicon(Path(language.lexicon), rows)
        if not Path(language.lm).is_file():
            raise UserError(f"{language.lm}: no such language model; give a KenLM binary or ARPA")
        lexicon = load_words(str(language.lexicon))
        self._words = create_word_dict(lexicon)
        try:
            self._lm = KenLM(str(language.lm), self._words)
        except Exception as error:
            reason = " ".join(str(error).split())[-120:]
            raise UserError(f"{language.lm}: no n-gram that KenLM reads ({reason})") from error
        self.symbols = symbols
        self._silence = rows.get("<sep>", rows.get("|", rows["</s>"]))
        self._trie = Trie(len(symbols.names), self._silence)
        start = self._lm.start(False)
        scores = {word: self._lm.score(start, self._words.get_index(word))[1] for word in lexicon}
        unknown = self._lm.score(start, self._words.get_index("<unk>"))[1]
        if all(score == unknown for score in scores.values()):
            raise UserError(
                f"{language.lm} knows no word of {language.lexicon}; write both in the same case"
            )
        for word, spellings in lexicon.items():
            for spelling in spellings:
                spelt = [rows[symbol] for symbol in spelling]
                self._trie.insert(spelt, self._words.get_index(word), scores[word])
        self._trie.smear(SmearingMode.MAX)
        options = LexiconDecoderOptions(
            beam_size=language.beam,
            beam_size_token=len(symbols.names),
            beam_threshold=_THRESHOLD,
            lm_weight=language.lm_weight,
            word_score=language.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=CriterionType.CTC,
        )
        places = (self._silence, symbols.blank, self._words.get_index("<unk>"))
        self._decoder = LexiconDecoder(options, self._trie, self._lm, *places, [], False)

    def decode(self, logits: np.ndarray) -> Found:
        """Search in the logits (frames, symbols) of an utterance."""
        logits = np.ascontiguousarray(logits, dtype=np.float32)
        results = self._decoder.decode(logits.ctypes.data, *logits.shape)
        if not results:
            return Found(np.zeros(0, dtype=np.int64), "", ())
        # Before the first frame and after the last there is one silence more.
        tokens, numbers = results[0].tokens, results[0].words
        words = tuple(self._timed(tokens[1:-1], numbers[1:-1]))
        text = " ".join(self._words.get_entry(number) for number in numbers if number >= 0)
        return Found(self.symbols.best(np.array(tokens)), text, words)

    def _timed(self, tokens: list[int], words: list[int]) -> Iterator[Word]:
        """The words, from their first symbol to their last that is heard, in frames."""
        begin, end = None, 0
        for frame, (token, word) in enumerate(zip(tokens, words)):
            if token not in (self.symbols.blank, self._silence):
                begin, end = frame if begin is None else begin, frame + 1
            if word >= 0:
                yield Word(self._words.get_entry(word), end if begin is None else begin, end)
                begin = None


def _check_lexicon(file: Path, rows: dict[str, int]) -> None:
    """Raise UserError where flashlight would fail, or spell a word with another symbol."""
    try:
        # Only ASCII's white space separates, as in flashlight.
        lines = [line.split() for line in file.read_bytes().split(b"\n")]
        entries = [[part.decode("utf-8") for part in line] for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: no lexicon in UTF-8 can be read there; check its path") from error
    for row, (word, *spelling) in ((row, entry) for row, entry in enumerate(entries, 1) if entry):
        unknown = [symbol for symbol in spelling if symbol not in rows]
        if not spelling:
            raise UserError(f"{file} row {row}: {word!r} has no symbols after it")
        if unknown:
            raise UserError(
                f"{file} row {row}: {word!r} is spelt with {unknown[0]!r}, which the model's "
                "dictionary does not have"
            )
    if not any(entries):
        raise UserError(f"{file} holds no word")
