"""PARP on GLUE with transformers: fine-tune and prune, and move masks between tasks.

    python examples/glue/run_glue.py --data glue_data --model bert-base-uncased \
        --tasks cola mrpc rte --methods dense omp parp --sparsity 0.7 --seeds 1 2 3 --out runs/glue

Each run leaves OUT/TASK/METHOD_SPARSITY/seedN/result.json and its mask, and prints a line of JSON.
Rerun the same command to resume: finished runs are not repeated. OUT/results.csv has all scores.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from scipy import stats
from sklearn import metrics

from parp_fairseq.checkpoints.mask_files import load_mask, save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_json, write_lines
from parp_fairseq.hf import PruningCallback, prunable_parameters
from parp_fairseq.pruning import iou

METHODS = ("dense", "omp", "imp", "parp", "parp_p", "gmp", "mpi", "rp")
COLUMNS = ["task", "method", "sparsity", "source", "seed", "split", "metric", "value", "low"]
COLUMNS += ["high", "train", "dev", "updates", "seconds", "load", "entries", "zeros", "mask_iou"]
DRAWS = 1000  # of the bootstrap
# Options that may differ between the runs of one folder; all others may not.
FREE = ("out", "tasks", "methods", "transfer", "sparsity", "seeds", "save_models")


@dataclass(frozen=True)
class Task:
    """Where a task's sentences and labels are, and how it is scored.

    `classes` holds the labels in the order of their numbers; without any, the label is a score from
    0 to 5. The first metric is the one in the tables. `header`: the columns of files without one.
    """

    title: str
    text: tuple[str, ...] = ("sentence1", "sentence2")
    label: str = "label"
    classes: tuple[str, ...] = ("0", "1")
    metrics: tuple[str, ...] = ("accuracy",)
    dev: tuple[str, ...] = ("dev",)
    header: tuple[str, ...] = ()


ENTAILMENT = ("entailment", "not_entailment")
COLA = ("source", "label", "mark", "sentence")
MNLI = ("entailment", "neutral", "contradiction")
TASKS = {
    "cola": Task("CoLA", ("sentence",), metrics=("matthews",), header=COLA),
    "mrpc": Task("MRPC", ("#1 String", "#2 String"), "Quality", metrics=("accuracy", "f1")),
    "qnli": Task("QNLI", ("question", "sentence"), classes=ENTAILMENT),
    "qqp": Task("QQP", ("question1", "question2"), "is_duplicate", metrics=("accuracy", "f1")),
    "rte": Task("RTE", classes=ENTAILMENT),
    "sst-2": Task("SST-2", ("sentence",)),
    "sts-b": Task("STS-B", label="score", classes=(), metrics=("pearson", "spearman")),
    "wnli": Task("WNLI"),
    "mnli": Task("MNLI", label="gold_label", classes=MNLI, dev=("dev_matched", "dev_mismatched")),
}


def read(data: str, task: Task, split: str) -> list[tuple[tuple[str, ...], float]]:
    """Read TASK/SPLIT.tsv below a folder.

    Returns (one or two sentences, class number or score) of every example. Raises UserError, which
    names file and row, where a file, column or label is missing or wrong.
    """
    path, header, examples = Path(data, task.title, f"{split}.tsv"), task.header, []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable ({error}); check --data") from error
    # Not the csv module, for which a lone quote would swallow the lines that follow it.
    for number, line in enumerate(text.split("\n"), start=1):
        cells = line.rstrip("\r").split("\t")
        if not line.strip():
            continue
        if not header:
            header = tuple(cells)
            continue
        row = dict(zip(header, cells))
        missing = [name for name in (*task.text, task.label) if name not in row]
        if missing and task.title == "QQP":  # line ends inside sentences have cut some rows in two
            continue
        if missing:
            raise UserError(f"{path} row {number}: no column {missing[0]!r}; download it again")
        sides, label = tuple(row[name].strip() for name in task.text), row[task.label].strip()
        examples.append((sides, _number(label, task, f"{path} row {number}")))
    if not examples:
        raise UserError(f"{path} has no examples; download it again")
    return examples


def _number(label: str, task: Task, where: str) -> float:
    if label in task.classes:
        return task.classes.index(label)
    with suppress(ValueError):
        if not task.classes and 0.0 <= float(label) <= 5.0:
            return float(label)
    wanted = " or ".join(task.classes) or "a score from 0 to 5"
    raise UserError(f"{where}: the label is {label!r}, expected {wanted}")


def score(name: str, labels: np.ndarray, predicted: np.ndarray) -> float:
    """A metric in percent; a correlation with a constant is 0."""
    if name in ("pearson", "spearman"):
        constant = np.ptp(labels) == 0 or np.ptp(predicted) == 0
        return 0.0 if constant else 100 * getattr(stats, f"{name}r")(labels, predicted)[0].item()
    if name == "f1":
        return 100 * float(metrics.f1_score(labels, predicted, zero_division=0))
    metric = metrics.accuracy_score if name == "accuracy" else metrics.matthews_corrcoef
    return 100 * float(metric(labels, predicted))


def scores(task: Task, labels: np.ndarray, predicted: np.ndarray) -> list[dict[str, Any]]:
    """Each metric of a task with its 95% interval (bootstrap over the examples)."""
    rng, found = np.random.default_rng(1), []
    samples = [rng.integers(len(labels), size=len(labels)) for _ in range(DRAWS)]
    for name in task.metrics:
        draws = [score(name, labels[rows], predicted[rows]) for rows in samples]
        low, high = np.percentile(draws, (2.5, 97.5)).tolist()
        value = score(name, labels, predicted)
        found.append({"metric": name, "value": value, "low": low, "high": high})
    return found


@dataclass(frozen=True)
class Run:
    """One fine-tuning. `source`: the task and method whose mask it starts from ("cola-omp")."""

    task: str
    method: str
    sparsity: float
    seed: int
    source: str = ""

    def folder(self, out: Path) -> Path:
        """Where the run leaves its files."""
        name = "_".join(filter(None, (self.method, f"{self.sparsity:g}", self.source)))
        return out / self.task / ("dense" if self.method == "dense" else name) / f"seed{self.seed}"


def planned(args: argparse.Namespace) -> Iterator[Run]:
    """All runs, seed by seed. Runs that these build on are finished when they are needed."""
    for seed in args.seeds:
        for method, task in product(args.methods, args.tasks):
            yield Run(task, method, 0.0 if method == "dense" else args.sparsity, seed)
        for target in args.tasks if args.transfer else ():
            yield Run(target, args.transfer, args.sparsity, seed)
            for source in args.tasks:
                for method in ("parp", "mask") if source != target else ("parp",):
                    yield Run(target, method, args.sparsity, seed, f"{source}-{args.transfer}")


def finish(run: Run, args: argparse.Namespace) -> None:
    """Train and score a run, unless that has been done before."""
    file = run.folder(args.out) / "result.json"
    settings = {name: value for name, value in vars(args).items() if name not in FREE}
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))["settings"]
        for name, value in settings.items():
            if before[name] != value:
                was = f"--{name.replace('_', '-')} was {before[name]}, now {value}"
                raise UserError(f"{file}: {was}; choose another --out, or the same settings")
        return
    pruning = {**pruning_options(run.method, args), **mask_option(run, args)}
    print(f"training {file.parent}", file=sys.stderr)
    result = {**asdict(run), **train(run, args, pruning), "settings": settings}
    write_json(file, result)
    print(json.dumps(result), flush=True)


def pruning_options(method: str, args: argparse.Namespace) -> dict[str, Any]:
    """The options of `PruningCallback` that a method has."""
    options = {"include": args.include, "exclude": args.exclude}
    if method in ("parp", "parp_p", "gmp"):
        options.update(interval=args.interval, interval_unit=args.interval_unit)
    if method in ("parp_p", "gmp") and args.initial_sparsity is not None:
        options["initial_sparsity"] = args.initial_sparsity
    return options


def mask_option(run: Run, args: argparse.Namespace) -> dict[str, str]:
    """Where a run's initial mask is from; the run that makes it is finished first."""
    if run.source:
        task, method = run.source.rsplit("-", 1)
        before, file = Run(task, method, run.sparsity, run.seed), "mask.safetensors"
    elif run.method in ("omp", "imp"):
        # IMP is OMP at 10%, 20% and so on, each time on the magnitudes of the last round.
        last = (math.ceil(round(10 * run.sparsity, 6)) - 1) / 10 if run.method == "imp" else 0.0
        before = Run(run.task, "imp" if last else "dense", last, run.seed)
        file = "model"
    else:
        return {}
    finish(before, args)
    return {"initial" if run.method == "parp" else "mask": str(before.folder(args.out) / file)}


def train(run: Run, args: argparse.Namespace, pruning: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune the pre-trained model, score it after the last epoch, and save its mask."""
    task, folder = TASKS[run.task], run.folder(args.out)
    tokenizer = hf.AutoTokenizer.from_pretrained(args.model)

    def features(examples: list[tuple[tuple[str, ...], float]]) -> list[dict[str, Any]]:
        sides = [list(side) for side in zip(*(text for text, _ in examples))]
        tokens = tokenizer(*sides, truncation=True, max_length=args.max_length)
        kind = int if task.classes else float
        labels = [{"labels": kind(label)} for _, label in examples]
        return [{**{k: v[n] for k, v in tokens.items()}, **end} for n, end in enumerate(labels)]

    examples = read(args.data, task, "train")
    if args.limit_train:  # the same examples for every seed and method
        examples = random.Random(0).sample(examples, min(args.limit_train, len(examples)))
    hf.set_seed(run.seed)
    model = hf.AutoModelForSequenceClassification.from_pretrained(
        args.model, num_labels=len(task.classes) or 1, ignore_mismatched_sizes=True
    ).float()
    callback = PruningCallback(
        run.method.replace("imp", "omp"), run.sparsity, seed=run.seed, **pruning
    )
    trainer = hf.Trainer(
        model=model,
        args=hf.TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=args.batch,
            per_device_eval_batch_size=64,
            learning_rate=args.learning_rate,
            num_train_epochs=args.epochs,
            bf16=args.bf16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=run.seed,
        ),
        train_dataset=features(examples),
        processing_class=tokenizer,
        callbacks=[] if run.method == "dense" else [callback],
    )
    trainer.remove_callback(hf.trainer_callback.PrinterCallback)
    seconds = trainer.train().metrics["train_runtime"]
    found = []
    for split in task.dev:
        dev = read(args.data, task, split)
        logits = trainer.predict(features(dev)).predictions
        logits = logits[0] if isinstance(logits, tuple) else logits
        if not np.isfinite(logits).all():
            raise UserError(f"{folder}: training diverged (outputs are NaN); lower --learning-rate")
        predicted = logits.argmax(1) if task.classes else logits[:, 0]
        ours = scores(task, np.array([label for _, label in dev]), predicted)
        found += [{"split": split, "dev": len(dev), **one} for one in ours]
    parameters = dict(model.named_parameters())
    weights = {n: parameters[n] for n in prunable_parameters(model, args.include, args.exclude)}
    emptied = [name for name, weight in weights.items() if not weight.any()]
    if emptied:
        print(f"warning: all of {', '.join(emptied)} is pruned; see --exclude", file=sys.stderr)
    if callback.mask is not None:
        save_mask(callback.mask, folder / "mask.safetensors", {"method": run.method})
    if args.save_models or run.method in ("dense", "imp"):  # OMP and IMP build on those
        trainer.save_model(str(folder / "model"))
    return {
        "scores": found,
        "train": len(examples),
        "updates": trainer.state.global_step,
        "seconds": round(seconds, 1),
        "load": round(os.getloadavg()[0], 1),
        "entries": sum(weight.numel() for weight in weights.values()),
        "zeros": sum(int((weight == 0).sum()) for weight in weights.values()),
        "mask_iou": callback.pruner.mask_iou if callback.pruner else None,
    }


def write_results(args: argparse.Namespace) -> None:
    """Write OUT/results.csv: the scores of all finished runs, and the IOU of transferred masks."""
    files = sorted(args.out.glob("*/*/seed*/result.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    rows = [{**result, **one} for result in results for one in result["scores"]]
    for seed in args.seeds if args.transfer else ():
        runs = {task: Run(task, args.transfer, args.sparsity, seed) for task in args.tasks}
        if "mpi" in args.methods:  # the same mask for every task
            runs["mpi"] = Run(args.tasks[0], "mpi", args.sparsity, seed)
        files = [run.folder(args.out) / "mask.safetensors" for run in runs.values()]
        masks = dict(zip(runs, (load_mask(file)[0] for file in files)))
        for a, b in product(masks, masks):
            row = {"task": a, "method": args.transfer, "sparsity": args.sparsity, "source": b}
            rows.append({**row, "seed": seed, "metric": "iou", "value": iou(masks[a], masks[b])})
    cells = [["" if row.get(c) is None else str(row[c]) for c in COLUMNS] for row in rows]
    write_lines(args.out / "results.csv", [",".join(line) for line in [COLUMNS, *cells]])


def table(file: Path) -> str:
    """The main score of each method and mask on each task in a results.csv, a mean over seeds."""
    with file.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for row in rows:
        method = "iou" if row["metric"] == "iou" else row["method"]
        task = TASKS.get(row["task"], TASKS["mrpc"])  # or the mask of MPI
        if method == "iou" or (row["split"], row["metric"]) == (task.dev[0], task.metrics[0]):
            key = (method, row["sparsity"], row["source"], row["task"])
            found.setdefault(key, []).append(float(row["value"]))
    mean = {key: sum(values) / len(values) for key, values in found.items()}
    tasks = [name for name in TASKS if name in {key[-1] for key in mean}]
    for method, sparsity, source, task in list(mean):
        kind = source.rpartition("-")[2] if method in ("mask", "parp") and source else ""
        masks = [f"{name}-{kind}" for name in tasks if name != task]
        others = [mean.get((method, sparsity, mask, task)) for mask in masks]
        if kind and None not in others:
            mean[method, sparsity, f"other tasks, {kind}", task] = sum(others) / len(others)
    order = [*METHODS, "mask", "iou"]
    titles = " | ".join(TASKS[task].title for task in tasks)
    text = [f"| method | sparsity | mask of | {titles} |", "|---|---|---|" + "---:|" * len(tasks)]
    for line in sorted({key[:3] for key in mean}, key=lambda key: (order.index(key[0]), key[1:])):
        form = ".4f" if line[0] == "iou" else ".2f"
        cells = [format(mean[(*line, t)], form) if (*line, t) in mean else "" for t in tasks]
        text.append(f"| {' | '.join((*line, *cells))} |")
    return "\n".join(text)


def main(arguments: list[str] | None = None) -> None:
    """Run what the arguments ask for, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", required=True, help="GLUE folder: CoLA/train.tsv, MRPC/... and so on")
    add("--model", required=True, help="name or folder of a transformers model")
    add("--out", type=Path, default=Path("runs/glue"), help="for runs of one model and setting")
    add("--tasks", nargs="+", choices=TASKS, default=["mrpc"])
    add("--methods", nargs="+", choices=METHODS, default=["dense", "omp", "parp"])
    add("--transfer", choices=["omp", "imp"], help="fine-tune each task's mask on every task too")
    add("--sparsity", type=float, default=0.7, help="of all masks, 0 to 1")
    add("--seeds", type=int, nargs="+", default=[1])
    add("--interval", type=int, default=25, help="prune again every so many units (default 25)")
    add("--interval-unit", choices=["update", "epoch"], default="update")
    add("--initial-sparsity", type=float, help="parp_p and gmp: the sparsity to begin with")
    add("--include", nargs="+", default=[], help="patterns of prunable parameters")
    add("--exclude", nargs="+", default=[], help="patterns of parameters to leave out")
    add("--learning-rate", type=float, default=2e-5)
    add("--batch", type=int, default=32)
    add("--epochs", type=int, default=3)
    add("--max-length", type=int, default=128, help="tokens; longer examples are cut")
    add("--limit-train", type=int, help="train on so many examples")
    add("--bf16", action="store_true", help="mixed precision")
    add("--save-models", action="store_true", help="keep the weights of every run")
    args = parser.parse_args(arguments)
    try:
        # What is wrong with options or data is reported before anything is trained.
        PruningCallback("gmp", args.sparsity, **pruning_options("gmp", args))
        for task in map(TASKS.__getitem__, args.tasks):
            for split in ("train", *task.dev):
                read(args.data, task, split)
        for run in planned(args):
            finish(run, args)
        write_results(args)
        print(table(args.out / "results.csv"))
    except UserError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
