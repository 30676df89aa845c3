"""LibriSpeech: manifests of any of its parts.

The expected tree, in which the folder given may be `LibriSpeech` or the one above it::

    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
    LibriSpeech/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt

`<part>` is `train-clean-100`, `dev-other` and so on. The files written hold what fairseq's
`wav2vec_manifest.py` and `libri_labels.py` give on the same tree, sorted by path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.corpora.corpus import find_below
from parp_fairseq.manifests.labels.labelling import EnglishLetters
from parp_fairseq.manifests.pipeline import Split, Utterance, build
from parp_fairseq.manifests.summary import BuildSummary
from parp_fairseq.manifests.table_reader import read_transcripts

TREE = "<part>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac with its .trans.txt next to it"


def build_librispeech(
    librispeech: PathLike,
    splits: Sequence[str],
    out: PathLike,
    **run: Any,
) -> BuildSummary:
    """Write `{split}.tsv`, `.wrd`, `.ltr` and fairseq's dictionary of letters to `out`.

    Each split is a part's name (`dev-other`) or a name for several parts together
    (`train=train-clean-100+train-clean-360`). `run` is `jobs` and `force`, as for `pipeline.build`.

    Nothing is written unless everything was read. Raises UserError naming file and row for a
    missing or empty part, damaged audio, another rate than 16 kHz mono, audio without
    transcript, transcripts without audio, a duplicate id, or a character outside the English
    letter dictionary.
    """
    root = find_below(librispeech, "LibriSpeech", (), f"LibriSpeech/{TREE}")
    if not splits:
        raise UserError("no splits given; name parts such as train-clean-100 or dev-other")
    read: dict[str, Split] = {}
    for entry in splits:
        name, _, parts = (entry if "=" in entry else f"{entry}={entry}").partition("=")
        name, folders = name.strip(), [root / part.strip() for part in parts.split("+")]
        if not name or root in folders or os.sep in name or name.startswith("."):
            raise UserError(f"the split {entry!r} is not understood; write PART or NAME=PART+PART")
        if name in read:
            raise UserError(f"the split {name} is given twice; give each split its own name")
        # fairseq's own recipe starts the paths of a part from the part's folder.
        read[name] = read_tree(name, folders[0] if len(folders) == 1 else root, folders)
    return build(
        out,
        {"": list(read.values())},
        EnglishLetters(),
        builder="parp manifest librispeech",
        options={"librispeech": str(root), "splits": list(splits)},
        **run,
    )


def read_tree(name: str, root: Path, folders: Sequence[Path]) -> Split:
    """A split's utterances in `folders`, sorted by path; its paths will start from `root`."""
    found: dict[str, Utterance] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected {TREE}")
        before = len(found)
        for chapter, files in _chapters(folder):
            for id_, one in _utterances(chapter, files):
                if found.setdefault(id_, one) is not one:
                    says = f"the utterance {id_} is also in {os.path.dirname(found[id_].audio)}"
                    raise UserError(f"{one.audio}: {says}; remove one")
        if len(found) == before:
            raise UserError(f"{folder} holds no .flac files; expected {TREE}")
    return Split(name, str(root), sorted(found.values(), key=lambda one: one.audio))


def _utterances(chapter: Path, files: Sequence[str]) -> Iterator[tuple[str, Utterance]]:
    name = f"{chapter.parent.name}-{chapter.name}.trans.txt"
    path = chapter / name
    if name not in files:
        raise UserError(f"{chapter} has no {name}; expected {TREE}")
    transcripts = read_transcripts(path)
    audio = [file for file in files if file.lower().endswith(".flac")]
    ids = {file.split(".")[0]: file for file in audio}
    if len(ids) != len(audio):
        raise UserError(f"{chapter} holds two .flac files of one utterance; remove one of them")
    for id_ in sorted({*transcripts, *ids}):
        if id_ not in transcripts:
            raise UserError(f"{chapter / ids[id_]} has no transcript in {name}; add it")
        where = f"{path} row {transcripts[id_].row}"
        if id_ not in ids:
            raise UserError(f"{where}: {id_}.flac is missing; copy it again, or remove the row")
        yield id_, Utterance(where, os.path.join(chapter, ids[id_]), transcripts[id_].text)


def _chapters(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders with audio or transcripts, and their files, without those that begin with a dot."""
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        # A link that leads back up would make the walk endless.
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        kinds = (".flac", ".wav", ".trans.txt")
        ours = [name for name in files if name.lower().endswith(kinds) and name[0] != "."]
        if ours:
            yield Path(here), sorted(ours)
