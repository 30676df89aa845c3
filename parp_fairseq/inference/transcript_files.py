"""Transcripts as text, JSON lines and SRT, on standard output or in files."""

from __future__ import annotations

import codecs
import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import Word
from parp_fairseq.errors import UserError
from parp_fairseq.files import (
    Kind,
    PathLike,
    begins_with,
    check_not_input,
    check_output,
    write_lines,
)
from parp_fairseq.inference.recognise import Transcript

TEXT, JSONL, SRT = "text", "jsonl", "srt"

# What is usual for subtitles: two lines of 42 characters, one second to seven.
_LINE, _LINES = 42, 2
_SHORTEST, _LONGEST = 1.0, 7.0
_TEXT_ENDINGS = ("", "txt", "text", "tsv")
PAUSE = 0.8
"""Seconds of silence that end a caption."""


class Output:
    """Where transcripts go: standard output, one file, or a folder with a file of captions each."""

    def __init__(
        self, form: str, output: PathLike | None, given: Sequence[PathLike], paths: Sequence[Path]
    ) -> None:
        """For transcripts of `paths`, found in what was `given`; `output` None: standard output.

        Raises:
            UserError: captions are of one recording, but there are several; or names are the same.
        """
        several = len(paths) > 1
        captions = form == SRT
        if captions and several and output is None:
            raise UserError(
                f"--format srt holds one recording, and {len(paths)} were given; give a folder for "
                "one file each with --out"
            )
        self.form = form
        self.path = None if output is None else Path(output)
        self.paths = paths
        self._is_folder = captions and several
        # Whether text is preceded by its recording's path.
        self._named = several or any(Path(path).is_dir() for path in given)
        self._names = dict(zip(paths, names_of(paths))) if self._is_folder else {}
        self._lines: list[str] = []

    def check(self, inputs: Iterable[PathLike], force: bool) -> None:
        """Raise UserError, before any work, where a file may not be written."""
        for file in self._files():
            check_output(file, KINDS[self.form], inputs=inputs, force=force, option="--out")

    def check_not(self, dictionary: Path | None) -> None:
        """Raise UserError where the dictionary that the model needs would be overwritten."""
        for file in self._files():
            check_not_input(file, [] if dictionary is None else [dictionary], "--out")

    def take(self, transcript: Transcript) -> None:
        """Print a transcript, write it, or keep it for the one file."""
        lines = lines_of(transcript, self.form, self._named)
        if self.path is None:
            for line in lines:
                print(line, flush=True)
        elif self._is_folder:
            write_lines(self._file(transcript.recording.path), lines)
        else:
            self._lines += lines

    def finish(self, transcribed: int) -> None:
        """Write the one file, if anything was transcribed."""
        if self.path is not None and not self._is_folder and transcribed:
            write_lines(self.path, self._lines)

    def _file(self, recording: Path) -> Path:
        assert self.path is not None
        return self.path / f"{self._names[recording]}.{self.form}"

    def _files(self) -> list[Path]:
        if self.path is None:
            return []
        return [self._file(path) for path in self.paths] if self._is_folder else [self.path]


def choose_format(form: str | None, output: PathLike | None) -> str:
    """The format that was asked for, or else that of the output's ending.

    Raises UserError: the ending contradicts the format, or is none of a format.
    """
    ending = "" if output is None else Path(output).suffix.lower()[1:]
    by_ending = ending if ending in (JSONL, SRT) else None
    if form is not None and by_ending not in (None, form):
        raise UserError(
            f"--out {output} ends in .{ending}, but --format is {form}; change one of them"
        )
    if form is None and by_ending is None and ending not in _TEXT_ENDINGS:
        raise UserError(
            f"--out {output}: no format ends in .{ending}; let it end in .txt, .srt or .jsonl, or "
            "give --format"
        )
    return form or by_ending or TEXT


def names_of(paths: Sequence[Path]) -> list[str]:
    """What files of captions are called: as their recordings without the ending and spaces.

    Where two would be the same, all get their path below the innermost common folder too. Raises
    UserError: two are still the same.
    """
    whole = [Path("_".join(os.path.abspath(path).split())).with_suffix("") for path in paths]
    names = [path.name for path in whole]
    if len(set(names)) < len(names):
        common = os.path.commonpath([path.parent for path in whole])
        names = [path.relative_to(common).as_posix() for path in whole]
    first: dict[str, Path] = {}
    for name, path in zip(names, paths):
        if first.setdefault(name, path) is not path:
            raise UserError(
                f"{path} and {first[name]} would both be called {name}; rename one, or use "
                "--format jsonl"
            )
    return names


def lines_of(transcript: Transcript, form: str, named: bool = False) -> list[str]:
    """A transcript's lines in a format, as `docs/transcribe.md` describes it.

    Where it is `named`, the path and a tab precede text.
    """
    path, words = transcript.recording.path, transcript.words
    if form == TEXT:
        return [f"{path}\t{transcript.text}" if named else transcript.text]
    if form == JSONL:
        content = {
            "path": str(path),
            "seconds": round(transcript.seconds, 3),
            "text": transcript.text,
            "words": [
                {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
                for word in words
            ],
        }
        return [json.dumps(content, ensure_ascii=False)]
    captions = list(_captions(words))
    lines: list[str] = []
    for number, caption in enumerate(captions, start=1):
        start, end = caption[0].start, caption[-1].end
        limit = captions[number][0].start if number < len(captions) else transcript.seconds
        end = max(end, min(start + _SHORTEST, limit))
        lines += [str(number), f"{_clock(start)} --> {_clock(end)}", *_wrapped(caption), ""]
    return lines


def _captions(words: Iterable[Word]) -> Iterator[list[Word]]:
    caption: list[Word] = []
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


def _wrapped(words: Sequence[Word]) -> list[str]:
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, _LINE, break_long_words=False, break_on_hyphens=False)


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    whole, rest = divmod(milliseconds, 1000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{whole:02d},{rest:03d}"


def _is_text(path: Path) -> bool:
    # Any prose is text: only the ending marks a transcript.
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as handle:
        start = handle.read(4096)
    # A character may be cut in two at the end.
    codecs.getincrementaldecoder("utf-8")().decode(start)
    return b"\0" not in start


def _is_srt(path: Path) -> bool:
    with path.open(encoding="utf-8-sig") as handle:
        return handle.readline(16).strip() == "1" and "-->" in handle.readline(64)


KINDS = {
    TEXT: Kind("a text file that ends in .txt", _is_text),
    JSONL: Kind("JSON lines of this command", begins_with(b'{"path":')),
    SRT: Kind("an SRT file", _is_srt),
}
