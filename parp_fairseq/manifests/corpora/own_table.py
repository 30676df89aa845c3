"""Any corpus, from a table of its audio and texts."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, other_form
from parp_fairseq.manifests.check.split import Fault, by_file, counted, in_two_kinds
from parp_fairseq.manifests.corpora.corpus import named_splits
from parp_fairseq.manifests.labels.labelling import make_units
from parp_fairseq.manifests.pipeline import VALID_SHARE, Sampling, Utterance, build
from parp_fairseq.manifests.split_names import TRAIN
from parp_fairseq.manifests.summary import BuildSummary
from parp_fairseq.manifests.table_reader import read_table

COLUMNS = ("path", "text", "split", "speaker")
"""What is read; path and text must be there, other columns are passed over."""

_SPLIT = re.compile(r"[\w-]+")
# Columns that say which part of a file a text is of; fairseq has no segments.
_SEGMENT = re.compile(
    r"(?:seg(?:ment)?_?|utt_?|clip_?)?(?:start|end|begin|stop|offset|onset|from|[tx]min|[tx]max)"
    r"(?:_?(?:times?|sec|seconds?|ms|s|samples?|frames?))*",
    re.I,
)
_DURATION = "duration"
_HINT = "expected the columns path and text, named in the first row"


def build_table(
    table: PathLike,
    out: PathLike,
    *,
    units: str = "letters",
    lang: str | None = None,
    valid_share: float | None = None,
    seed: int = 1,
    convert: bool = False,
    **run: Any,
) -> BuildSummary:
    """Write `{split}.tsv`, `.wrd`, labels and dictionary of what `table` lists.

    Args:
        table: a `.tsv`, `.csv` or `.jsonl` with the columns path and text, and if need be
            split and speaker. Relative paths start from its folder; where it is a link, files that
            are not there are looked for next to what it leads to.
        out: folder to write into.
        units: letters (those of the texts as they are) or phones (by espeak-ng in `lang`; without
            it the texts are phones already).
        lang: language of phones.
        valid_share: without a column split, how much of the audio `valid` gets (0.1); no
            speaker, where there is a column of them, is in both train and valid.
        seed: of that choice.
        convert: audio that is not 16 kHz mono becomes 16 kHz mono FLAC in `out`/audio; otherwise
            it is refused.
        run: `jobs` and `force`, as for `pipeline.build`.

    The manifests are written when all else is done. Raises UserError naming the table's row.
    """
    table = Path(table)
    utterances, split_given = read_utterances(table)
    if valid_share is not None and split_given:
        raise UserError(f"{table} has a column split; leave --valid-share out")
    if not split_given:
        valid_share = VALID_SHARE if valid_share is None else valid_share
    root = _folders(table)[0]
    labels: dict[str, Any] = {"units": units, "lang": lang}
    sampling = Sampling(valid_share, seed=seed)
    given = {"table": str(table.resolve()), **labels, **asdict(sampling), "convert": convert}
    summary = build(
        out,
        {"": named_splits(utterances, root)},
        make_units(**labels),
        builder="parp manifest table",
        inputs=[table],
        options=given,
        sampling=sampling,
        convert=convert,
        decode=True,
        **run,
    )
    speakers: dict[str, list[tuple[Hashable, str]]] = defaultdict(list)
    for one in utterances if split_given else ():
        if one.group:
            speakers[one.split].append((one.group, one.group))
    shared = [
        Fault(f"{split}: {fault.kind}", fault.message)
        for split, fault in in_two_kinds("speakers", speakers)
    ]
    more = counted(shared, "speakers in two splits, {}")
    return replace(summary, warnings=(*summary.warnings, *more))


def read_utterances(path: Path) -> tuple[list[Utterance], bool]:
    """Read a table, whose relative paths start from its folder; and whether it names splits.

    Spaces, tabs and line ends in texts are squeezed.

    Raises UserError naming file and row, as `read_table`, and for an empty cell, a NUL, a split
    that is no name for a file, or an audio file that is there twice.
    """
    folders = _folders(path)
    utterances: list[Utterance] = []
    seen: dict[str, int] = {}
    columns: set[str] = set()
    columns_read = (*COLUMNS, _DURATION)
    needed = COLUMNS[:2]
    for number, record in read_table(
        path, columns_read, needed=needed, hint=_HINT, refused=_SEGMENT
    ):
        duration = record.pop(_DURATION, "")
        where = f"{path} row {number}"
        columns = columns or {"path", "text", *record}
        if not columns.issuperset(record):
            extra = sorted(set(record) - columns)[0]
            raise UserError(f"{where} has a {extra}, the rows before have none")
        for name in sorted(columns):
            if not record.get(name, "").strip():
                raise UserError(f"{where} has no {name}; fill it or remove the row")
            if "\0" in record[name]:
                raise UserError(f"{where}: there is a NUL in its {name}; take it out")
        cells = {name: " ".join(cell.split()) for name, cell in record.items()}
        split = cells.get("split", TRAIN)
        if not _SPLIT.fullmatch(split):
            raise UserError(f"{where}: the split {split!r} is not only letters, digits, - and _")
        audio = _audio(folders, record["path"])
        if audio in seen:
            raise UserError(f"{where}: {audio} is a duplicate of row {seen[audio]}; remove one")
        seen[audio] = number
        more = (split, cells.get("speaker", ""), "", _number(duration))
        utterances.append(Utterance(where, audio, cells["text"], *more))
    if not utterances:
        raise UserError(f"{path} has no rows; {_HINT}")
    first: dict[Hashable, Utterance] = {}
    for one, (file, _) in zip(utterances, by_file(one.audio for one in utterances)):
        before = first.setdefault(file, one)
        if before.text != one.text:
            says = f"{one.audio} is the file of {before.where}, with another text; remove one"
            raise UserError(f"{one.where}: {says}")
    return utterances, "split" in columns


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _folders(table: Path) -> list[str]:
    """Where relative paths start: the folder where it was named, then a link's target's."""
    named = os.path.realpath(os.path.dirname(os.path.abspath(table)))
    return list(dict.fromkeys((named, os.path.dirname(os.path.realpath(table)))))


def _audio(folders: Sequence[str], path: str) -> str:
    """The absolute path of an audio file, spelled as the file system has it."""
    paths = [os.path.normpath(os.path.join(folder, path)) for folder in folders]
    there = (other_form(path) for path in paths)
    return next((path for path in there if path), paths[0])
