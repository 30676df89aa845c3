"""A whole folder of manifests, checked against its audio: everything found, in one table.

What is an error here is what `check_manifest` refuses: they share their checks.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.check.split import (
    ERROR,
    WARNING,
    CheckedManifest,
    Fault,
    audio_faults,
    by_content,
    by_file,
    in_two_kinds,
    label_faults,
    missing_frames,
    own_symbols,
    read_split,
)
from parp_fairseq.manifests.labels.alphabet import oddities
from parp_fairseq.manifests.labels.labelling import dictionary_endings
from parp_fairseq.manifests.split_names import is_training
from parp_fairseq.manifests.tsv import available_splits
from parp_fairseq.table import aligned

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

    def add(split: str, ending: str, faults: Iterable[Fault]) -> None:
        for fault in faults:
            key = (split, ending, fault.level, fault.kind)
            counts.setdefault(key, [0, fault.message])[0] += 1

    sizes = []
    texts: dict[str, list[tuple[str, str]]] = {ending: [] for ending in endings}
    well: dict[str, tuple[str, CheckedManifest]] = {}
    for split in splits:
        for ending in endings:
            try:
                read = read_split(data, split, ending)
                well.setdefault(split, (ending, read))
                sizes.append(SplitSize(split, ending, len(read.labels), read.hours))
                texts[ending] += (
                    (f"{read.text} row {number}", "".join(line.split()))
                    for number, line in enumerate(read.labels, start=1)
                )
                add(split, ending, label_faults(read, *own_symbols(read), is_training(split)))
                add(split, ending, _warnings(read, is_training(split)))
            except UserError as error:
                add(split, ending, [Fault("unusable", str(error))])
        if split in well:
            ending, read = well[split]
            add(split, ending, audio_faults(read, decode=decode, jobs=jobs))
    for ending in endings:
        for found in oddities(texts[ending]):
            counts[("all", ending, WARNING, found.what)] = [found.texts, found.first]
    audio = by_content({split: read.paths for split, (_, read) in well.items()})
    speakers = {
        split: [(m[1], m[1]) for path in read.paths if (m := _LIBRISPEECH.search(path))]
        for split, (_, read) in well.items()
    }
    for split, fault in (*in_two_kinds("audio", audio), *in_two_kinds("speakers", speakers)):
        add(split, well[split][0], [fault])
    findings = tuple(Finding(*key, *entry) for key, entry in counts.items())
    return FolderReport(data, tuple(sizes), findings)


def _warnings(read: CheckedManifest, training: bool) -> Iterator[Fault]:
    """What would not break a run, but is hardly meant."""
    seen: dict[Hashable, int] = {}
    rows = zip(read.manifest.rows, read.labels, by_file(read.paths))
    for number, (row, line, (key, _)) in enumerate(rows, start=2):
        where = f"{read.tsv} row {number}: {row.path}"
        if row.frames > _LONG:
            says = (
                f"{where} has {row.frames} samples; fairseq stops where dataset.max_tokens is less"
            )
            yield Fault("longer than 37.5 s", says, WARNING)
        if training:
            # Repeated rows of a training split are upsampling.
            continue
        lacks = missing_frames(row.frames, line)
        if lacks:
            says = f"{where} is {lacks} frames too short"
            yield Fault("label longer than its audio", says, WARNING)
        before = seen.setdefault(key, number)
        if before != number:
            yield Fault("audio twice", f"{where} is in row {before} too", WARNING)
