"""LibriSpeech: manifests of any of its parts.

The expected tree, in which the folder given may be `LibriSpeech` or the one above it::

    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt

`<part>` is `train-clean-100`, `dev-other` and so on. The files written hold what fairseq's
`wav2vec_manifest.py` and `libri_labels.py` give on the same tree, sorted by path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines
from parp_fairseq.manifests.audio.headers import HeaderReader
from parp_fairseq.manifests.corpora.transcripts import read_transcripts
from parp_fairseq.manifests.labels.labelling import Units, make_units, write_labels
from parp_fairseq.manifests.output import manifests_into
from parp_fairseq.manifests.overrides import training_overrides
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.tsv import Row, tsv_lines

TREE = "<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac with its .trans.txt beside it"

# Utterances held at a time; the rest of a corpus stays on the disk.
_BATCH = 4096


class Utterance(NamedTuple):
    """An audio file (absolute, links above it resolved) and its text."""

    audio: str
    text: str


@dataclass(frozen=True)
class Split:
    """One manifest to write: `name`, of what stands in `folders`, with paths from `root`."""

    name: str
    root: Path
    folders: tuple[Path, ...]


def build_librispeech(
    librispeech: PathLike,
    splits: Sequence[str],
    out: PathLike,
    *,
    units: str = "letters",
    vocab_size: int | None = None,
    jobs: int | None = None,
    allow_missing_audio: bool = False,
    force: bool = False,
) -> BuildSummary:
    """Write `{split}.tsv`, `.wrd`, the labels (`.ltr` for letters) and their dictionary to `out`.

    Each split is a part's name (`dev-other`) or a name for several parts together
    (`train=train-clean-100+train-clean-360`). `units` are letters (fairseq's dictionary),
    phones (by espeak-ng) or spm, of which `vocab_size` are learnt from the splits whose names
    begin with `train`. Headers are read on `jobs` threads. `allow_missing_audio` leaves out, and
    counts, transcripts that have no audio. `force` replaces the manifests of an earlier build.

    Nothing is written unless everything was read. Raises UserError naming file and row for a
    missing or empty part, damaged audio, another rate than 16 kHz mono, audio without
    transcript, transcripts without audio, an id that stands there twice, or a character outside
    the English letter dictionary.
    """
    root = find_librispeech(librispeech)
    if not splits:
        raise UserError("no splits given; name parts such as train-clean-100 or dev-other")
    wanted: dict[str, list[str]] = {}
    for entry in splits:
        name, parts = _parse_split(entry)
        if name in wanted:
            raise UserError(f"the split {name} is given twice; give each split its own name")
        wanted[name] = parts
    described = []
    for name, parts in wanted.items():
        folders = tuple(root / part for part in parts)
        # fairseq's own recipe starts the paths of a part from the part's folder.
        described.append(Split(name, folders[0] if len(folders) == 1 else root, folders))
    return write_splits(
        Path(out),
        {"": described},
        units=english_units(units, vocab_size),
        jobs=jobs,
        allow_missing_audio=allow_missing_audio,
        builder="parp manifest librispeech",
        options={
            "librispeech": str(root),
            "splits": list(splits),
            "units": units,
            "vocab_size": vocab_size,
        },
        force=force,
    )


def english_units(name: str, vocab_size: int | None) -> Units:
    """Units of English texts by their name."""
    lang = "en" if name == "phones" else None
    return make_units(name, vocab_size=vocab_size, lang=lang, english=True)


def find_librispeech(folder: PathLike) -> Path:
    """`LibriSpeech`'s real path, given it or the folder above it. Raises UserError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected LibriSpeech/{TREE}")
    below = folder / "LibriSpeech"
    return (below if below.is_dir() else folder).resolve()


def write_splits(
    out: Path,
    folders: dict[str, Sequence[Split]],
    *,
    units: Units,
    jobs: int | None = None,
    allow_missing_audio: bool = False,
    missing_parts: Sequence[str] = (),
    builder: str,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> BuildSummary:
    """Write splits into folders below `out`, all or nothing. Raises UserError.

    `builder`, `options` and `force` are those of `manifests_into`.

    Chapters are read one after another, so that memory does not grow with the corpus but for
    the utterances' ids. A split that several folders share is read once and copied.
    """
    every = {split: None for splits in folders.values() for split in splits}
    walks = {split: _Walk(split, units, allow_missing_audio) for split in every}
    summaries: list[SplitSummary] = []
    where: dict[Split, SplitSummary] = {}
    total = sum(walk.files for walk in walks.values())
    into = manifests_into(out, builder, folders=list(folders), options=options, force=force)
    with into as stage, HeaderReader(total, jobs=jobs) as reader:
        for folder, splits in folders.items():
            place = stage / folder
            place.mkdir(parents=True, exist_ok=True)
            for split in splits:
                if split in where:
                    for ending in ("tsv", "wrd"):
                        name = f"{split.name}.{ending}"
                        shutil.copyfile(stage / where[split].folder / name, place / name)
                    summaries.append(replace(where[split], folder=folder))
                else:
                    summaries.append(_write_split(place, folder, walks[split], reader))
                    where[split] = summaries[-1]
            write_labels(place, [split.name for split in splits], units)
    summaries = [replace(summary, folder=summary.folder or ".") for summary in summaries]
    return BuildSummary(
        out=out,
        splits=tuple(summaries),
        missing_parts=tuple(missing_parts),
        transcripts_without_audio=sum(walk.without_audio for walk in walks.values()),
        overrides=training_overrides(out, summaries, units.ending, units.post_process),
    )


@dataclass
class _Walk:
    """The utterances of a split, sorted by path, a chapter at a time.

    Folders and files whose names start with a dot are passed over, as fairseq does.
    """

    split: Split
    units: Units
    allow_missing_audio: bool
    chapters: list[Path] = field(init=False)
    files: int = field(init=False, default=0)
    without_audio: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.chapters = []
        for folder in sorted(self.split.folders, key=_in_order):
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder; expected {TREE}")
            before = self.files
            for chapter, files in _chapters(folder):
                self.chapters.append(chapter)
                self.files += files
            if self.files == before:
                raise UserError(f"{folder} holds no .flac files; expected {TREE}")

    def batches(self) -> Iterator[list[Utterance]]:
        """All utterances, at least `_BATCH` at a time but for the last."""
        where: dict[str, Path] = {}
        batch: list[Utterance] = []
        for chapter in self.chapters:
            for id_, utterance in self._read(chapter):
                if id_ in where:
                    raise UserError(
                        f"{utterance.audio}: the utterance {id_} also stands in {where[id_]}; "
                        "remove one of them"
                    )
                where[id_] = chapter
                batch.append(utterance)
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        yield batch

    def _read(self, chapter: Path) -> Iterator[tuple[str, Utterance]]:
        audio, texts = _listed(os.listdir(chapter))
        name = f"{chapter.parent.name}-{chapter.name}.trans.txt"
        if name not in texts:
            raise UserError(f"{chapter} has no {name}; expected {TREE}")
        path = chapter / name
        transcripts = read_transcripts(path)
        ids = {file.split(".")[0]: file for file in audio}
        if len(ids) != len(audio):
            raise UserError(f"{chapter} holds two .flac files of one utterance; remove one of them")
        for utterance, transcript in transcripts.items():
            if utterance in ids:
                objection = self.units.objection(transcript.text)
                if objection:
                    raise UserError(f"{path} row {transcript.row}: {objection}")
            elif not self.allow_missing_audio:
                raise UserError(
                    f"{path} row {transcript.row}: {utterance}.flac is missing; unpack the corpus "
                    "again, or pass --allow-missing-audio to leave such transcripts out"
                )
        for utterance, file in ids.items():
            if utterance not in transcripts:
                raise UserError(
                    f"{chapter / file} has no transcript in {name}; unpack the corpus again"
                )
            text = transcripts[utterance].text
            yield utterance, Utterance(os.path.join(chapter, file), text)
        self.without_audio += len(transcripts) - len(ids)


def _write_split(place: Path, folder: str, walk: _Walk, reader: HeaderReader) -> SplitSummary:
    split = walk.split
    counts = {"utterances": 0, "samples": 0, "words": 0}
    below = len(os.path.join(split.root, ""))
    texts = place / f"{split.name}.wrd"

    def rows() -> Iterator[Row]:
        with texts.open("w", encoding="utf-8", newline="\n") as handle:
            for batch in walk.batches():
                lengths = reader([utterance.audio for utterance in batch])
                for utterance, samples in zip(batch, lengths):
                    handle.write(f"{utterance.text}\n")
                    counts["utterances"] += 1
                    counts["samples"] += samples
                    counts["words"] += len(utterance.text.split())
                    yield Row(utterance.audio[below:], samples)

    write_lines(place / f"{split.name}.tsv", tsv_lines(str(split.root), rows()))
    return SplitSummary(folder=folder, split=split.name, **counts)


def _parse_split(entry: str) -> tuple[str, list[str]]:
    name, equals, parts = entry.partition("=")
    chosen = [part.strip() for part in (parts if equals else name).split("+")]
    name = name.strip()
    if not name or not all(chosen) or os.sep in name or name.startswith("."):
        raise UserError(
            f"the split {entry!r} is not understood; write a part (dev-other) or "
            "NAME=PART+PART (train=train-clean-100+train-clean-360)"
        )
    return name, chosen


def _in_order(path: Path) -> str:
    # With its separator, so that what stands below `a` comes after what stands below `a-b`, as
    # in a list of files that is sorted as text.
    return os.path.join(path, "")


def _chapters(folder: Path) -> Iterator[tuple[Path, int]]:
    """Folders with audio or transcripts, in the order of their files' paths: path, audio files."""
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        # A link that leads back up would make the walk endless.
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_in_order)
        audio, texts = _listed(files)
        if audio or texts:
            yield Path(here), len(audio)


def _listed(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The audio files and the transcripts among a folder's files, sorted."""
    visible = sorted(name for name in names if not name.startswith("."))
    audio = [name for name in visible if name.endswith(".flac")]
    return audio, [name for name in visible if name.endswith(".trans.txt")]
