"""Scoring checkpoints on splits: what is checked first, and what is decoded then."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from parp_fairseq.checkpoints.finetuned import FineTuned, open_finetuned
from parp_fairseq.checkpoints.formats import check_form
from parp_fairseq.checkpoints.safe_load import check_readable
from parp_fairseq.checkpoints.views import SUBNETWORK, check_view, share_of_zeros, viewed
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import ENGINES, build_model, build_task
from parp_fairseq.evaluation.score import Score
from parp_fairseq.evaluation.splits import Splits
from parp_fairseq.evaluation.transcribe import make_batches, transcribe
from parp_fairseq.files import PathLike
from parp_fairseq.inference.symbols import joining as joining_of
from parp_fairseq.manifests.check.split import manifest_file

MAX_TOKENS = 3_000_000
"""Samples in a batch by default, as in infer's own configuration."""

# fairseq counts in 64 bits.
_MOST = 2**63 - 1


def evaluate(checkpoint: PathLike, data: PathLike, split: str, **options: Any) -> Score:
    """Score one checkpoint on one split; `options` and errors are those of `evaluate_all`."""
    (score,) = evaluate_all([checkpoint], data, [split], **options)
    return score


def evaluate_all(
    checkpoints: Sequence[PathLike],
    data: PathLike,
    splits: Sequence[str],
    *,
    labels: str | None = None,
    post_process: str | None = None,
    max_tokens: int | None = MAX_TOKENS,
    batch_size: int | None = None,
    required_batch_size_multiple: int = 1,
    seed: int = 1,
    num_workers: int = 1,
    device: str | None = None,
    engine: str = "dense",
    weights: str = SUBNETWORK,
    w2v_path: PathLike | None = None,
    progress: bool | None = None,
) -> Iterator[Score]:
    """Decode `{split}.tsv` of the folder `data` with fine-tuned checkpoints and score them.

    Every checkpoint is opened and every split checked before the first is decoded. Then each
    checkpoint's model is built once and decodes all splits; a score is yielded when it is there.

    Args:
        checkpoints: fine-tuned CTC checkpoints of this package or of stock fairseq, or sparse
            files.
        labels: ending of the label files; by default what each checkpoint was trained on.
        post_process: fairseq's name for joining symbols into words (`letter`,
            `sentencepiece`, `none`). By default it follows from the dictionary: letters
            and pieces are joined and give WER and CER, anything else is scored as phones, a PER.
        max_tokens: samples in a batch, padding included; None for no limit.
        batch_size: utterances in a batch; None for no limit.
        required_batch_size_multiple: larger batches hold a multiple of this many utterances.
        seed: breaks ties in the order of equally long utterances.
        num_workers: processes that read audio; 0 reads in this one.
        device: `cpu`, `cuda` or `cuda:N`; by default a GPU where there is one.
        engine: `dense`, or `sparse` to leave zeros out where that is faster (CPU).
        weights: `subnetwork`, or `theta` for what training went on with.
        w2v_path: the pre-trained file, for checkpoints that do not hold their architecture.
        progress: show a bar on stderr; by default where that is a terminal.

    Raises:
        UserError: a checkpoint is missing, pre-trained only, unfit or without θ; a split or its
            labels are missing, empty, without any word or do not fit the dictionary; audio cannot
            be read.
    """
    _check_options(max_tokens, batch_size, required_batch_size_multiple, num_workers)
    _check_distinct("checkpoint", [os.path.realpath(checkpoint) for checkpoint in checkpoints])
    _check_distinct("split", splits)
    _check_device(device, engine)
    check_view(weights)
    for checkpoint in checkpoints:
        check_form(checkpoint)
    if w2v_path is not None:
        check_readable(w2v_path)
    for split in splits:
        manifest_file(data, split)
    chosen = _device(device, engine)
    scored = Splits(data, max_tokens)
    for checkpoint in checkpoints:
        # Opened again below: an old checkpoint's weights are read whole, and many do not fit.
        finetuned = _open(checkpoint, data, labels, weights)
        joining = post_process or joining_of(finetuned.symbols)
        for split in splits:
            scored.check(finetuned, split, joining)
    for checkpoint in checkpoints:
        finetuned = _open(checkpoint, data, labels, weights)
        joining = post_process or joining_of(finetuned.symbols)
        zeros = share_of_zeros(finetuned.state)
        with _quiet():
            task = build_task(finetuned, os.fspath(data), seed=seed)
            model = build_model(finetuned, task, w2v_path=w2v_path, device=chosen, engine=engine)
        for split in splits:
            checked = scored.check(finetuned, split, joining)
            with _quiet():
                batches = make_batches(
                    task,
                    checked,
                    num_workers,
                    max_tokens=max_tokens,
                    max_sentences=batch_size,
                    required_batch_size_multiple=required_batch_size_multiple,
                    seed=seed,
                )
                utterances = transcribe(
                    model, task.target_dictionary, batches, checked, joining, progress
                )
            yield Score(
                checkpoint=os.fspath(checkpoint),
                data=os.fspath(data),
                split=split,
                labels=finetuned.labels,
                metric="PER" if joining == "none" else "WER",
                utterances=tuple(sorted(utterances, key=lambda utterance: utterance.row)),
                weights=weights,
                zeros=zeros,
            )
        # Two large models need not fit into the memory.
        del finetuned, task, model


def _open(checkpoint: PathLike, data: PathLike, labels: str | None, weights: str) -> FineTuned:
    finetuned = open_finetuned(checkpoint, data, labels)
    return replace(finetuned, state=viewed(finetuned.state, finetuned.path, weights))


def _check_options(
    max_tokens: int | None, batch_size: int | None, multiple: int, num_workers: int
) -> None:
    for name, value, least in (
        ("--max-tokens", max_tokens, 1),
        ("--batch-size", batch_size, 1),
        ("required_batch_size_multiple", multiple, 1),
        ("--workers", num_workers, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"{name} is {value}, expected {least} or more")
        if value is not None and value > _MOST:
            raise UserError(f"{name} is {value}, expected {_MOST} or less")


def _check_distinct(what: str, values: Sequence[str]) -> None:
    if not values:
        raise UserError(f"no {what} was given; name at least one")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise UserError(f"the {what} {twice} is given twice; name it once")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of fairseq, Hydra and torch to their developers."""
    loggers = [logging.getLogger(name) for name in ("fairseq", "hydra")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _check_device(wanted: str | None, engine: str) -> None:
    """Check, without torch, what the words mean."""
    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: use one of {', '.join(ENGINES)}")
    if wanted is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise UserError(f"--device {wanted}: use cpu, cuda, or cuda:N for the GPU of that number")
    if engine == "sparse" and wanted not in (None, "cpu"):
        raise UserError(f"--engine sparse works on the CPU, not on {wanted}; say --device cpu")


def _device(wanted: str | None, engine: str) -> str:
    """The device to decode on, where there is one."""
    import torch

    if engine == "sparse" or wanted == "cpu":
        return "cpu"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return "cuda" if gpus else "cpu"
    if not gpus:
        raise UserError(f"--device {wanted}: no GPU can be used here; leave it out or say cpu")
    if int(wanted.partition(":")[2] or 0) >= gpus:
        raise UserError(f"--device {wanted}: the GPUs here are 0 to {gpus - 1}; give one of them")
    return wanted
