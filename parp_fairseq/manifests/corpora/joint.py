"""One manifest for several languages (paper, section 4.4).

fairseq's audio tasks do not sample among languages: a joint run trains on their manifests one
after another, with one dictionary.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.check.split import read_split
from parp_fairseq.manifests.labels.labelling import Symbols, dictionary_endings
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
    labels: str | None = None,
    force: bool = False,
) -> BuildSummary:
    """Write the joint training set, its dictionary, and each language's other splits.

    `train` holds every language's training rows, under absolute paths. Each further split, say
    dev and test, is kept as `dev-nl`, `test-nl`, and those for validation are joined under their
    own name (`dev`) too. The dictionary holds the symbols of all languages, by how often the
    training rows have them.

    Args:
        folders: one a language, with manifests: its path, whose last part is the language's
            name, or `NAME=PATH`.
        out: folder to write into.
        labels: ending of the label files (default: the one that all folders have).
        force: replace the manifests of an earlier build there.

    Raises:
        UserError: fewer than two languages, one twice, missing manifests, splits or dictionaries,
            labels that differ in kind, an audio path that a manifest cannot hold.
    """
    languages = _named(folders)
    labels = labels or _common_labels(languages)
    if labels not in ("ltr", "phn"):
        raise UserError(f"labels {labels} cannot be joined; build them with letters or phones")
    audio: dict[str, Row] = {}
    splits: dict[str, list[Utterance]] = {}
    trained: dict[str, list[Utterance]] = {}
    others = {split for path in languages.values() for split in available_splits(path)} - {TRAIN}
    for split in [TRAIN, *sorted(others)]:
        parts = {name: _read(path, split, labels, audio) for name, path in languages.items()}
        named = {f"{split}-{name}": part for name, part in parts.items()}
        if split == TRAIN:
            trained, named = parts, {}
        if split == TRAIN or kind_of(split) == VALID:
            named = {split: [one for part in parts.values() for one in part], **named}
        for name in named.keys() & splits.keys():
            raise UserError(
                f"the split {name} would be written twice; name languages with --in NAME=PATH"
            )
        splits.update(named)
    samples = {name: sum(audio[one.audio].frames for one in trained[name]) for name in trained}
    notes = [
        f"{name}: {len(part):,} utterances, {samples[name] / SAMPLE_RATE / 3600:.2f} hours, "
        f"{samples[name] / sum(samples.values()):.1%} of train"
        for name, part in trained.items()
    ]
    subsets = ",".join(name for name in splits if kind_of(name) == VALID)
    if subsets:
        # fairseq chooses "best" by the first.
        notes.append(f"to see each language: {override('dataset.valid_subset', subsets)}")
    symbols: list[str] = []
    for folder in languages.values():
        symbols += read_dictionary(folder / f"dict.{labels}.txt")
    resolved = {name: str(folder.resolve()) for name, folder in languages.items()}
    options = {"languages": resolved, "labels": labels}
    inputs = list(languages.values())
    into = manifests_into(out, "parp manifest joint", inputs=inputs, options=options, force=force)
    with into as stage:
        written = {"": [Split(name, os.sep, rows) for name, rows in splits.items()]}
        units = Symbols(symbols, labels)
        return write_folders(stage, Path(out), written, audio, units, notes=tuple(notes))


def _read(folder: Path, split: str, labels: str, audio: dict[str, Row]) -> list[Utterance]:
    """A split's rows under absolute paths; their lengths go into `audio`."""
    read = read_split(folder, split, labels)
    count = len(read.labels)
    words = folder / f"{split}.wrd"
    texts = read_lines(words) if words.is_file() else [""] * count
    if len(texts) != count:
        raise UserError(f"{words} has {len(texts)} lines but {read.tsv} lists {count} audio files")
    paths = [os.path.abspath(path) for path in read.paths]
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
        says = ""
        if not _NAME.fullmatch(name):
            says = f"{name!r} is not only letters, digits, - and _"
        elif name in languages:
            says = f"two folders are called {name}: {languages[name]} and {path}"
        if says:
            raise UserError(f"{says}; name them with --in NAME=PATH")
        if not Path(path).is_dir():
            raise UserError(f"{path}: no such folder; give a language's folder of manifests")
        languages[name] = Path(path)
    if len(languages) < 2:
        raise UserError("a joint manifest needs two languages or more: --in nl --in fr")
    return languages


def _common_labels(languages: dict[str, Path]) -> str:
    endings = {folder: dictionary_endings(folder) for folder in languages.values()}
    common = set.intersection(*map(set, endings.values()))
    if len(common) != 1:
        each = ", ".join(f"{path} has {' and '.join(e) or 'none'}" for path, e in endings.items())
        raise UserError(
            f"the languages have no one kind of labels in common (of dictionaries, {each}); build "
            "them with the same, or choose with --labels"
        )
    return common.pop()
