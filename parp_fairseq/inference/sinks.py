"""Where transcripts go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, check_not_input, check_output, write_lines
from parp_fairseq.inference import transcript_files as forms
from parp_fairseq.inference.recognise import Transcript


@dataclass
class Sink:
    """Where transcripts go: lines to standard output or a file, or an SRT file each to a folder."""

    form: str
    output: Path | None
    folder: bool
    named: bool
    names: dict[Path, str]
    lines: list[str] = field(default_factory=list)

    def take(self, transcript: Transcript) -> None:
        """Write, or keep for the file."""
        path = transcript.recording.path
        if self.form == forms.TEXT:
            lines = forms.text_lines(transcript, self.named)
        elif self.form == forms.JSONL:
            lines = forms.json_lines(transcript)
        elif self.form == forms.CTM:
            lines = forms.ctm_lines(transcript, self.names[path])
        else:
            lines = forms.srt_lines(transcript)
        if self.output is None:
            for line in lines:
                print(line, flush=True)
        elif self.folder:
            write_lines(self.file(path), lines)
        else:
            self.lines += lines

    def file(self, path: Path) -> Path:
        """The SRT file of a recording."""
        assert self.output is not None
        return self.output / f"{self.names[path]}.srt"

    def finish(self, transcribed: int) -> None:
        """Write the file, if anything was transcribed."""
        if self.output is not None and not self.folder and transcribed:
            write_lines(self.output, self.lines)


def make_sink(
    form: str, output: Path | None, given: Sequence[PathLike], paths: Sequence[Path]
) -> Sink:
    """Where transcripts of `paths`, found in what was `given`, go.

    Raises:
        UserError: an SRT file cannot hold several recordings, or names do not tell them apart.
    """
    several = len(paths) > 1
    named = several or any(Path(path).is_dir() for path in given)
    if form == forms.SRT and several and output is None:
        raise UserError(
            f"--format srt holds one recording, and there are {len(paths)}; give a folder for a "
            "file each with --output"
        )
    names = dict(zip(paths, forms.names_of(paths))) if form in (forms.CTM, forms.SRT) else {}
    return Sink(form, output, form == forms.SRT and several, named, names)


def check_outputs(sink: Sink, model: Path, paths: Sequence[Path], force: bool) -> None:
    """Raise UserError, before any work, where a file may not be written."""
    inputs = [*paths, *(model.iterdir() if model.is_dir() else [model])]
    for file in _files(sink, paths):
        check_output(file, forms.KINDS[sink.form], inputs=inputs, force=force, option="--output")


def check_dictionary(sink: Sink, dictionary: Path | None, paths: Sequence[Path]) -> None:
    """Raise UserError where a file would be written over the dictionary that the model needs."""
    for file in _files(sink, paths):
        check_not_input(file, [] if dictionary is None else [dictionary], "--output")


def _files(sink: Sink, paths: Sequence[Path]) -> list[Path]:
    """What will be written for these recordings."""
    if sink.output is None:
        return []
    return [sink.file(path) for path in paths] if sink.folder else [sink.output]
