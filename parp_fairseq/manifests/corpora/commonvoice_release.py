"""Common Voice's releases: their tables, and a choice of hours among their clips.

The expected tree, in which the folder given may be `<lang>` or one or two above it::

    cv-corpus-<version>/<lang>/{train,dev,test,validated}.tsv
    cv-corpus-<version>/<lang>/clips/<name>.mp3
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.headers import AudioError, in_threads, read_recording
from parp_fairseq.manifests.sampling import by_rounds, up_to_hours
from parp_fairseq.manifests.summary import LeftOut
from parp_fairseq.manifests.table_reader import read_table

TREE = "cv-corpus-<version>/<lang>/clips/<name>.mp3 and {train,dev,test,validated}.tsv next to it"

SPLITS = ("train", "dev", "test")
_COLUMNS = ("client_id", "path", "sentence", "locale")
_CANDIDATES = 256


@dataclass(frozen=True)
class Clip:
    """A clip: its name without ending, who speaks, what is said, and that in phones."""

    id: str
    speaker: str = ""
    text: str = ""
    phones: str = ""


def find_release(folder: Path, lang: str) -> Path:
    """The release's folder of a language, real path. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {TREE}")
    below = [folder / lang, *sorted(folder.glob(f"cv-corpus-*/{lang}")), folder]
    releases = [place for place in below if (place / "clips").is_dir()]
    if not releases:
        raise UserError(f"{folder} holds no {lang}/clips; expected {TREE}")
    if len(releases) > 1 and releases[0] != folder / lang:
        raise UserError(f"{folder} holds several releases; give one, such as {releases[0]}")
    return releases[0].resolve()


def read_clips(path: Path, lang: str, left: LeftOut) -> dict[str, Clip]:
    """Clip id → the clip of its row, in the file's order.

    Rows with too few or too many columns (a tab or a line end in the sentence) are left out and
    counted in `left`, and so are duplicate rows. Spaces in sentences are squeezed.

    Raises UserError naming file and row for text that is not UTF-8, a missing column, a name
    that is no plain file name, another language, or one clip with two sentences or speakers.
    """
    clips: dict[str, Clip] = {}

    def malformed(row: int) -> None:
        left.add("malformed row", f"{path.name} row {row}")

    for row, cells in read_table(
        path, _COLUMNS, needed=_COLUMNS[:3], hint=f"expected {TREE}", malformed=malformed
    ):
        if cells.get("locale", "") not in ("", lang):
            raise UserError(
                f"{path} row {row} is in the language {cells['locale']!r}, not {lang!r}"
            )
        name = plain_name(cells["path"], path, row)
        sentence = " ".join(cells["sentence"].replace("\0", " ").split())
        # A speaker's name is long and comes back in many rows.
        clip = Clip(name, sys.intern(cells["client_id"]), sentence)
        if name in clips:
            left.add("listed twice", name)
        if clips.setdefault(name, clip) != clip:
            says = f"{name} has another sentence or speaker in an earlier row"
            raise UserError(f"{path} row {row}: {says}")
    return clips


def plain_name(name: str, path: Path, row: int) -> str:
    """A clip's name without `.mp3`. Raises UserError for one that could leave its folder."""
    stem = name[:-4] if name.lower().endswith(".mp3") else name
    if stem != stem.strip() or stem in ("", ".", "..") or any(c in stem for c in "/\\\0\t\r\n"):
        raise UserError(f"{path} row {row}: {name!r} is no plain file name; correct or remove it")
    return stem


def own_splits(folder: Path, lang: str, left: LeftOut) -> tuple[dict[str, list[Clip]], list[str]]:
    """The release's own train, dev and test, and notes.

    What is in two of them stays in the later one.
    """
    tables = {split: read_clips(folder / f"{split}.tsv", lang, left) for split in SPLITS}
    splits: dict[str, list[Clip]] = {}
    later: set[str] = set()
    for split, table in reversed(tables.items()):
        for name in (name for name in table if name in later):
            left.add(f"{split} clip that a later split holds too", name)
        splits[split] = [clip for name, clip in table.items() if name not in later]
        later.update(table)
    speakers = Counter(who for clips in splits.values() for who in {c.speaker for c in clips})
    shared = sum(count > 1 for count in speakers.values())
    says = f"{shared:,} speakers are in more than one split, as in the release"
    return splits, [says] if shared else []


def choose_splits(
    folder: Path,
    lang: str,
    hours: Mapping[str, float],
    seed: int,
    left: LeftOut,
    jobs: int | None,
) -> tuple[dict[str, list[Clip]], list[str]]:
    """So many hours of each split, spread over its speakers; and notes.

    Raises UserError where there is less for training.
    """
    tables = [read_clips(folder / f"{n}.tsv", lang, left) for n in ("validated", "dev", "test")]
    splits = {}
    for split, candidates in disjoint_candidates(*tables, left).items():
        order = by_rounds(candidates, seed, lambda c: c.id, lambda c: c.speaker)
        lengths = _lengths(order, folder, f"choosing {split}", left, jobs)
        splits[split], there, more = up_to_hours(lengths, hours[split])
        if split == "train" and not more:
            raise UserError(
                f"{folder / 'validated.tsv'} has only {there:.2f} hours of speakers outside dev "
                f"and test, not {hours[split]:g}; give fewer --hours"
            )
    return splits, [f"seed {seed}; no speaker is in two of train, dev and test"]


def _lengths(
    order: Sequence[Clip], folder: Path, title: str, left: LeftOut, jobs: int | None
) -> Iterator[tuple[Clip, int]]:
    """Clips with their samples at 16 kHz; few more headers are read than are asked for."""
    for start in range(0, len(order), _CANDIDATES):
        batch = order[start : start + _CANDIDATES]
        paths = [folder / "clips" / f"{clip.id}.mp3" for clip in batch]
        for clip, found in zip(batch, in_threads(read_recording, paths, jobs=jobs, title=title)):
            if isinstance(found, AudioError):
                left.add(found.problem, clip.id)
            elif found.silent:
                left.add("silent", clip.id)
            else:
                yield clip, found.samples


def disjoint_candidates(
    validated: Mapping[str, Clip], dev: Mapping[str, Clip], test: Mapping[str, Clip], left: LeftOut
) -> dict[str, list[Clip]]:
    """What each split's hours are chosen from: no speaker is in two of the three.

    `test` is whole; `dev` lacks the speakers of `test`; `train` is what was validated of
    speakers in neither, save sentences that `dev` or `test` hold.
    """
    tested = {clip.speaker for clip in test.values()}
    speakers = tested | {clip.speaker for clip in dev.values()}
    sentences = {clip.text for table in (dev, test) for clip in table.values()}
    kept: dict[str, list[Clip]] = {"train": [], "dev": [], "test": list(test.values())}
    for clip in dev.values():
        if clip.speaker in tested:
            left.add("dev clip of a speaker in test", clip.id)
        else:
            kept["dev"].append(clip)
    for clip in validated.values():
        if clip.speaker in speakers:
            left.add("validated clip of a speaker in dev or test", clip.id)
        elif clip.text in sentences:
            left.add("validated clip of a sentence in dev or test", clip.id)
        else:
            kept["train"].append(clip)
    return kept
