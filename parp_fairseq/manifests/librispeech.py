"""LibriSpeech: manifests of any of its parts.

The expected tree, in which the folder given may be `LibriSpeech` or the one above it::

    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt

`<part>` is `train-clean-100`, `dev-other` and so on. The files written hold what fairseq's
`wav2vec_manifest.py` and `libri_labels.py` give on the same tree, sorted by path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio import read_headers
from parp_fairseq.manifests.staging import staged
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.transcripts import check_characters, read_transcripts
from parp_fairseq.manifests.tsv import Manifest, Row, write_lines, write_tsv
from parp_fairseq.manifests.units import ENGLISH_CHARACTERS, english_dictionary, to_letters

PathLike = Union[str, "os.PathLike[str]"]

TREE = "<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac with its .trans.txt beside it"


@dataclass(frozen=True)
class Utterance:
    """An audio file (absolute, links above it resolved) and its text."""

    id: str
    audio: Path
    text: str


@dataclass(frozen=True)
class Scan:
    """The utterances of some folders, sorted by path, and transcripts that had no audio."""

    utterances: tuple[Utterance, ...]
    transcripts_without_audio: int = 0


@dataclass(frozen=True)
class Split:
    """One manifest to write: `name` with paths that start from `root`."""

    name: str
    root: Path
    scan: Scan


def build_librispeech(
    librispeech: PathLike,
    splits: Sequence[str],
    out: PathLike,
    *,
    jobs: int | None = None,
    allow_missing_audio: bool = False,
) -> BuildSummary:
    """Write `{split}.tsv`, `.ltr`, `.wrd` and `dict.ltr.txt` into `out`.

    Each split is a part's name (`dev-other`) or a name for several parts together
    (`train=train-clean-100+train-clean-360`). Headers are read on `jobs` threads.
    `allow_missing_audio` leaves out, and counts, transcripts that have no audio.

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
    found = []
    for name, parts in wanted.items():
        folders = [root / part for part in parts]
        # fairseq's own recipe starts the paths of a part from the part's folder.
        start = folders[0] if len(folders) == 1 else root
        found.append(Split(name, start, scan(folders, allow_missing_audio=allow_missing_audio)))
    return write_splits(Path(out), {"": found}, jobs=jobs)


def find_librispeech(folder: PathLike) -> Path:
    """`LibriSpeech`'s real path, given it or the folder above it. Raises UserError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected LibriSpeech/{TREE}")
    below = folder / "LibriSpeech"
    return (below if below.is_dir() else folder).resolve()


def scan(folders: Sequence[Path], *, allow_missing_audio: bool = False) -> Scan:
    """Find the utterances of chapters anywhere below `folders`, in sorted order.

    Folders and files whose names start with a dot are passed over, as fairseq does. Raises
    UserError as `build_librispeech` says.
    """
    utterances: list[Utterance] = []
    where: dict[str, Path] = {}
    without_audio = 0
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected {TREE}")
        before = len(utterances)
        for chapter, audio, texts in _chapters(folder):
            found, unused = _read_chapter(chapter, audio, texts, allow_missing_audio)
            without_audio += unused
            for utterance in found:
                if utterance.id in where:
                    raise UserError(
                        f"{utterance.audio}: the utterance {utterance.id} also stands in "
                        f"{where[utterance.id]}; remove one of them"
                    )
                where[utterance.id] = chapter
                utterances.append(utterance)
        if len(utterances) == before:
            raise UserError(f"{folder} holds no .flac files; expected {TREE}")
    utterances.sort(key=lambda utterance: str(utterance.audio))
    return Scan(tuple(utterances), without_audio)


def write_splits(
    out: Path,
    folders: dict[str, Sequence[Split]],
    *,
    jobs: int | None = None,
    missing_parts: Sequence[str] = (),
) -> BuildSummary:
    """Write splits into folders below `out`, all or nothing; each header is read once."""
    scans = {id(split.scan): split.scan for splits in folders.values() for split in splits}
    audio = sorted({u.audio for one in scans.values() for u in one.utterances})
    samples = dict(zip(audio, read_headers(audio, jobs=jobs)))
    summaries = []
    with staged(out) as stage:
        for folder, splits in folders.items():
            place = stage / folder
            place.mkdir(parents=True, exist_ok=True)
            write_lines(place / "dict.ltr.txt", english_dictionary().splitlines())
            for split in splits:
                summaries.append(_write_split(place, folder, split, samples))
    return BuildSummary(
        out=out,
        splits=tuple(summaries),
        missing_parts=tuple(missing_parts),
        transcripts_without_audio=sum(s.transcripts_without_audio for s in scans.values()),
    )


def _write_split(place: Path, folder: str, split: Split, samples: dict[Path, int]) -> SplitSummary:
    utterances = split.scan.utterances
    rows = tuple(
        Row(u.audio.relative_to(split.root).as_posix(), samples[u.audio]) for u in utterances
    )
    manifest = Manifest(str(split.root), rows)
    write_tsv(place / f"{split.name}.tsv", manifest)
    write_lines(place / f"{split.name}.ltr", (to_letters(u.text) for u in utterances))
    write_lines(place / f"{split.name}.wrd", (u.text for u in utterances))
    return SplitSummary(
        folder=folder or ".",
        split=split.name,
        utterances=len(rows),
        samples=manifest.frames,
        words=sum(len(u.text.split()) for u in utterances),
    )


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


def _chapters(folder: Path) -> list[tuple[Path, list[str], list[str]]]:
    """Folders with audio or transcripts: path, its audio names, its transcript names."""
    chapters = []
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        # A link that leads back up would make the walk endless.
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in files if not name.startswith("."))
        audio = [name for name in visible if name.endswith(".flac")]
        texts = [name for name in visible if name.endswith(".trans.txt")]
        if audio or texts:
            chapters.append((Path(here), audio, texts))
    return chapters


def _read_chapter(
    chapter: Path, audio: Sequence[str], texts: Sequence[str], allow_missing_audio: bool
) -> tuple[list[Utterance], int]:
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
            check_characters(path, transcript, ENGLISH_CHARACTERS)
        elif not allow_missing_audio:
            raise UserError(
                f"{path} row {transcript.row}: {utterance}.flac is missing; unpack the corpus "
                "again, or allow missing audio to leave such transcripts out"
            )
    for utterance, file in ids.items():
        if utterance not in transcripts:
            raise UserError(
                f"{chapter / file} has no transcript in {name}; unpack the corpus again"
            )
    found = [Utterance(u, chapter / ids[u], transcripts[u].text) for u in ids]
    return found, len(transcripts) - len(ids)
