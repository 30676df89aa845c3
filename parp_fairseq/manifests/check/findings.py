"""A whole folder of manifests, checked against its audio: everything found, in one table.

What is an error here is what `check_manifest` refuses: they share their checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.check.split import (
    CheckedManifest,
    Fault,
    audio_faults,
    by_file,
    in_two_kinds,
    label_faults,
    missing_frames,
    own_symbols,
    read_split,
)
from parp_fairseq.manifests.labels.alphabet import oddities
from parp_fairseq.manifests.labels.units import dictionary_endings
from parp_fairseq.manifests.split_names import is_training
from parp_fairseq.manifests.tsv import available_splits
from parp_fairseq.table import aligned

ERROR, WARNING = "error", "warning"

# `<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`
_LIBRISPEECH = re.compile(r"(?:^|/)(\d+)/(\d+)/\1-\2-\d+\.\w+$")
# The smallest dataset.max_tokens of our configs, in samples: fairseq stops at a longer utterance.
_LONG = 600_000


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
class SplitSize:
    """A split that could be read."""

    split: str
    labels: str
    utterances: int
    hours: float


@dataclass(frozen=True)
class FolderReport:
    """What `check_folder` found."""

    data: Path
    splits: tuple[SplitSize, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that would break a run."""
        return all(finding.level != ERROR for finding in self.findings)

    def render(self) -> str:
        """An aligned table: a row for each problem, or one for a split that has none."""
        sizes = {(s.split, s.labels): (f"{s.utterances:,}", f"{s.hours:.2f}") for s in self.splits}
        found: dict[tuple[str, str], list[tuple[str, str, str]]] = {key: [] for key in sizes}
        for f in self.findings:
            row = (f"{f.level}: {f.problem}", f"{f.count:,}", f.first)
            found.setdefault((f.split, f.labels), []).append(row)
        rows = [
            (*key, *sizes.get(key, ("", "")), *row)
            for key, here in found.items()
            for row in here or [("ok", "", "")]
        ]
        header = ("split", "labels", "utterances", "hours", "result", "times", "first")
        return aligned(header, rows, left=len(header))

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {**asdict(self), "data": str(self.data), "ok": self.ok}


def check_folder(
    data: PathLike,
    *,
    labels: str | None = None,
    decode: bool = False,
    jobs: int | None = None,
) -> FolderReport:
    """Check every split of the folder `data`.

    Args:
        data: folder with `{split}.tsv`, labels and dictionaries.
        labels: their ending (default: each that has a `dict.{labels}.txt` there).
        decode: also decode all audio, which finds files that end early or are damaged inside.
        jobs: threads that read audio.

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
    counts: dict[tuple[str, str, str, str], list[Any]] = {}

    def add(split: str, ending: str, level: str, *faults: Fault) -> None:
        for fault in faults:
            counts.setdefault((split, ending, level, fault.kind), [0, fault.message])[0] += 1

    sizes = []
    texts: dict[str, list[tuple[str, str]]] = {ending: [] for ending in endings}
    read_well: dict[str, tuple[str, CheckedManifest]] = {}
    for split in splits:
        for ending in endings:
            try:
                read = read_split(data, split, ending)
                read_well.setdefault(split, (ending, read))
                sizes.append(SplitSize(split, ending, len(read.labels), read.hours))
                texts[ending] += (
                    (f"{read.text} row {number}", "".join(line.split()))
                    for number, line in enumerate(read.labels, start=1)
                )
                faults = label_faults(read, *own_symbols(read), is_training(split))
                add(split, ending, ERROR, *faults)
            except UserError as error:
                add(split, ending, ERROR, Fault("unusable", str(error)))
                continue
            add(split, ending, WARNING, *_warnings(read, is_training(split)))
        if split in read_well:
            ending, read = read_well[split]
            odd: list[Fault] = []
            faults = audio_faults(read, decode=decode, jobs=jobs, progress=None, odd=odd)
            add(split, ending, ERROR, *faults)
            add(split, ending, WARNING, *odd)
    for ending in endings:
        for found in oddities(texts[ending]):
            counts[("all", ending, WARNING, found.what)] = [found.texts, found.first]
    every = {split: read for split, (_, read) in read_well.items()}
    audio = {
        split: by_file(map(read.audio, range(len(read.labels)))) for split, read in every.items()
    }
    speakers = {
        split: [(m[1], m[1]) for row in read.manifest.rows if (m := _LIBRISPEECH.search(row.path))]
        for split, read in every.items()
    }
    for split, fault in (*in_two_kinds("audio", audio), *in_two_kinds("speakers", speakers)):
        add(split, read_well[split][0], WARNING, fault)
    findings = tuple(Finding(*key, *entry) for key, entry in counts.items())
    return FolderReport(data, tuple(sizes), findings)


def _warnings(read: CheckedManifest, training: bool) -> Iterator[Fault]:
    """What would not break a run, but is hardly meant."""
    seen: dict[str, int] = {}
    for number, (row, line) in enumerate(zip(read.manifest.rows, read.labels)):
        where = f"{read.tsv} row {number + 2}: {row.path}"
        if row.frames > _LONG:
            says = (
                f"{where} has {row.frames} samples; fairseq stops where dataset.max_tokens is less"
            )
            yield Fault("longer than 37.5 s", says)
        if training:
            # Repeated rows of a training split are upsampling.
            continue
        lacks = missing_frames(row.frames, line)
        if lacks:
            yield Fault("label longer than its audio", f"{where} is {lacks} frames too short")
        before = seen.setdefault(row.path, number)
        if before != number:
            yield Fault("audio twice", f"{where} is in row {before + 2} too")
