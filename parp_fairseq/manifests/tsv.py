"""fairseq's manifest files: a `.tsv` of audio and line-parallel label files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines


@dataclass(frozen=True)
class Row:
    """One utterance: `path` below the manifest's root (or absolute), length in samples."""

    path: str
    frames: int


@dataclass(frozen=True)
class Manifest:
    """A root folder and the utterances under it."""

    root: str
    rows: tuple[Row, ...]

    @property
    def frames(self) -> int:
        """Length of all utterances together, in samples."""
        return sum(row.frames for row in self.rows)


def stream_lines(
    path: PathLike, what: str = "file", *, hint: str = "check the path", cr: bool = True
) -> Iterator[str]:
    """Lines of a UTF-8 text file without line ends, one at a time.

    With `cr` a carriage return ends a line too, as it does for fairseq. Raises UserError naming the
    file, as `what`, and the row that is not UTF-8; `hint` is for a file that is not there.
    """
    try:
        # Not splitlines(): it also breaks at characters that may be in a transcript.
        with open(path, "rb") as handle:
            for row, line in enumerate(handle, start=1):
                try:
                    text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path} row {row} is not UTF-8 text; save the {what} as UTF-8"
                    ) from error
                yield from text.split("\r") if cr else [text]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such {what}; {hint}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_lines(path: PathLike, what: str = "file") -> list[str]:
    """All of `stream_lines`. Raises UserError for a byte order mark, which fairseq would read."""
    lines = list(stream_lines(path, what))
    if lines and lines[0].startswith("\ufeff"):
        raise UserError(
            f"{path} row 1 begins with a byte order mark (U+FEFF); save the {what} as UTF-8 without"
        )
    return lines


def read_tsv(path: PathLike) -> Manifest:
    """Read `{split}.tsv`: a root line, then `path<TAB>samples` rows.

    Raises UserError naming file and row (row 1 is the root line).
    """
    lines = read_lines(path, "manifest")
    if not lines or not lines[0].strip() or "\t" in lines[0].strip():
        raise UserError(f"{path} row 1: expected the folder that the paths start from")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        fields = line.strip().split("\t")
        if len(fields) != 2 or not fields[0] or fields[0] != fields[0].strip():
            raise UserError(f"{path} row {number}: expected 'path<TAB>samples', found {line!r}")
        frames = fields[1].strip()
        if not (frames.isascii() and frames.isdigit()) or int(frames) == 0:
            raise UserError(f"{path} row {number}: {fields[1]!r} is no number of samples")
        rows.append(Row(fields[0], int(frames)))
    return Manifest(lines[0].strip(), tuple(rows))


def check_path(path: str) -> None:
    """Raise UserError for a path that the format cannot hold."""
    if "\t" in path or "\n" in path or "\r" in path or path != path.strip():
        raise UserError(
            f"{path!r}: a manifest cannot hold a path with tabs, line ends or outer spaces"
        )


def write_tsv(path: PathLike, manifest: Manifest) -> None:
    """Write a manifest. Raises UserError for a path that the format cannot hold."""
    for row in manifest.rows:
        check_path(row.path)
    rows = (f"{row.path}\t{row.frames}" for row in manifest.rows)
    write_lines(path, [manifest.root, *rows])


def available_splits(folder: PathLike) -> Sequence[str]:
    """Names of the splits that have a `.tsv` in `folder`, sorted."""
    return sorted(entry.stem for entry in Path(folder).glob("*.tsv"))
