"""Is a manifest fit for training or scoring? Asked before either begins."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, sha256
from parp_fairseq.manifests.audio.headers import (
    SAMPLE_RATE,
    AudioError,
    in_threads,
    read_recording,
)
from parp_fairseq.manifests.labels.ctc import MASK_LENGTH, ctc_frames, least_samples, needed_frames
from parp_fairseq.manifests.split_names import is_training, kind_of
from parp_fairseq.manifests.tsv import Manifest, available_splits, read_lines, read_tsv

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class CheckedManifest:
    """A split: its utterances and their labels, row by row; and its two files."""

    split: str
    manifest: Manifest
    labels: list[str]
    tsv: Path
    text: Path

    @property
    def hours(self) -> float:
        """Length at 16 kHz, in hours."""
        return self.manifest.frames / SAMPLE_RATE / 3600

    @property
    def paths(self) -> list[str]:
        """Where the audio of each row is."""
        return [os.path.join(self.manifest.root, row.path) for row in self.manifest.rows]


@dataclass(frozen=True)
class Fault:
    """What is wrong: its kind in a few words, the line to tell, and whether it breaks a run."""

    kind: str
    message: str
    level: str = ERROR


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
    audio are equally many, no label is empty, every symbol is in `dict.{labels}.txt`, or
    in `symbols` where given (a checkpoint's own dictionary; `symbols_from` names it), every
    file is mono at `sample_rate`, as long as its row says and long enough for a frame.

    With `training`, labels must also fit into their audio's frames (CTC's loss would be infinite,
    or zero with zero_infinity), and span masks of `mask_length` frames (0: none) into the audio.

    Every header is read, 5,000 to 10,000 a second on one core.
    """
    read = read_split(data, split, labels)
    if symbols is None:
        symbols, symbols_from = own_symbols(read)
    of_labels = label_faults(read, symbols, symbols_from, training, mask_length)
    for fault in itertools.chain(of_labels, audio_faults(read, sample_rate=sample_rate)):
        if fault.level == ERROR:
            raise UserError(fault.message)
    return read


def check_lengths(checked: CheckedManifest, limit: int | None, option: str) -> None:
    """Raise UserError for an utterance of more samples than the `option` lets a batch hold.

    Without a `limit` (None) there is none.
    """
    for number, row in enumerate(checked.manifest.rows, start=2):
        if limit is not None and row.frames > limit:
            raise UserError(
                f"{checked.split}.tsv row {number}: {row.path} has {row.frames} samples, more than "
                f"a batch may hold; raise {option} from {limit}, or remove the row"
            )


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


def read_split(data: PathLike, split: str, labels: str) -> CheckedManifest:
    """Read `{split}.tsv` and `{split}.{labels}`. Raises UserError as `check_manifest`."""
    tsv = manifest_file(data, split)
    text = tsv.with_name(f"{split}.{labels}")
    if not text.is_file():
        raise UserError(f"{text}: no such label file; check labels, or build the manifest again")
    manifest = read_tsv(tsv)
    if not manifest.rows:
        raise UserError(f"{tsv} lists no audio; build the manifest again")
    lines = read_lines(text, "label file")
    if len(lines) != len(manifest.rows):
        raise UserError(
            f"{text} has {len(lines)} lines but {tsv} lists {len(manifest.rows)} audio files"
        )
    return CheckedManifest(split, manifest, lines, tsv, text)


def own_symbols(read: CheckedManifest) -> tuple[list[str], str]:
    """The symbols of the dictionary next to the labels, and its path. Raises UserError."""
    dictionary = read.text.with_name(f"dict{read.text.suffix}.txt")
    return read_dictionary(dictionary), str(dictionary)


def label_faults(
    read: CheckedManifest,
    symbols: Collection[str],
    symbols_from: str,
    training: bool,
    mask_length: int = MASK_LENGTH,
) -> Iterator[Fault]:
    """Faults that the two files show, as `check_manifest` says."""
    known = frozenset(symbols)
    for number, line in enumerate(read.labels, start=1):
        if not line.split():
            says = f"{read.text} row {number} is empty; remove it here and in the .tsv"
            yield Fault("empty label", says)
        for symbol in line.split():
            if symbol not in known:
                says = f"{read.text} row {number}: the symbol {symbol!r} is not in {symbols_from}"
                yield Fault("symbol outside the dictionary", says)
                break
    least = least_samples(mask_length if training else 0)
    for number, (row, line) in enumerate(zip(read.manifest.rows, read.labels)):
        if row.frames < least:
            masks = f"span masks of {mask_length} frames"
            why = masks if row.frames >= least_samples(0) else "a frame of wav2vec 2.0"
            yield Fault(
                "audio too short",
                f"{read.tsv} row {number + 2}: {row.path} has {row.frames} samples, too few for "
                f"{why}; remove rows of less than {least} samples, with their labels",
            )
        elif training and missing_frames(row.frames, line):
            yield Fault(
                "label longer than its audio",
                f"{read.text} row {number + 1} needs {needed_frames(line.split())} frames, and "
                f"{row.path} has {ctc_frames(row.frames)}: CTC cannot align them",
            )


def missing_frames(samples: int, label: str) -> int:
    """How many frames the audio lacks for CTC to align the label; 0 or less is enough."""
    return max(0, needed_frames(label.split()) - ctc_frames(samples))


def training_warnings(data: PathLike, splits: Sequence[str], labels: str) -> Iterator[str]:
    """A line for each kind of thing that a training on these manifests would refuse."""
    for split in splits:
        read = read_split(data, split, labels)
        faults = label_faults(read, *own_symbols(read), is_training(split))
        for line in counted(faults, f"training refuses {{}} of {split}"):
            yield line.replace(str(data) + os.sep, "")


def counted(faults: Iterable[Fault], says: str) -> Iterator[str]:
    """A line for each kind: what it `says` of so many rows ({}), the kind, and the first one."""
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault.message)
    for kind, messages in kinds.items():
        yield f"{says.format(f'{len(messages):,} rows')} ({kind}); the first: {messages[0]}"


def audio_faults(
    read: CheckedManifest,
    *,
    sample_rate: int = SAMPLE_RATE,
    decode: bool = False,
    jobs: int | None = None,
) -> Iterator[Fault]:
    """Faults of the audio, by its headers, or with `decode` by all of it."""
    tsv, manifest, paths = read.tsv, read.manifest, read.paths
    rows = list(range(len(paths)))
    if not os.path.isdir(manifest.root) and not all(os.path.isabs(r.path) for r in manifest.rows):
        says = f"{tsv} row 1: {manifest.root}: no such folder; write there where the audio is now"
        yield Fault("missing root", says)
        rows = [row for row in rows if os.path.isabs(manifest.rows[row].path)]
    # Audio of repeated rows is read once.
    unique = list(dict.fromkeys(paths[row] for row in rows))
    found = dict(zip(unique, in_threads(partial(read_recording, decode=decode), unique, jobs=jobs)))
    for row in rows:
        where, stated, recording = (
            f"{tsv} row {row + 2}",
            manifest.rows[row].frames,
            found[paths[row]],
        )
        try:
            if isinstance(recording, AudioError):
                raise recording
            recording.check_fits(sample_rate)
            if recording.frames != stated:
                says = f"{paths[row]} has {recording.frames} samples, not {stated}"
                raise AudioError("other length", f"{says}; build the manifest again")
            for kind, says in recording.oddities():
                yield Fault(kind, f"{where}: {says}", WARNING)
        except AudioError as error:
            yield Fault(error.problem, f"{where}: {error}")


def in_two_kinds(
    what: str, splits: Mapping[str, Iterable[tuple[Hashable, str]]]
) -> Iterator[tuple[str, Fault]]:
    """What is in splits of two kinds (train, valid, test), given each split's keys and names.

    Yields the split that is not for training, and where else its audio or speaker is.
    """
    homes: dict[Hashable, dict[str, tuple[str, str]]] = {}
    for split, subjects in splits.items():
        for key, name in subjects:
            homes.setdefault(key, {}).setdefault(kind_of(split), (split, name))
    for kinds in homes.values():
        (first, _), *others = sorted(kinds.values(), key=lambda home: not is_training(home[0]))
        for other, name in others:
            yield other, Fault(f"{what} also in {first}", name, WARNING)


def by_file(paths: Iterable[str]) -> Iterator[tuple[Hashable, str]]:
    """Each path after a key that is equal for two names (links) of one file."""
    for path in paths:
        try:
            status = os.stat(path)
            yield (status.st_dev, status.st_ino), path
        except OSError:
            yield path, path


def by_content(splits: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[Hashable, str]]]:
    """Each split's paths after a key that is equal for links and, between splits, for copies.

    Only files of one size in splits of two kinds are read.
    """
    kinds: dict[int, set[str]] = {}
    sizes = {path: _size(path) for paths in splits.values() for path in paths}
    for split, paths in splits.items():
        for path in paths:
            kinds.setdefault(sizes[path], set()).add(kind_of(split))
    return {
        split: [
            (sha256(path), path) if sizes[path] > 0 and len(kinds[sizes[path]]) > 1 else (key, path)
            for key, path in by_file(paths)
        ]
        for split, paths in splits.items()
    }


def _size(path: str) -> int:
    """In bytes; -1 where it cannot be read."""
    return os.path.getsize(path) if os.path.isfile(path) and os.access(path, os.R_OK) else -1
