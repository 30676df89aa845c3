"""LibriSpeech's transcript files: `{speaker}-{chapter}.trans.txt` with `ID TEXT` rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.tsv import read_lines


@dataclass(frozen=True)
class Transcript:
    """A text and the row of its file, for messages."""

    text: str
    row: int


def read_transcripts(path: Path) -> dict[str, Transcript]:
    """Utterance id → transcript. Spaces are squeezed, blank rows skipped, CRLF read as LF.

    Raises UserError naming file and row for an id without text or one that stands there twice.
    """
    transcripts: dict[str, Transcript] = {}
    for row, line in enumerate(read_lines(path, "transcript"), start=1):
        words = line.split()
        if not words:
            continue
        utterance = words[0]
        if len(words) == 1:
            raise UserError(f"{path} row {row}: {utterance} has no text")
        if utterance in transcripts:
            raise UserError(
                f"{path} row {row}: {utterance} was already transcribed in row "
                f"{transcripts[utterance].row}"
            )
        transcripts[utterance] = Transcript(" ".join(words[1:]), row)
    return transcripts
