"""Transcribing a split and scoring it, digit for digit as fairseq's infer does.

`examples/speech_recognition/new/infer.py` with `decoding.type=viterbi` takes the likeliest
symbol of every frame, merges repetitions and drops blanks. A base model's logits depend a little
on what an utterance is batched with (its feature extractor normalises over the padded batch), so
the batches are built by the same fairseq functions from the same options. Their defaults are
infer's but for `required_batch_size_multiple`, 1 here and 8 there: where a last batch does not
hold a multiple of it, later versions of fairseq leave it out, in infer too (0.12.2 does not). Here
every utterance is decoded and counted, whatever that option says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Union

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.load import build_model, build_task, open_finetuned
from parp_fairseq.evaluation.score import Score, Utterance, edit_counts
from parp_fairseq.manifests.check import CheckedManifest, check_manifest

PathLike = Union[str, "os.PathLike[str]"]

MAX_TOKENS = 3_000_000
"""Samples in a batch by default, as in infer's own configuration."""


def evaluate(
    checkpoint: PathLike,
    data: PathLike,
    split: str,
    *,
    labels: str | None = None,
    post_process: str | None = None,
    max_tokens: int | None = MAX_TOKENS,
    batch_size: int | None = None,
    required_batch_size_multiple: int = 1,
    seed: int = 1,
    num_workers: int = 1,
    device: str | None = None,
    w2v_path: PathLike | None = None,
    progress: bool | None = None,
) -> Score:
    """Decode `{split}.tsv` of the folder `data` with a fine-tuned checkpoint and score it.

    Args:
        checkpoint: a fine-tuned CTC checkpoint of this package or of stock fairseq.
        labels: ending of the label file; by default what the checkpoint was trained on.
        post_process: fairseq's name for joining symbols into words (`letter`,
            `sentencepiece`, `none`). By default it follows from the dictionary: letters
            and pieces are joined and give a WER, anything else is scored as phones, a PER.
        max_tokens: samples in a batch, padding included; None for no limit.
        batch_size: utterances in a batch; None for no limit.
        required_batch_size_multiple: larger batches hold a multiple of this many utterances.
        seed: breaks ties in the order of equally long utterances.
        num_workers: processes that read audio; 0 reads in this one.
        device: `cpu`, `cuda`…; by default a GPU where there is one.
        w2v_path: the pre-trained file, for checkpoints that do not hold their architecture.
        progress: show a bar on stderr; by default where that is a terminal.

    Raises:
        UserError: the checkpoint is missing, pre-trained only or unfit; the split or its labels
            are missing, empty or do not fit the dictionary; audio cannot be read.
    """
    import torch

    _check_options(max_tokens, batch_size, required_batch_size_multiple, num_workers)
    finetuned = open_finetuned(checkpoint, data, labels)
    checked = check_manifest(
        data,
        split,
        finetuned.labels,
        symbols=finetuned.symbols,
        symbols_from=f"the dictionary of {finetuned.path}",
    )
    _check_lengths(checked, max_tokens)
    if post_process is None:
        post_process = _joining(finetuned.symbols)
    chosen = _device(device)
    with _quiet():
        task = build_task(finetuned, os.fspath(data), seed=seed)
        model = build_model(finetuned, task, w2v_path=w2v_path, device=chosen)
        task.load_dataset(split)
        dataset = task.dataset(split)
        planned = task.get_batch_iterator(
            dataset=dataset,
            max_tokens=max_tokens,
            max_sentences=batch_size,
            max_positions=(sys.maxsize, sys.maxsize),
            required_batch_size_multiple=required_batch_size_multiple,
            seed=seed,
        ).frozen_batches
        batches = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=_with_remainder(planned, checked),
            collate_fn=dataset.collater,
            num_workers=num_workers,
        )
        dictionary = task.target_dictionary
        utterances = _transcribe(model, dictionary, batches, checked, post_process, progress)
    return Score(
        checkpoint=str(finetuned.path),
        data=os.fspath(data),
        split=split,
        labels=finetuned.labels,
        metric="PER" if post_process == "none" else "WER",
        utterances=tuple(sorted(utterances, key=lambda utterance: utterance.row)),
    )


def _check_options(
    max_tokens: int | None, batch_size: int | None, multiple: int, num_workers: int
) -> None:
    for name, value, least in (
        ("max_tokens", max_tokens, 1),
        ("batch_size", batch_size, 1),
        ("required_batch_size_multiple", multiple, 1),
        ("num_workers", num_workers, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"{name} is {value}, expected {least} or more")


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


def _check_lengths(checked: CheckedManifest, max_tokens: int | None) -> None:
    for number, row in enumerate(checked.manifest.rows, start=2):
        if max_tokens is not None and row.frames > max_tokens:
            raise UserError(
                f"{checked.split}.tsv row {number}: {row.path} has {row.frames} samples, more than "
                f"a batch may hold (max_tokens {max_tokens}); raise max_tokens"
            )


def _with_remainder(planned: Sequence[Any], checked: CheckedManifest) -> list[list[int]]:
    """fairseq's batches as lists of rows, and the rows that they leave out as a last batch."""
    batches = [[int(row) for row in batch] for batch in planned]
    rows = checked.manifest.rows
    left = set(range(len(rows))).difference(*batches)
    if left:
        batches.append(sorted(left, key=lambda row: (-rows[row].frames, row)))
    return batches


def _joining(symbols: list[str]) -> str:
    if "|" in symbols:
        return "letter"
    if any(symbol.startswith("\u2581") for symbol in symbols):
        return "sentencepiece"
    return "none"


def _device(wanted: str | None) -> str:
    import torch

    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {wanted}: no GPU can be used here; leave it out or say cpu")
    return wanted


def _transcribe(
    model: Any,
    dictionary: Any,
    batches: Any,
    checked: CheckedManifest,
    post_process: str,
    progress: bool | None,
) -> list[Utterance]:
    import torch
    from fairseq import utils
    from fairseq.data.data_utils import post_process as join
    from tqdm import tqdm

    blank = dictionary.bos()
    if "<ctc_blank>" in dictionary.indices:
        blank = dictionary.index("<ctc_blank>")
    device = next(model.parameters()).device
    show = sys.stderr.isatty() if progress is None else progress
    rows = checked.manifest.rows
    bar = tqdm(total=len(rows), desc=checked.split, unit="utt", disable=not show)
    utterances: list[Utterance] = []
    with torch.no_grad(), bar:
        for sample in _reading(batches, checked):
            if device.type == "cuda":
                sample = utils.move_to_cuda(sample, device)
            logits = model.get_logits(model(**sample["net_input"]))
            emissions = logits.transpose(0, 1).float().cpu().contiguous()
            for index, row in enumerate(sample["id"].tolist()):
                frames = emissions[index].argmax(dim=-1).unique_consecutive()
                heard = dictionary.string(frames[frames != blank].int())
                target = utils.strip_pad(sample["target"][index], dictionary.pad())
                said = dictionary.string(target.int().cpu())
                reference, hypothesis = join(said, post_process), join(heard, post_process)
                counts = edit_counts(reference.split(), hypothesis.split())
                utterances.append(
                    Utterance(row, rows[row].path, reference, hypothesis, said, heard, counts)
                )
            bar.update(len(sample["id"]))
    return utterances


def _reading(batches: Any, checked: CheckedManifest) -> Iterator[dict[str, Any]]:
    """The batches; audio that cannot be read becomes a UserError."""
    iterator = iter(batches)
    while True:
        try:
            sample = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"{checked.split}.tsv: audio below {checked.manifest.root} cannot be read: "
                f"{reason[-1]}; copy it again"
            ) from error
        if "net_input" in sample:
            yield sample
