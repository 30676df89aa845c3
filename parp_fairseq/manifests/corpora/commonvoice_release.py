"""Common Voice's releases: their tables, and a choice of hours among their clips.

The expected tree, in which the folder given may be `<lang>` or one or two above it::

    cv-corpus-<version>/<lang>/{train,dev,test,validated}.tsv
    cv-corpus-<version>/<lang>/clips/<name>.mp3

The tables are columns between tabs, without quoting: a quotation mark is part of the sentence.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.convert import Audio
from parp_fairseq.manifests.corpora.commonvoice_left import LeftOut
from parp_fairseq.manifests.corpora.draw import by_rounds

TREE = "cv-corpus-<version>/<lang>/clips/<name>.mp3 and {train,dev,test,validated}.tsv beside clips"

SPLITS = ("train", "dev", "test")
_COLUMNS = ("client_id", "path", "sentence")
# Candidates whose lengths are read at a time: a choice reads few more headers than it needs.
_CANDIDATES = 256


@dataclass(frozen=True)
class Recording:
    """A row of a table: the clip's name without ending, who speaks, and what is said."""

    id: str
    speaker: str
    sentence: str


def find_release(folder: Path, lang: str) -> Path:
    """The release's folder of a language, real path. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {TREE}")
    below = [folder / lang, *sorted(folder.glob(f"cv-corpus-*/{lang}")), folder]
    releases = [place for place in below if (place / "clips").is_dir()]
    if not releases:
        raise UserError(f"{folder} holds no {lang}/clips; expected {TREE}")
    if len(releases) > 1 and releases[0] != folder / lang:
        raise UserError(
            f"{folder} holds several releases of {lang}; give one, such as {releases[0]}"
        )
    return releases[0].resolve()


def read_table(path: Path, lang: str, left: LeftOut) -> dict[str, Recording]:
    """Clip id → its row, in the file's order.

    Rows with too few or too many columns (a tab or a line end in the sentence) are left out and
    counted in `left`, and so are rows that stand there again. Spaces in sentences are squeezed.

    Raises UserError naming file and row for text that is not UTF-8, a missing column, a name
    that is no plain file name, another language, or one clip with two sentences or speakers.
    """
    table: dict[str, Recording] = {}
    rows: dict[str, int] = {}
    speakers: dict[str, str] = {}
    columns: list[str] = []
    for row, line in enumerate(lines_of(path, TREE), start=1):
        fields = line.split("\t")
        if row == 1:
            columns = fields
            missing = [name for name in _COLUMNS if name not in columns]
            if missing:
                raise UserError(f"{path} row 1: no column {missing[0]!r}; is it Common Voice's?")
            speaker_at, name_at, sentence_at = (columns.index(name) for name in _COLUMNS)
            locale_at = columns.index("locale") if "locale" in columns else None
            continue
        if not line:
            continue
        if len(fields) != len(columns):
            left.add("malformed row", f"{path.name} row {row}")
            continue
        if locale_at is not None and fields[locale_at] not in ("", lang):
            raise UserError(
                f"{path} row {row} is in the language {fields[locale_at]!r}, not {lang!r}; give "
                "the folder of the language"
            )
        name = plain_name(fields[name_at], path, row)
        sentence = " ".join(fields[sentence_at].replace("\0", " ").split())
        # A speaker's name is long and comes back in many rows.
        speaker = speakers.setdefault(fields[speaker_at], fields[speaker_at])
        recording = Recording(name, speaker, sentence)
        if name in table:
            if table[name] != recording:
                raise UserError(
                    f"{path} row {row}: {name} stands in row {rows[name]} with another sentence "
                    "or speaker; remove one of them"
                )
            left.add("listed twice", name)
            continue
        table[name] = recording
        rows[name] = row
    return table


def plain_name(name: str, path: Path, row: int) -> str:
    """A clip's name without `.mp3`. Raises UserError for one that could leave its folder."""
    stem = name[:-4] if name.lower().endswith(".mp3") else name
    if stem != stem.strip() or stem in ("", ".", "..") or any(c in stem for c in "/\\\0\t\r\n"):
        raise UserError(f"{path} row {row}: {name!r} is no plain file name; correct or remove it")
    return stem


def lines_of(path: Path, expected: str) -> Iterator[str]:
    """Lines of a UTF-8 file without line ends (LF or CRLF) and byte order mark.

    Raises UserError naming file and row; `expected` says where such a file belongs.
    """
    try:
        with path.open("rb") as handle:
            for row, line in enumerate(handle, start=1):
                try:
                    text = line.rstrip(b"\r\n").decode("utf-8")
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path} row {row} is not UTF-8 text; save the file as UTF-8"
                    ) from error
                yield text.lstrip("\ufeff") if row == 1 else text
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected {expected}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def without_overlap(splits: dict[str, dict[str, Recording]], left: LeftOut) -> None:
    """Take from `train` what stands in `dev` or `test` too, and from `dev` what does in `test`."""
    later: set[str] = set()
    for split in reversed(SPLITS):
        for name in [name for name in splits[split] if name in later]:
            left.add(f"{split} clip that a later split holds too", name)
            del splits[split][name]
        later.update(splits[split])


def disjoint_candidates(
    validated: dict[str, Recording],
    dev: dict[str, Recording],
    test: dict[str, Recording],
    left: LeftOut,
) -> dict[str, list[Recording]]:
    """What each split's hours are chosen from: no speaker is in two of the three.

    `test` is whole; `dev` lacks the speakers of `test`; `train` is what was validated of
    speakers in neither, save sentences that `dev` or `test` hold.
    """
    tested = {recording.speaker for recording in test.values()}
    kept = {"dev": [], "test": list(test.values()), "train": []}
    for recording in dev.values():
        if recording.speaker in tested:
            left.add("dev clip of a speaker in test", recording.id)
        else:
            kept["dev"].append(recording)
    speakers = tested | {recording.speaker for recording in dev.values()}
    sentences = {r.sentence for table in (dev, test) for r in table.values()}
    for recording in validated.values():
        if recording.speaker in speakers:
            left.add("validated clip of a speaker in dev or test", recording.id)
        elif recording.sentence in sentences:
            left.add("validated clip of a sentence in dev or test", recording.id)
        else:
            kept["train"].append(recording)
    return kept


def choose(
    candidates: Sequence[Recording],
    hours: float,
    seed: int,
    measure: Callable[[Sequence[str]], Sequence[Audio]],
    left: LeftOut,
    *,
    what: str = "clips",
    progress: bool | None = None,
) -> tuple[list[Recording], float, bool]:
    """Up to `hours` of the candidates, spread evenly over their speakers; their length, in hours;
    and whether there would have been more.

    Speakers come in a random order, one clip of each, then a second of each, and so on, until
    the next clip would exceed `hours`. The order is a function of `seed`, speakers and ids alone.
    `measure` gives lengths by id; clips with faults are passed over and counted in `left`.
    """
    from tqdm import tqdm

    show = sys.stderr.isatty() if progress is None else progress
    order = by_rounds(candidates, seed, lambda r: r.id, lambda r: r.speaker)
    chosen: list[Recording] = []
    total = 0.0
    form = "{desc}: {n:.2f} of {total:.2f} hours"
    with tqdm(desc=f"choosing {what}", total=hours, bar_format=form, disable=not show) as bar:
        for start in range(0, len(order), _CANDIDATES):
            batch = order[start : start + _CANDIDATES]
            for recording, audio in zip(batch, measure([r.id for r in batch])):
                if audio.fault:
                    left.add(audio.fault, recording.id)
                    continue
                if total + audio.hours > hours:
                    return chosen, total, True
                chosen.append(recording)
                total += audio.hours
                bar.update(audio.hours)
    return chosen, total, False


def check_hours(hours: float, option: str) -> None:
    """Raise UserError unless `hours` is a positive, finite number."""
    if not (math.isfinite(hours) and hours > 0):
        raise UserError(f"{option} is {hours}, expected a number above 0")
