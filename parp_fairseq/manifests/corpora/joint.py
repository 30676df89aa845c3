"""One manifest for several languages (paper, section 4.4).

fairseq's audio tasks do not sample among languages: a joint run trains on their manifests one
after another, with one dictionary, and repeated rows where a language shall be heard more often.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.check.split import read_split
from parp_fairseq.manifests.labels.labelling import Symbols, Units
from parp_fairseq.manifests.labels.pieces import Pieces
from parp_fairseq.manifests.labels.units import dictionary_endings, dictionary_lines
from parp_fairseq.manifests.output_folder import manifests_into
from parp_fairseq.manifests.pipeline import Split, Utterance, write_folders
from parp_fairseq.manifests.split_names import TRAIN, VALID, kind_of
from parp_fairseq.manifests.summary import BuildSummary, override
from parp_fairseq.manifests.tsv import Row, available_splits, read_lines

_NAME = re.compile(r"[\w-]+")


def build_joint(
    folders: Sequence[str],
    out: PathLike,
    *,
    temperature: float = 1.0,
    labels: str | None = None,
    force: bool = False,
) -> BuildSummary:
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
        raise UserError(f"--temperature must be at least 1 (got {temperature}; inf: equal shares)")
    languages = _named(folders)
    labels = labels or _common_labels(languages)
    if labels == Pieces.ending:
        raise UserError(
            "each language has pieces of a model of its own; build them with letters or phones"
        )
    audio: dict[str, Row] = {}
    splits: dict[str, list[Utterance]] = {TRAIN: []}
    for split in _common_splits(languages):
        parts = {name: _read(path, split, labels, audio) for name, path in languages.items()}
        if split == TRAIN:
            trained = parts
            continue
        joined = [one for part in parts.values() for one in part]
        named = [(split, joined)] if kind_of(split) == VALID else []
        for name, rows in [*named, *((f"{split}-{name}", part) for name, part in parts.items())]:
            if name in splits:
                raise UserError(
                    f"the split {name} would be written twice; name languages with --in NAME=PATH"
                )
            splits[name] = rows
    samples = {name: sum(audio[one.audio].frames for one in trained[name]) for name in trained}
    repeats = dict(zip(trained, repeats_for(list(samples.values()), temperature)))
    for name, part in trained.items():
        splits[TRAIN] += [part[row] for row in repeated(len(part), repeats[name])]
    heard = {name: samples[name] * repeats[name] for name in trained}
    notes = [
        f"{name}: {len(part):,} utterances, {samples[name] / SAMPLE_RATE / 3600:.2f} hours; "
        f"repeated {repeats[name]:.2f} times, {heard[name] / sum(heard.values()):.1%} of train"
        for name, part in trained.items()
    ]
    subsets = ",".join(name for name in splits if kind_of(name) == VALID)
    if subsets:
        # fairseq chooses "best" by the first.
        notes.append(f"to see each language: {override('dataset.valid_subset', subsets)}")
    resolved = {name: str(folder.resolve()) for name, folder in languages.items()}
    options = {"languages": resolved, "temperature": temperature, "labels": labels}
    inputs = list(languages.values())
    into = manifests_into(out, "parp manifest joint", inputs=inputs, options=options, force=force)
    with into as stage:
        written = {"": [Split(name, os.sep, rows) for name, rows in splits.items()]}
        units = _JointSymbols(languages.values(), labels, trained)
        return write_folders(stage, Path(out), written, audio, units, notes=tuple(notes))


class _JointSymbols(Symbols):
    """The languages' labels as they are; the dictionary counts training rows without repeats."""

    def __init__(
        self, folders: Collection[Path], labels: str, trained: Mapping[str, Sequence[Utterance]]
    ) -> None:
        self.ending = labels
        self.post_process = Units.post_process if labels == Units.ending else "none"
        self._counts: Counter[str] = Counter()
        for folder in folders:
            self._counts.update(dict.fromkeys(read_dictionary(folder / f"dict.{labels}.txt"), 0))
        for part in trained.values():
            self._counts.update(symbol for one in part for symbol in one.symbols.split())

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        """All languages' symbols."""
        return dictionary_lines(self._counts)


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


def _read(folder: Path, split: str, labels: str, audio: dict[str, Row]) -> list[Utterance]:
    """A split's rows under absolute paths; their lengths go into `audio`."""
    read = read_split(folder, split, labels)
    count = len(read.labels)
    words = folder / f"{split}.wrd"
    texts = read_lines(words) if words.is_file() else [""] * count
    if len(texts) != count:
        raise UserError(f"{words} has {len(texts)} lines but {read.tsv} lists {count} audio files")
    paths = [os.path.abspath(read.audio(number)) for number in range(count)]
    audio.update((path, Row(path, row.frames)) for path, row in zip(paths, read.manifest.rows))
    rows = enumerate(zip(paths, texts, read.labels), start=2)
    return [
        Utterance(f"{read.tsv} row {n}", p, text, symbols=label) for n, (p, text, label) in rows
    ]


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
                f"{name!r} is not only letters, digits, - and _; name it with --in NAME=PATH"
            )
        if name in languages:
            says = f"two folders are called {name}: {languages[name]} and {path}"
            raise UserError(f"{says}; name them with --in NAME=PATH")
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
    common = sorted(set.intersection(*map(set, labels.values())))
    if not common:
        kinds = ", ".join(f"{name} has {' and '.join(each)}" for name, each in labels.items())
        raise UserError(f"the languages differ in their labels: {kinds}; build them with the same")
    if len(common) > 1:
        raise UserError(f"all languages have {' and '.join(common)}; choose with --labels")
    return common[0]


def _common_splits(languages: dict[str, Path]) -> list[str]:
    """train and the others; every language must have all of them."""
    available = {folder: set(available_splits(folder)) for folder in languages.values()}
    wanted = {TRAIN}.union(*available.values())
    for folder, splits in available.items():
        for split in sorted(wanted - splits):
            raise UserError(f"{folder} has no {split}.tsv; all languages need it")
    return sorted(wanted)
