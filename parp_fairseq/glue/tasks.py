"""The nine tasks of GLUE: where their sentences and labels stand, and how they are scored."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from parp_fairseq.errors import UserError


@dataclass(frozen=True)
class Layout:
    """One way in which a task's file may be laid out.

    Attributes:
        train: file below the GLUE folder, with the training examples.
        dev: files with the development examples; several are joined.
        columns: header names of the sentence or the two sentences, then of the label; numbers
            where the file has no header.
        header: whether the first line holds names.
        dev_ids: a file of id pairs that names the development examples inside `train` (the
            layout in which MRPC was first given out); then `dev` is empty.
        cut_rows: a few rows are known to be cut by a line end inside a sentence (QQP); those are
            left out, as everybody's readers do.
    """

    train: str
    dev: tuple[str, ...]
    columns: tuple[str | int, ...]
    header: bool = True
    dev_ids: str | None = None
    cut_rows: bool = False


@dataclass(frozen=True)
class Task:
    """A task of GLUE.

    Attributes:
        name: its short name, lower case: "mrpc".
        title: as papers write it: "MRPC".
        labels: names of the classes, in the order of their numbers; none for regression.
        metrics: names in `metrics.METRICS`; the first one is what table 4 reports.
        layouts: known layouts of its files, tried in this order.
        mismatched: a second development file, scored apart (MNLI).
    """

    name: str
    title: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    layouts: tuple[Layout, ...]
    mismatched: str | None = None

    @property
    def regression(self) -> bool:
        """Whether labels are numbers from 0 to 5 (STS-B)."""
        return not self.labels

    @property
    def pair(self) -> bool:
        """Whether an example has two sentences."""
        return len(self.layouts[0].columns) == 3


def _plain(folder: str, *columns: str) -> Layout:
    return Layout(f"{folder}/train.tsv", (f"{folder}/dev.tsv",), columns)


_PAIR = ("sentence1", "sentence2", "label")
_ENTAILMENT = ("entailment", "not_entailment")
_MRPC = ("#1 String", "#2 String", "Quality")
_COLA_RAW = "CoLA/original/raw"

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "cola",
            "CoLA",
            ("0", "1"),
            ("matthews",),
            (
                Layout("CoLA/train.tsv", ("CoLA/dev.tsv",), (3, 1), header=False),
                Layout(
                    f"{_COLA_RAW}/in_domain_train.tsv",
                    (f"{_COLA_RAW}/in_domain_dev.tsv", f"{_COLA_RAW}/out_of_domain_dev.tsv"),
                    (3, 1),
                    header=False,
                ),
            ),
        ),
        Task(
            "mrpc",
            "MRPC",
            ("0", "1"),
            ("accuracy", "f1"),
            (
                Layout("MRPC/train.tsv", ("MRPC/dev.tsv",), _MRPC),
                Layout("MRPC/msr_paraphrase_train.txt", (), _MRPC, dev_ids="MRPC/dev_ids.tsv"),
            ),
        ),
        Task(
            "qnli",
            "QNLI",
            _ENTAILMENT,
            ("accuracy",),
            (_plain("QNLI", "question", "sentence", "label"),),
        ),
        Task(
            "qqp",
            "QQP",
            ("0", "1"),
            ("accuracy", "f1"),
            (
                Layout(
                    "QQP/train.tsv",
                    ("QQP/dev.tsv",),
                    ("question1", "question2", "is_duplicate"),
                    cut_rows=True,
                ),
            ),
        ),
        Task("rte", "RTE", _ENTAILMENT, ("accuracy",), (_plain("RTE", *_PAIR),)),
        Task("sst-2", "SST-2", ("0", "1"), ("accuracy",), (_plain("SST-2", "sentence", "label"),)),
        Task(
            "sts-b",
            "STS-B",
            (),
            ("pearson", "spearman"),
            (_plain("STS-B", "sentence1", "sentence2", "score"),),
        ),
        Task("wnli", "WNLI", ("0", "1"), ("accuracy",), (_plain("WNLI", *_PAIR),)),
        Task(
            "mnli",
            "MNLI",
            ("entailment", "neutral", "contradiction"),
            ("accuracy",),
            (
                Layout(
                    "MNLI/train.tsv",
                    ("MNLI/dev_matched.tsv",),
                    ("sentence1", "sentence2", "gold_label"),
                ),
            ),
            mismatched="MNLI/dev_mismatched.tsv",
        ),
    )
}


def task_named(name: str) -> Task:
    """Return a task by its name, whatever the case, with or without hyphens.

    Raises:
        UserError: there is none of that name.
    """
    plain = {key.replace("-", ""): task for key, task in TASKS.items()}
    wanted = name.lower().replace("-", "").replace("_", "")
    if wanted not in plain:
        close = get_close_matches(wanted, plain, n=1)
        hint = f"did you mean {plain[close[0]].name}?" if close else f"use {', '.join(TASKS)}"
        raise UserError(f"no GLUE task named {name!r}; {hint}")
    return plain[wanted]
