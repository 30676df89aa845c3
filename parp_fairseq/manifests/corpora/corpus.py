"""Corpora that one folder holds: what a module of theirs says, and the builder of all of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.labels.labelling import make_units
from parp_fairseq.manifests.pipeline import VALID_SHARE, Sampling, Split, Utterance, build
from parp_fairseq.manifests.split_names import kind_of
from parp_fairseq.manifests.summary import BuildSummary


@dataclass(frozen=True)
class Corpus:
    """A corpus of one folder.

    Attributes:
        name: of its command.
        folder: what it is called, where the one above it may be given.
        parts: what that folder holds.
        tree: what to expect there, in words.
        read: its utterances, given that folder and the name of the units; it raises UserError
            naming file and row. With the units phones they come with their symbols.
        units: their names, the usual ones first.
        english: letters are those of fairseq's dictionary.
    """

    name: str
    folder: str
    parts: Sequence[str]
    tree: str
    read: Callable[[Path, str], Iterable[Utterance]]
    units: tuple[str, ...]
    english: bool = False


def build_corpus(
    corpus: Corpus,
    folder: PathLike,
    out: PathLike,
    *,
    units: str | None = None,
    valid_share: float | None = None,
    hours: float | None = None,
    seed: int = 1,
    **run: Any,
) -> BuildSummary:
    """Write the manifests of a corpus in `folder`: `{split}.tsv`, `.wrd`, labels and dictionary.

    Args:
        units: one of `corpus.units` (default: the first).
        valid_share: how much of the training split becomes `valid`, drawn by speaker (or what
            else the corpus keeps together); default: nothing where the corpus has a split to
            validate on, else 0.1.
        hours: at most so much training, in hours, spread over the speakers. With the same seed
            less is a part of more.
        seed: of both draws.
        run: `jobs` and `force`, as for `pipeline.build`.

    Raises:
        UserError: naming file and row, as for tables.
    """
    units = corpus.units[0] if units is None else units
    if units not in corpus.units:
        raise UserError(f"{corpus.name} has no units {units!r}; choose {' or '.join(corpus.units)}")
    labels = make_units(units, english=corpus.english)
    root = find_below(folder, corpus.folder, corpus.parts, corpus.tree)
    splits = named_splits(corpus.read(root, units), os.fspath(root))
    if valid_share is None and all(kind_of(split.name) != "valid" for split in splits):
        valid_share = VALID_SHARE
    sampling = Sampling(valid_share, hours, seed)
    return build(
        out,
        {"": splits},
        labels,
        builder=f"parp manifest {corpus.name}",
        inputs=[root],
        options={"corpus": os.fspath(root), "units": units, **asdict(sampling)},
        sampling=sampling,
        **run,
    )


def named_splits(utterances: Iterable[Utterance], root: str) -> list[Split]:
    """The splits that utterances name, by name, sorted by path."""
    splits: dict[str, list[Utterance]] = defaultdict(list)
    for one in sorted(utterances, key=lambda one: one.audio):
        splits[one.split].append(one)
    return [Split(name, root, splits[name]) for name in sorted(splits)]


def find_below(folder: PathLike, name: str, parts: Sequence[str], expected: str) -> Path:
    """The real path of the folder that holds all of `parts`: `name` below `folder`, or `folder`.

    Raises UserError, which says what is `expected`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected {expected}")
    for place in (folder / name, folder):
        if place.is_dir() and all((place / part).exists() for part in parts):
            return place.resolve()
    missing = next(part for part in parts if not (folder / part).exists())
    raise UserError(f"{folder} holds no {missing}; expected {expected}")
