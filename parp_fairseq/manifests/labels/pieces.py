"""Pieces of words, by sentencepiece."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels.letters import Letters
from parp_fairseq.manifests.labels.units import dictionary_lines
from parp_fairseq.manifests.tsv import stream_lines

MODEL = "spm.model"
"""Name of the model's file beside the manifests."""

MOST_PIECES = 1_000_000
"""Far above what is of use; near 2^31 sentencepiece finds no end."""

_SPACE = "\u2581"  # How sentencepiece, and fairseq's post_process, mark the start of a word.


class Pieces(Letters):
    """A unigram model of `vocab_size` pieces, learnt from the training splits alone.

    The texts are not normalised, so that joined pieces are the text again; training runs on one
    thread, so that the same texts give the same pieces.
    """

    ending = "spm"
    post_process = "sentencepiece"

    def __init__(self, vocab_size: int) -> None:
        try:
            import sentencepiece
        except ImportError as error:
            raise UserError(
                "sentencepiece is missing; pip install sentencepiece, or use --units letters"
            ) from error
        if not 2 <= vocab_size <= MOST_PIECES:
            raise UserError(f"--vocab-size is {vocab_size}, expected 2 to {MOST_PIECES}")
        self._library = sentencepiece
        self._vocab_size = vocab_size
        self._model = b""
        self._processor: sentencepiece.SentencePieceProcessor | None = None

    def objection(self, text: str) -> str:
        """The mark that sentencepiece keeps for itself."""
        if _SPACE in text:
            return f"the text holds {_SPACE!r}, which marks the starts of words; take it out"
        return ""

    def prepare(self, files: Sequence[Path]) -> None:
        """As `Letters.prepare`. Raises UserError where the texts do not hold so many pieces."""
        if not files:
            raise UserError(
                "pieces are learnt from a training split, and there is none; name one train"
            )
        longest = max(len(text.encode()) for file in files for text in stream_lines(file))
        model = io.BytesIO()
        try:
            self._library.SentencePieceTrainer.train(
                sentence_iterator=(text for file in files for text in stream_lines(file)),
                model_writer=model,
                vocab_size=self._vocab_size,
                model_type="unigram",
                character_coverage=1.0,
                normalization_rule_name="identity",
                # Below 10 it takes none, however short all texts are.
                max_sentence_length=max(longest + 1, 10),
                num_threads=1,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(_reason(str(error), self._vocab_size)) from error
        self._model = model.getvalue()
        self._processor = self._library.SentencePieceProcessor(model_proto=self._model)

    def labels(self, texts: Iterable[str]) -> Iterator[str]:
        """As `Letters.labels`; a character that the model lacks stands on its own."""
        for text in texts:
            pieces: list[str] = []
            for piece in self._processor.encode(text, out_type=str):
                known = not self._processor.is_unknown(self._processor.piece_to_id(piece))
                pieces += [piece] if known else piece
            yield " ".join(pieces)

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        """As `Letters.dictionary`, with every piece of the model."""
        size = self._processor.get_piece_size()
        pieces = [self._processor.id_to_piece(i) for i in range(size)]
        known = {p: 0 for i, p in enumerate(pieces) if not self._processor.is_unknown(i)}
        return dictionary_lines({**dict.fromkeys(others, 0), **known, **trained})

    def save(self, folder: Path) -> None:
        """Write the model."""
        (folder / MODEL).write_bytes(self._model)


def _reason(error: str, vocab_size: int) -> str:
    most = re.search(r"Vocabulary size too high.*<= (\d+)", error)
    if most:
        return (
            f"--vocab-size is {vocab_size}, but the training texts hold {most[1]} pieces at most; "
            "choose fewer"
        )
    least = re.search(r"smaller than required_chars\. *\d+ vs (\d+)", error)
    if least:
        return (
            f"--vocab-size is {vocab_size}, but the training texts have {least[1]} characters and "
            "marks alone; choose more"
        )
    return f"sentencepiece cannot learn {vocab_size} pieces: {' '.join(error.split())}"
