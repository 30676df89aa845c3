"""Is a manifest fit for training or scoring? Asked before either begins."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE, AudioError, HeaderReader
from parp_fairseq.manifests.labels.ctc import MASK_LENGTH, ctc_frames, least_samples, needed_frames
from parp_fairseq.manifests.splits import is_training
from parp_fairseq.manifests.tsv import Manifest, available_splits, read_lines, read_tsv

# fairseq reads "archive.zip:offset:length" as a file stored inside an archive.
_IN_ARCHIVE = re.compile(r"^(.*\.zip):\d+:\d+$")


@dataclass(frozen=True)
class CheckedManifest:
    """A split that passed: its utterances and their labels, row by row."""

    split: str
    manifest: Manifest
    labels: list[str]

    @property
    def hours(self) -> float:
        """Length at 16 kHz, in hours."""
        return self.manifest.frames / SAMPLE_RATE / 3600


@dataclass(frozen=True)
class Fault:
    """Something that would break a run: its kind in a few words, and the line to tell."""

    kind: str
    message: str


def check_manifest(
    data: PathLike,
    split: str,
    labels: str,
    *,
    symbols: Collection[str] | None = None,
    symbols_from: str = "the dictionary",
    training: bool = False,
    mask_length: int = MASK_LENGTH,
    sample_rate: int = SAMPLE_RATE,
) -> CheckedManifest:
    """Check `{split}.tsv` and `{split}.{labels}` in the folder `data`.

    The first of these that is not so raises UserError naming file and row: both files are there
    and well formed, the split is not empty, the root and every audio file exist, labels and
    audio are equally many, no label is empty, every symbol stands in `dict.{labels}.txt`, or
    in `symbols` where given (a checkpoint's own dictionary; `symbols_from` names it), every
    file is mono at `sample_rate`, as long as its row says and long enough for a frame.

    With `training`, labels must also fit into their audio's frames (CTC's loss would be infinite,
    or zero with zero_infinity), and span masks of `mask_length` frames (0: none) into the audio.

    Every header is read: some 20 to 40 microseconds a FLAC file on the machine this was written
    on, so 10,000 files take less than half a second.
    """
    read = read_split(data, split, labels)
    faults = label_faults(
        read,
        labels,
        symbols=symbols,
        symbols_from=symbols_from,
        training=training,
        mask_length=mask_length,
    )
    for fault in faults:
        raise UserError(fault.message)
    # Its threads end here, not when the garbage collector finds it: that may be inside a lock of
    # the next pool of threads.
    with contextlib.closing(audio_faults(read, sample_rate=sample_rate)) as audio:
        for fault in audio:
            raise UserError(fault.message)
    return read.checked


def check_lengths(checked: CheckedManifest, limit: int | None, option: str) -> None:
    """See that a batch can hold every utterance.

    Args:
        checked: the split.
        limit: samples in a batch, padding included; None: no limit.
        option: what sets the limit.

    Raises:
        UserError: one is longer; names its row.
    """
    if limit is None:
        return
    for number, row in enumerate(checked.manifest.rows, start=2):
        if row.frames > limit:
            raise UserError(
                f"{checked.split}.tsv row {number}: {row.path} has {row.frames} samples, more than "
                f"a batch may hold ({option} is {limit}); raise {option}, or remove the row"
            )


@dataclass(frozen=True)
class ReadSplit:
    """A split's two files, well formed and as long as each other."""

    data: Path
    tsv: Path
    text: Path
    checked: CheckedManifest

    def audio(self, row: int) -> str:
        """Where the audio of a row (0 is the first) is."""
        manifest = self.checked.manifest
        return os.path.join(manifest.root, manifest.rows[row].path)


def manifest_file(data: PathLike, split: str) -> Path:
    """`{split}.tsv` in the folder `data`. Raises UserError where folder or file is not there."""
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give the folder that holds {split}.tsv")
    tsv = data / f"{split}.tsv"
    if not tsv.is_file():
        others = ", ".join(available_splits(data)) or "none"
        raise UserError(f"{tsv}: no such manifest; the splits in {data} are: {others}")
    return tsv


def read_split(data: PathLike, split: str, labels: str) -> ReadSplit:
    """Read `{split}.tsv` and `{split}.{labels}`. Raises UserError as `check_manifest`."""
    data = Path(data)
    tsv = manifest_file(data, split)
    text = data / f"{split}.{labels}"
    if not text.is_file():
        raise UserError(f"{text}: no such label file; check labels, or build the manifest again")
    manifest = read_tsv(tsv)
    if not manifest.rows:
        raise UserError(f"{tsv} lists no audio; build the manifest again")
    lines = read_lines(text, "label file")
    if len(lines) != len(manifest.rows):
        raise UserError(
            f"{text} has {len(lines)} lines but {tsv} lists {len(manifest.rows)} audio files; "
            "build both again"
        )
    return ReadSplit(data, tsv, text, CheckedManifest(split, manifest, lines))


def label_faults(
    read: ReadSplit,
    labels: str,
    *,
    symbols: Collection[str] | None = None,
    symbols_from: str = "the dictionary",
    training: bool = False,
    mask_length: int = MASK_LENGTH,
) -> Iterator[Fault]:
    """Faults that the two files show, as `check_manifest` says.

    Raises UserError for a dictionary that cannot be read.
    """
    if symbols is None:
        dictionary = read.data / f"dict.{labels}.txt"
        symbols, symbols_from = read_dictionary(dictionary), str(dictionary)
    yield from _symbol_faults(read, frozenset(symbols), symbols_from)
    yield from _length_faults(read, training, mask_length)


def _symbol_faults(read: ReadSplit, known: Collection[str], source: str) -> Iterator[Fault]:
    for row, line in enumerate(read.checked.labels, start=1):
        symbols = line.split()
        if not symbols:
            yield Fault(
                "empty label", f"{read.text} row {row} is empty; remove it here and in the .tsv"
            )
        for symbol in symbols:
            if symbol not in known:
                yield Fault(
                    "symbol outside the dictionary",
                    f"{read.text} row {row}: the symbol {symbol!r} is not in {source}",
                )
                break


def _length_faults(read: ReadSplit, training: bool, mask_length: int) -> Iterator[Fault]:
    least = least_samples(mask_length if training else 0)
    for number, (row, line) in enumerate(zip(read.checked.manifest.rows, read.checked.labels)):
        if row.frames < least:
            why = (
                "a frame of wav2vec 2.0"
                if row.frames < least_samples(0)
                else f"span masks of {mask_length} frames, which would cover all of it"
            )
            yield Fault(
                "audio too short",
                f"{read.tsv} row {number + 2}: {row.path} has {row.frames} samples, too few for "
                f"{why}; remove rows of less than {least} samples, with their labels",
            )
        elif training:
            needed, frames = needed_frames(line.split()), ctc_frames(row.frames)
            if needed > frames:
                yield Fault(
                    "label longer than its audio",
                    f"{read.text} row {number + 1} needs {needed} frames, and {row.path} has "
                    f"{frames}: CTC cannot align them; correct the label, or remove the row here "
                    "and in the .tsv",
                )


def training_warnings(data: PathLike, splits: Sequence[str], labels: str) -> tuple[str, ...]:
    """Tell what a training on these manifests would be refused for, a line for each kind.

    Args:
        data: the folder that holds them.
        splits: their names; those that training validates on are checked as such.
        labels: ending of the label files.
    """
    counts: dict[tuple[str, str], list[str]] = {}
    for split in splits:
        read = read_split(data, split, labels)
        for fault in label_faults(read, labels, training=is_training(split)):
            counts.setdefault((split, fault.kind), []).append(fault.message)
    return tuple(
        f"training refuses {len(messages):,} rows of {split} ({kind}); the first: "
        f"{messages[0].replace(str(data) + os.sep, '')}"
        for (split, kind), messages in counts.items()
    )


def audio_faults(
    read: ReadSplit,
    *,
    sample_rate: int = SAMPLE_RATE,
    jobs: int | None = None,
    progress: bool | None = False,
    short: list[str] | None = None,
) -> Iterator[Fault]:
    """Faults of the audio, by its headers; the options are `HeaderReader`'s.

    Files that end a little before their header says, which is no fault, are added to `short`.
    """
    tsv, manifest = read.tsv, read.checked.manifest
    absolute = [os.path.isabs(row.path) for row in manifest.rows]
    rows = range(len(manifest.rows))
    if not os.path.isdir(manifest.root) and not all(absolute):
        yield Fault(
            "missing root",
            f"{tsv} row 1: {manifest.root}: no such folder; the audio was moved, so build the "
            "manifest again or put its new place in row 1",
        )
        rows = [row for row in rows if absolute[row]]
    archives = {row: _IN_ARCHIVE.match(read.audio(row)) for row in rows}
    for row, archive in archives.items():
        if archive and not os.path.isfile(archive.group(1)):
            yield Fault(*_missing(tsv, row, read.audio(row)))
    rows = [row for row, archive in archives.items() if not archive]
    with HeaderReader(len(rows), jobs=jobs, sample_rate=sample_rate, progress=progress) as reader:
        for row, frames in zip(rows, reader.results([read.audio(row) for row in rows])):
            path, stated = read.audio(row), manifest.rows[row].frames
            if isinstance(frames, AudioError):
                if frames.problem == "missing audio":
                    yield Fault(*_missing(tsv, row, path))
                else:
                    yield Fault(frames.problem, f"{tsv} row {row + 2}: {frames}")
            elif frames != stated:
                yield Fault(
                    "other length",
                    f"{tsv} row {row + 2}: {path} has {frames} samples, not {stated}; the "
                    "audio changed, so build the manifest again",
                )
        if short is not None:
            short += sorted(reader.short)


def _missing(tsv: Path, row: int, path: str) -> tuple[str, str]:
    return (
        "missing audio",
        f"{tsv} row {row + 2}: {path}: no such audio file; build the manifest again",
    )
