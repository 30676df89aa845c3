"""Pieces of words, by sentencepiece."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels.labelling import Units, dictionary_lines

MOST_PIECES = 1_000_000
"""Far above what is of use; near 2^31 sentencepiece finds no end."""

_SPACE = "\u2581"  # How sentencepiece, and fairseq's post_process, mark the start of a word.

# What sentencepiece says of a wrong size, and what that means.
_TOO_MANY = re.compile(r"Vocabulary size too high.*<= (\d+)")
_TOO_FEW = re.compile(r"smaller than required_chars\. *\d+ vs (\d+)")


class Pieces(Units):
    """A unigram model of `vocab_size` pieces, learnt from the training splits only.

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
                "sentencepiece is missing: pip install sentencepiece, or use --units letters"
            ) from error
        if not 2 <= vocab_size <= MOST_PIECES:
            raise UserError(f"--vocab-size is {vocab_size}, expected 2 to {MOST_PIECES}")
        self._library = sentencepiece
        self._vocab_size = vocab_size
        self._model = b""
        self._processor: sentencepiece.SentencePieceProcessor | None = None

    def objection(self, text: str) -> str:
        if _SPACE in text:
            return f"the text holds {_SPACE!r}, which marks the starts of words; take it out"
        return ""

    def learn(self, texts: Sequence[str]) -> None:
        if not texts:
            raise UserError("pieces are learnt from training splits; name one train")
        model = io.BytesIO()
        try:
            self._library.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=model,
                vocab_size=self._vocab_size,
                model_type="unigram",
                character_coverage=1.0,
                normalization_rule_name="identity",
                # Below 10 it takes none, however short all texts are.
                max_sentence_length=max(10, *(len(text.encode()) + 1 for text in texts)),
                num_threads=1,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            size, says = f"--vocab-size is {self._vocab_size}", " ".join(str(error).split())
            for pattern, reason in (
                (_TOO_MANY, "but the training texts hold {} pieces at most; choose fewer"),
                (_TOO_FEW, "but the training texts have {} characters and marks; choose more"),
            ):
                found = pattern.search(says)
                if found:
                    raise UserError(f"{size}, {reason.format(found[1])}") from error
            raise UserError(f"{size}, and sentencepiece cannot learn them: {says}") from error
        self._model = model.getvalue()
        self._processor = self._library.SentencePieceProcessor(model_proto=self._model)

    def labels(self, texts: Sequence[str]) -> Iterator[str]:
        # A character that the model lacks is a symbol of its own.
        for text in texts:
            pieces: list[str] = []
            for piece in self._processor.encode(text, out_type=str):
                known = not self._processor.is_unknown(self._processor.piece_to_id(piece))
                pieces += [piece] if known else piece
            yield " ".join(pieces)

    def symbols(self, line: str) -> Sequence[str]:
        return "".join(line.split())

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        model = self._processor
        numbers = [n for n in range(model.get_piece_size()) if not model.is_unknown(n)]
        known = {model.id_to_piece(n): 0 for n in numbers}
        return dictionary_lines({**dict.fromkeys(others, 0), **known, **trained})

    def save(self, folder: Path) -> None:
        (folder / "spm.model").write_bytes(self._model)
