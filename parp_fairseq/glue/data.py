"""GLUE's files, read as they are: tabs between columns, and quotes that are nothing but quotes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.glue.tasks import Layout, Task

Label = Union[int, float]


@dataclass(frozen=True)
class Example:
    """A sentence or a pair of them (`second` is None for one alone), and its label.

    A label is the number of its class, or for a regression a score from 0 to 5.
    """

    first: str
    second: str | None
    label: Label


@dataclass(frozen=True)
class GlueData:
    """A task's examples; `mismatched` is MNLI's second development set, else empty."""

    task: Task
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    mismatched: tuple[Example, ...] = ()


def read_glue(folder: PathLike, task: Task) -> GlueData:
    """Read the training and development examples of a task (the test sets have no labels).

    Args:
        folder: a GLUE folder, as `download_glue_data.py` lays it out: `MRPC/train.tsv`, …; of
            MRPC and CoLA also as their authors give them out.
        task: which task.

    Raises:
        UserError: the folder or a file is missing, a row has too few columns, a label is none of
            the task's, or a file holds no example (file and row are named).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that holds MRPC/, CoLA/ …")
    layout = _layout_of(folder, task)
    train_file = folder / layout.train
    train = list(_read(train_file, task, layout))
    if layout.dev_ids is None:
        dev = [example for name in layout.dev for example in _read(folder / name, task, layout)]
    else:
        train, dev = _parted(train_file, train, folder / layout.dev_ids)
    mismatched: list[tuple[tuple[str, ...], Example]] = []
    if task.mismatched and (folder / task.mismatched).is_file():
        mismatched = list(_read(folder / task.mismatched, task, layout))
    for name, rows in ((layout.train, train), (", ".join(layout.dev) or layout.dev_ids, dev)):
        if not rows:
            raise UserError(f"{folder / str(name)} holds no example; download it again")
    return GlueData(
        task,
        tuple(example for _, example in train),
        tuple(example for _, example in dev),
        tuple(example for _, example in mismatched),
    )


def _layout_of(folder: Path, task: Task) -> Layout:
    """The first layout all of whose files are there."""
    missing: list[str] = []
    for layout in task.layouts:
        files = [layout.train, *layout.dev, *([layout.dev_ids] if layout.dev_ids else [])]
        absent = [name for name in files if not (folder / name).is_file()]
        if not absent:
            return layout
        missing.append(absent[0])
    raise UserError(
        f"{folder / missing[0]}: no such file; {task.title} needs "
        f"{' and '.join([task.layouts[0].train, *task.layouts[0].dev])} in the GLUE folder"
    )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Row number (from 1) and cells of every line; a mark at the file's beginning is dropped."""
    try:
        # Not the csv module: a lone quote would swallow the lines that follow it.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; download it again") from error
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if line:
            yield number, line.split("\t")


def _read(path: Path, task: Task, layout: Layout) -> Iterator[tuple[tuple[str, ...], Example]]:
    """Each row's cells and its example."""
    rows = _lines(path)
    columns = _columns(path, next(rows, (1, []))[1], layout) if layout.header else layout.columns
    *sentences, label = [int(column) for column in columns]
    for number, cells in rows:
        if len(cells) <= max(*sentences, label):
            if layout.cut_rows:
                continue
            raise UserError(
                f"{path} row {number} has {len(cells)} columns, expected "
                f"{max(*sentences, label) + 1} or more; download the file again"
            )
        texts = [cells[column].strip() for column in sentences]
        value = _label(path, number, cells[label].strip(), task)
        yield tuple(cells), Example(texts[0], texts[1] if task.pair else None, value)


def _columns(path: Path, header: Sequence[str], layout: Layout) -> list[int]:
    missing = [str(name) for name in layout.columns if name not in header]
    if missing:
        raise UserError(
            f"{path} row 1: no column {missing[0]!r} (there are {', '.join(header) or 'none'}); "
            "this is not the task's training or development file"
        )
    return [list(header).index(str(name)) for name in layout.columns]


def _label(path: Path, number: int, text: str, task: Task) -> Label:
    if task.regression:
        try:
            score = float(text)
        except ValueError:
            score = -1.0
        if not 0.0 <= score <= 5.0:
            raise UserError(f"{path} row {number}: the score is {text!r}, expected 0 to 5")
        return score
    if text not in task.labels:
        raise UserError(
            f"{path} row {number}: the label is {text!r}, expected {' or '.join(task.labels)}"
        )
    return task.labels.index(text)


def _parted(
    path: Path, rows: list[tuple[tuple[str, ...], Example]], ids: Path
) -> tuple[list[tuple[tuple[str, ...], Example]], list[tuple[tuple[str, ...], Example]]]:
    """Part MRPC's first training file into training and development examples."""
    wanted = {tuple(cells[:2]) for _, cells in _lines(ids)}
    dev = [row for row in rows if row[0][1:3] in wanted]
    if len(dev) != len(wanted):
        raise UserError(
            f"{ids} names {len(wanted)} pairs, of which {path.name} holds {len(dev)}; "
            "the two files do not belong together"
        )
    return [row for row in rows if row[0][1:3] not in wanted], dev
