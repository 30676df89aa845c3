"""Transcripts as text, JSON lines, CTM and SRT."""

from __future__ import annotations

import codecs
import json
import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import Kind
from parp_fairseq.inference.recognise import TimedWord, Transcript

TEXT, JSONL, CTM, SRT = "text", "jsonl", "ctm", "srt"
FORMATS = (TEXT, JSONL, CTM, SRT)

# What is usual for subtitles: two lines of 42 characters, a second to seven.
_LINE, _LINES = 42, 2
_SHORTEST, _LONGEST = 1.0, 7.0
PAUSE = 0.8
"""Seconds of silence that end a caption."""


def names_of(paths: Sequence[Path]) -> list[str]:
    """What CTM and SRT call recordings: their names without the ending, and without spaces.

    Where two would be the same, all bear their path below the innermost common folder too.

    Raises:
        UserError: that does not tell them apart.
    """
    whole = [Path(os.path.abspath(path)).with_suffix("") for path in paths]
    names = [path.name for path in whole]
    if len(set(map(_spaceless, names))) < len(names):
        common = os.path.commonpath([path.parent for path in whole])
        names = [path.relative_to(common).as_posix() for path in whole]
    names = list(map(_spaceless, names))
    first: dict[str, Path] = {}
    for name, path in zip(names, paths):
        if name in first:
            raise UserError(
                f"{path} and {first[name]} would both be called {name}; rename one, or use "
                "--format jsonl"
            )
        first[name] = path
    return names


def _spaceless(name: str) -> str:
    return "_".join(name.split())


def text_lines(transcript: Transcript, named: bool) -> list[str]:
    """The text; behind its path and a tab where it is `named`."""
    return [f"{transcript.recording.path}\t{transcript.text}" if named else transcript.text]


def json_lines(transcript: Transcript) -> list[str]:
    """An object: path, seconds, text, and words with start and end in seconds."""
    content = {
        "path": str(transcript.recording.path),
        "seconds": round(transcript.seconds, 3),
        "text": transcript.text,
        "words": [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for word in transcript.words
        ],
    }
    return [json.dumps(content, ensure_ascii=False)]


def ctm_lines(transcript: Transcript, name: str) -> list[str]:
    """NIST's CTM: recording, channel, start, length, word; times in seconds."""
    return [
        f"{name} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text}"
        for word in transcript.words
    ]


def srt_lines(transcript: Transcript) -> list[str]:
    """Captions of one or two lines, cut at pauses and where they would grow too long."""
    captions = list(_captions(transcript.words))
    lines: list[str] = []
    for number, words in enumerate(captions, start=1):
        start, end = words[0].start, words[-1].end
        limit = captions[number][0].start if number < len(captions) else transcript.seconds
        end = max(end, min(start + _SHORTEST, limit))
        lines += [str(number), f"{_clock(start)} --> {_clock(end)}", *_wrapped(words), ""]
    return lines


def _captions(words: Iterable[TimedWord]) -> Iterable[list[TimedWord]]:
    caption: list[TimedWord] = []
    for word in words:
        if caption and (
            word.start - caption[-1].end >= PAUSE
            or word.end - caption[0].start > _LONGEST
            or len(_wrapped([*caption, word])) > _LINES
        ):
            yield caption
            caption = []
        caption.append(word)
    if caption:
        yield caption


def _wrapped(words: Sequence[TimedWord]) -> list[str]:
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False)


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    return (
        f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d},"
        f"{whole % 1000:03d}"
    )


def _is_text(path: Path) -> bool:
    # Any prose is text: only the ending tells a transcript from it.
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as handle:
        start = handle.read(4096)
    # A character may be cut in two at the end.
    codecs.getincrementaldecoder("utf-8")().decode(start)
    return b"\0" not in start


def _is_jsonl(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(8) == b'{"path":'


def _is_ctm(path: Path) -> bool:
    with path.open(encoding="utf-8") as handle:
        _, _, start, length, *words = handle.readline(4096).split()
    return float(start) >= 0 and float(length) >= 0 and len(words) in (1, 2)


def _is_srt(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as handle:
        return handle.readline(16).strip() == "1" and "-->" in handle.readline(64)


KINDS = {
    TEXT: Kind("a text file that ends in .txt", _is_text),
    JSONL: Kind("JSON lines of this command", _is_jsonl),
    CTM: Kind("a CTM file", _is_ctm),
    SRT: Kind("an SRT file", _is_srt),
}
