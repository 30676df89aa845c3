"""One manifest for several languages (paper, section 4.4).

fairseq's audio tasks do not sample among languages: a joint run trains on their manifests one
after another, with one dictionary, and repeated rows where a language shall be heard more often.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_lines
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.check.split import read_split
from parp_fairseq.manifests.labels.letters import Letters
from parp_fairseq.manifests.labels.pieces import Pieces
from parp_fairseq.manifests.labels.units import (
    dictionary_endings,
    dictionary_lines,
)
from parp_fairseq.manifests.output import manifests_into
from parp_fairseq.manifests.overrides import override, training_overrides
from parp_fairseq.manifests.splits import kind_of
from parp_fairseq.manifests.summary import BuildSummary, SplitSummary
from parp_fairseq.manifests.tsv import Manifest, Row, available_splits, read_lines, write_tsv
from parp_fairseq.table import aligned

TRAIN = "train"

_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Language:
    """A language's share of the joint training set.

    Attributes:
        share: of the joint set's audio, in [0, 1].
        repeats: how often its rows stand there, on average; 1 or more.
    """

    name: str
    utterances: int
    hours: float
    share: float
    repeats: float


@dataclass(frozen=True)
class JointSummary(BuildSummary):
    """What was written, and how much of each language is heard."""

    languages: tuple[Language, ...] = ()

    def render(self) -> str:
        """The table of languages, then that of splits."""
        rows = [
            (
                one.name,
                f"{one.utterances:,}",
                f"{one.hours:.2f}",
                f"{one.share:.1%}",
                f"{one.repeats:.2f}",
            )
            for one in self.languages
        ]
        header = ("language", "utterances", "hours", "of joint train", "repeats")
        lines = [aligned(header, rows), "", super().render()]
        subsets = [s.split for s in self.splits if kind_of(s.split) == "valid"]
        if subsets:
            # fairseq chooses "best" by the first.
            every = override("dataset.valid_subset", ",".join(subsets))
            lines.append(f"to see each language: {every}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {**super().to_json(), "languages": [vars(one) for one in self.languages]}


def build_joint(
    folders: Sequence[str],
    out: PathLike,
    *,
    temperature: float = 1.0,
    labels: str | None = None,
    force: bool = False,
) -> JointSummary:
    """Write the joint training set, its dictionary, and each language's other splits.

    `train` holds every language's training rows, under absolute paths. Each further split, say
    dev and test, is kept as `dev-nl`, `test-nl`, and those for validation are joined under their
    own name (`dev`) too. The dictionary holds the symbols of all languages, by how often the
    training rows without repeats have them.

    Args:
        folders: one a language, with manifests: its path, whose last part is the language's
            name, or `NAME=PATH`.
        out: folder to write into.
        temperature: T, 1 or more. Language l gets the share p_l ∝ (n_l / N)^(1/T) of the joint
            training set, n_l its samples and N those of all. 1 leaves the rows as they are, inf
            gives all languages the same share. The language that is to be repeated least keeps
            its rows; the others' are repeated whole, and then evenly spaced ones once more.
        labels: ending of the label files (default: the one that all folders have).
        force: replace the manifests of an earlier build there.

    Raises:
        UserError: fewer than two languages, one twice, missing manifests, splits or dictionaries,
            labels that differ in kind, an audio path that a manifest cannot hold.
    """
    if not (temperature >= 1):
        raise UserError(f"--temperature is {temperature}, expected 1 or more (inf: equal shares)")
    languages = _named(folders)
    labels = labels or _common_labels(languages)
    if labels == Pieces.ending:
        raise UserError(
            f"labels {labels}: each folder has pieces of a model of its own; build the languages "
            "with letters or phones"
        )
    post_process = "letter" if labels == Letters.ending else "none"
    out = Path(out)
    symbols = {
        symbol
        for folder in languages.values()
        for symbol in read_dictionary(folder / f"dict.{labels}.txt")
    }
    splits: dict[str, _Rows] = {}
    trained: dict[str, _Rows] = {}
    for split in _common_splits(languages):
        parts = {name: _read(folder, split, labels) for name, folder in languages.items()}
        if split == TRAIN:
            trained = parts
            continue
        if kind_of(split) == "valid":
            _add(splits, split, _joined(list(parts.values()), [1.0] * len(parts)))
        for name, part in parts.items():
            _add(splits, f"{split}-{name}", part)
    repeats = repeats_for([part.samples for part in trained.values()], temperature)
    joint = _joined(list(trained.values()), repeats)
    splits = {TRAIN: joint, **splits}
    counts: Counter[str] = Counter(
        symbol for part in trained.values() for label in part.labels for symbol in label.split()
    )
    inputs = list(languages.values())
    options = {
        "languages": {name: str(folder.resolve()) for name, folder in languages.items()},
        "temperature": temperature,
        "labels": labels,
    }
    into = manifests_into(out, "parp manifest joint", inputs=inputs, options=options, force=force)
    with into as stage:
        summaries = [_write(stage, split, rows, labels) for split, rows in splits.items()]
        lines = dictionary_lines({**dict.fromkeys(symbols, 0), **counts})
        write_lines(stage / f"dict.{labels}.txt", lines)
    shares = [part.samples * often for part, often in zip(trained.values(), repeats)]
    return JointSummary(
        out=out,
        splits=tuple(summaries),
        overrides=training_overrides(out, summaries, labels, post_process),
        languages=tuple(
            Language(name, len(part.audio), part.hours, share / sum(shares), often)
            for (name, part), share, often in zip(trained.items(), shares, repeats)
        ),
    )


def repeats_for(sizes: Sequence[int], temperature: float) -> list[float]:
    """How often each language is to stand in the joint set, the least of them once.

    With n the sizes and N their sum, shares p ∝ (n / N)^(1/T) ask for repeats r ∝ p / n.
    """
    # In logarithms, and relative to the largest: the largest is repeated least.
    largest = max(sizes)
    return [math.exp((1 - 1 / temperature) * math.log(largest / size)) for size in sizes]


def repeated(count: int, repeats: float) -> Iterator[int]:
    """Row numbers 0 to `count` - 1 in order, `repeats` times; the fraction is evenly spaced."""
    total = round(count * repeats)
    whole, rest = divmod(total, count)
    for _ in range(whole):
        yield from range(count)
    for number in range(rest):
        yield number * count // rest


@dataclass(frozen=True)
class _Rows:
    """A split: audio under absolute paths, labels, and texts where they are known."""

    audio: list[Row]
    labels: list[str]
    texts: list[str] | None

    @property
    def samples(self) -> int:
        return sum(row.frames for row in self.audio)

    @property
    def hours(self) -> float:
        return self.samples / SAMPLE_RATE / 3600


def _read(folder: Path, split: str, labels: str) -> _Rows:
    read = read_split(folder, split, labels)
    frames = [row.frames for row in read.checked.manifest.rows]
    audio = [Row(os.path.abspath(read.audio(i)), count) for i, count in enumerate(frames)]
    texts = folder / f"{split}.wrd"
    lines = read_lines(texts) if texts.is_file() else None
    if lines is not None and len(lines) != len(audio):
        raise UserError(
            f"{texts} has {len(lines)} lines but {read.tsv} lists {len(audio)} audio files; "
            "build both again"
        )
    return _Rows(audio, read.checked.labels, lines)


def _joined(parts: Sequence[_Rows], repeats: Sequence[float]) -> _Rows:
    rows = [
        (part, row)
        for part, often in zip(parts, repeats)
        for row in repeated(len(part.audio), often)
    ]
    texts = None
    if all(part.texts is not None for part in parts):
        texts = [part.texts[row] for part, row in rows]
    return _Rows(
        [part.audio[row] for part, row in rows], [part.labels[row] for part, row in rows], texts
    )


def _add(splits: dict[str, _Rows], name: str, rows: _Rows) -> None:
    if name in splits:
        raise UserError(
            f"the split {name} would be written twice; give the language another name "
            "(--in NAME=PATH)"
        )
    splits[name] = rows


def _write(folder: Path, split: str, rows: _Rows, labels: str) -> SplitSummary:
    write_tsv(folder / f"{split}.tsv", Manifest(os.sep, tuple(rows.audio)))
    write_lines(folder / f"{split}.{labels}", rows.labels)
    if rows.texts is not None:
        write_lines(folder / f"{split}.wrd", rows.texts)
    words = sum(len(text.split()) for text in rows.texts or ())
    return SplitSummary(".", split, len(rows.audio), rows.samples, words)


def _named(folders: Sequence[str]) -> dict[str, Path]:
    """Language → folder."""
    languages: dict[str, Path] = {}
    for entry in folders:
        name, equals, path = str(entry).partition("=")
        if not equals or os.sep in name:
            path = str(entry)
            name = Path(path).resolve().name
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{name!r} is no name for a language: letters, digits, - and _ alone; name it "
                "with --in NAME=PATH"
            )
        if name in languages:
            raise UserError(
                f"two folders are called {name}: {languages[name]} and {path}; name them with "
                "--in NAME=PATH"
            )
        if not Path(path).is_dir():
            raise UserError(f"{path}: no such folder; give a language's folder of manifests")
        languages[name] = Path(path)
    if len(languages) < 2:
        raise UserError("a joint manifest needs two languages or more: --in nl --in fr")
    return languages


def _common_labels(languages: dict[str, Path]) -> str:
    labels = {name: dictionary_endings(folder) for name, folder in languages.items()}
    for name, endings in labels.items():
        if not endings:
            raise UserError(f"{languages[name]} holds no dict.*.txt; build its manifests again")
    common = [e for e in next(iter(labels.values())) if all(e in each for each in labels.values())]
    if not common:
        kinds = ", ".join(f"{name} has {' and '.join(each)}" for name, each in labels.items())
        raise UserError(f"the languages differ in their labels: {kinds}; build them with the same")
    if len(common) > 1:
        raise UserError(f"all languages have {' and '.join(common)}; choose with --labels")
    return common[0]


def _common_splits(languages: dict[str, Path]) -> list[str]:
    """train and the others; every language must have all of them."""
    available = {name: set(available_splits(folder)) for name, folder in languages.items()}
    wanted = sorted(set().union(*available.values()) | {TRAIN})
    for name, splits in available.items():
        for split in wanted:
            if split not in splits:
                others = ", ".join(other for other in available if split in available[other])
                has = f", which {others} has" if others else ""
                raise UserError(
                    f"{languages[name]} has no {split}.tsv{has}; build it there, or take it out "
                    "of the others"
                )
    return wanted
