"""A whole folder of manifests, checked against its audio: everything found, in one table.

What is an error here is what `check_manifest` refuses: they share their checks.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.check.split import (
    Fault,
    ReadSplit,
    audio_faults,
    label_faults,
    read_split,
)
from parp_fairseq.manifests.labels.ctc import ctc_frames, needed_frames
from parp_fairseq.manifests.labels.units import dictionary_endings
from parp_fairseq.manifests.splits import is_training, kind_of
from parp_fairseq.manifests.tsv import available_splits
from parp_fairseq.table import aligned

ERROR, WARNING = "error", "warning"

# `<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`
_LIBRISPEECH = re.compile(r"(?:^|/)(\d+)/(\d+)/\1-\2-\d+\.\w+$")
# The smallest dataset.max_tokens of our configs, in samples: fairseq stops at a longer utterance.
_LONG = 600_000
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Finding:
    """A kind of problem in a split: how often, and the first one.

    Attributes:
        level: `error` where it would break a run, else `warning`.
    """

    split: str
    labels: str
    level: str
    problem: str
    count: int
    first: str


@dataclass(frozen=True)
class CheckedSplit:
    """A split that could be read."""

    split: str
    labels: str
    utterances: int
    hours: float


@dataclass(frozen=True)
class FolderReport:
    """What `check_folder` found."""

    data: Path
    splits: tuple[CheckedSplit, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that would break a run."""
        return all(finding.level != ERROR for finding in self.findings)

    def render(self) -> str:
        """An aligned table: a row for each problem, or one for a split that has none."""
        rows = []
        read = {(s.split, s.labels): s for s in self.splits}
        keys = dict.fromkeys([*read, *((f.split, f.labels) for f in self.findings)])
        for split, labels in keys:
            size = read.get((split, labels))
            amount = (f"{size.utterances:,}", f"{size.hours:.2f}") if size else ("", "")
            here = [f for f in self.findings if (f.split, f.labels) == (split, labels)]
            for finding in here:
                result = f"{finding.level}: {finding.problem}"
                rows.append((split, labels, *amount, result, f"{finding.count:,}", finding.first))
            if not here:
                rows.append((split, labels, *amount, "ok", "", ""))
        header = ("split", "labels", "utterances", "hours", "result", "times", "first")
        return aligned(header, rows, left=len(header))

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "data": str(self.data),
            "ok": self.ok,
            "splits": [asdict(split) for split in self.splits],
            "findings": [asdict(finding) for finding in self.findings],
        }


class _Findings:
    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str, str], list[Any]] = {}

    def add(self, split: str, labels: str, level: str, problem: str, message: str) -> None:
        entry = self.counts.setdefault((split, labels, level, problem), [0, message])
        entry[0] += 1

    def all(self) -> tuple[Finding, ...]:
        return tuple(Finding(*key, *entry) for key, entry in self.counts.items())


def check_folder(
    data: PathLike,
    *,
    labels: str | None = None,
    decode: bool = False,
    jobs: int | None = None,
    progress: bool | None = None,
) -> FolderReport:
    """Check every split of the folder `data`.

    Args:
        data: folder with `{split}.tsv`, labels and dictionaries.
        labels: their ending (default: each that has a `dict.{labels}.txt` there).
        decode: also decode all audio, which finds files that end early or are damaged inside.
        jobs: threads that read headers.
        progress: bars on stderr; None means where stderr is a terminal.

    Raises:
        UserError: the folder is missing, or holds no manifest or no dictionary.
    """
    data = Path(data)
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give one that holds manifests")
    splits = available_splits(data)
    if not splits:
        raise UserError(f"{data} holds no .tsv; give the folder that holds train.tsv")
    endings = [labels] if labels else dictionary_endings(data)
    if not endings:
        raise UserError(f"{data} holds no dict.*.txt; put the dictionary there, or name --labels")
    findings = _Findings()
    sizes = []
    read_well: dict[str, ReadSplit] = {}
    for split in splits:
        for ending in endings:
            try:
                read = read_split(data, split, ending)
                read_well.setdefault(split, read)
                checked = read.checked
                sizes.append(CheckedSplit(split, ending, len(checked.labels), checked.hours))
                for fault in label_faults(read, ending, training=is_training(split)):
                    findings.add(split, ending, ERROR, fault.kind, fault.message)
            except UserError as error:
                findings.add(split, ending, ERROR, "unusable", str(error))
                continue
            for kind, message in _warnings(read, is_training(split)):
                findings.add(split, ending, WARNING, kind, message)
        if split in read_well:
            read = read_well[split]
            short: list[str] = []
            faults = list(audio_faults(read, jobs=jobs, progress=progress, short=short))
            if decode:
                faults += _decoding_faults(read, jobs, progress)
            for fault in faults:
                findings.add(split, read.text.suffix[1:], ERROR, fault.kind, fault.message)
            for path in short:
                message = f"{read.tsv}: {path} ends before its header says; it is used as it is"
                findings.add(split, read.text.suffix[1:], WARNING, "audio a little short", message)
    for split, kind, message in _shared(read_well):
        findings.add(split, read_well[split].text.suffix[1:], WARNING, kind, message)
    return FolderReport(data, tuple(sizes), findings.all())


def _warnings(read: ReadSplit, training: bool) -> Iterator[tuple[str, str]]:
    """What would not break a run, but is hardly meant."""
    seen: dict[str, int] = {}
    manifest = read.checked.manifest
    for number, (row, line) in enumerate(zip(manifest.rows, read.checked.labels)):
        if row.frames > _LONG:
            yield (
                "longer than 37.5 s",
                f"{read.tsv} row {number + 2}: {row.path} has {row.frames} samples; fairseq stops "
                "where dataset.max_tokens is less",
            )
        if training:
            # Repeated rows of a training split are upsampling.
            continue
        needed, frames = needed_frames(line.split()), ctc_frames(row.frames)
        if 0 < frames < needed:
            yield (
                "label longer than its audio",
                f"{read.text} row {number + 1} needs {needed} frames, and {row.path} has {frames}",
            )
        before = seen.setdefault(row.path, number)
        if before != number:
            yield (
                "audio twice",
                f"{read.tsv} row {number + 2}: {row.path} stands in row {before + 2} too",
            )


def _decoding_faults(read: ReadSplit, jobs: int | None, progress: bool | None) -> Iterator[Fault]:
    from tqdm import tqdm

    show = sys.stderr.isatty() if progress is None else progress
    rows = read.checked.manifest.rows
    with ThreadPoolExecutor(jobs) as pool:
        lengths = pool.map(_decoded, (read.audio(number) for number in range(len(rows))))
        bar = tqdm(lengths, total=len(rows), desc="decoding", unit="file", disable=not show)
        for number, frames in enumerate(bar):
            # What has no readable header was told before.
            if frames is not None and frames != rows[number].frames:
                yield Fault(
                    "audio ends early",
                    f"{read.tsv} row {number + 2}: {read.audio(number)} holds {frames} samples "
                    f"that can be decoded, not {rows[number].frames}; copy it again",
                )


def _decoded(path: str) -> int | None:
    """Samples that can be decoded; None for what is no audio file."""
    import soundfile

    frames = 0
    try:
        with soundfile.SoundFile(path) as audio:
            while True:
                try:
                    block = audio.read(_BLOCK, dtype="int16")
                except (soundfile.SoundFileError, RuntimeError):
                    return frames
                if not len(block):
                    return frames
                frames += len(block)
    except (soundfile.SoundFileError, OSError, RuntimeError):
        return None


def _shared(splits: dict[str, ReadSplit]) -> Iterator[tuple[str, str, str]]:
    """Audio and speakers that stand in splits of two kinds: train, valid, test."""
    for what, key in (("audio also in", _audio_of), ("speakers also in", _speaker_of)):
        yield from _in_two_kinds(splits, what, key)


def _in_two_kinds(
    splits: dict[str, ReadSplit], what: str, key: Callable[[ReadSplit, int], str | None]
) -> Iterator[tuple[str, str, str]]:
    homes: dict[str, dict[str, str]] = defaultdict(dict)
    for split, read in splits.items():
        for row in range(len(read.checked.labels)):
            subject = key(read, row)
            if subject is not None:
                homes[subject].setdefault(kind_of(split), split)
    for subject, kinds in homes.items():
        if len(kinds) > 1:
            first, *others = sorted(kinds.values(), key=lambda split: not is_training(split))
            for other in others:
                yield other, f"{what} {first}", subject


def _audio_of(read: ReadSplit, row: int) -> str:
    return os.path.normpath(read.audio(row))


def _speaker_of(read: ReadSplit, row: int) -> str | None:
    match = _LIBRISPEECH.search(read.checked.manifest.rows[row].path)
    return match.group(1) if match else None
