"""Scoring checkpoints on splits, digit for digit as fairseq's infer does.

`examples/speech_recognition/new/infer.py` with `decoding.type=viterbi` takes the likeliest
symbol of every frame, merges repetitions and drops blanks. A base model's logits depend a little
on what an utterance is batched with (its feature extractor normalises over the padded batch), so
the batches are built by the same fairseq functions from the same options. Their defaults are
infer's but for `required_batch_size_multiple`, 8 there and always 1 here: where a last batch does
not hold a multiple of it, later versions of fairseq leave it out, in infer too (0.12.2 does not).
Here every utterance is decoded and counted. Validation during training makes other batches, by the
run's own options.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.dictionary import NONE, Symbols
from parp_fairseq.checkpoints.finetuned import FineTuned, open_finetuned
from parp_fairseq.checkpoints.formats import check_format
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.fairseq_model import build_model, build_task
from parp_fairseq.evaluation.score import Score, Utterance
from parp_fairseq.files import PathLike
from parp_fairseq.inference.beam_search import BeamSearch, LanguageModel
from parp_fairseq.manifests.check.split import (
    CheckedManifest,
    check_lengths,
    check_manifest,
    manifest_file,
)

MAX_TOKENS = 3_000_000
"""Samples in a batch by default, as in infer's own configuration."""

SUBNETWORK, THETA = "subnetwork", "theta"
"""What is scored of a checkpoint: m⊙θ, which every checkpoint holds; or θ, before masking."""


def evaluate(checkpoint: PathLike, data: PathLike, split: str, **options: Any) -> Score:
    """Score one checkpoint on one split; `options` and errors are those of `evaluate_all`.

    Of nested subnetworks the densest, or that of the option `sparsity`.
    """
    return next(evaluate_all([checkpoint], data, [split], **options))


def evaluate_all(
    checkpoints: Sequence[PathLike],
    data: PathLike,
    splits: Sequence[str],
    *,
    labels: str | None = None,
    max_tokens: int | None = MAX_TOKENS,
    batch_size: int | None = None,
    num_workers: int = 1,
    device: str | None = None,
    weights: str = SUBNETWORK,
    sparsity: float | None = None,
    language: LanguageModel | None = None,
) -> Iterator[Score]:
    """Decode `{split}.tsv` of the folder `data` with fine-tuned checkpoints and score them.

    Every checkpoint (of this package or of stock fairseq, a sparse file, a folder of
    `transformers`) is opened and every split checked before the first is decoded. Then each model
    is built once and decodes all splits; a score is yielded when it is ready. One that holds
    sparser subnetworks (method "nested") is followed by these. Letters and pieces, by the ending of
    their `labels` (default: what each was trained on), give WER and CER; phones (and what no
    dictionary joins into words) give PER.

    A batch has at most `max_tokens` samples, padding included, and `batch_size` utterances (None:
    no limit); `num_workers` processes read audio (0: this one). `device` is `cpu`, `cuda` or
    `cuda:N` (default: a GPU where there is one), `weights` `subnetwork` or `theta`: those before
    masking. Each is pruned to `sparsity` first, as `open_finetuned` does, and searched with
    `language` (default: the likeliest symbol of each frame).

    UserError where a checkpoint is missing, pre-trained only, unfit or without θ; a split or its
    labels are missing, empty, without any word or do not fit the dictionary; audio cannot be read.
    """
    if weights not in (SUBNETWORK, THETA):
        raise ValueError(f"{weights!r} is neither {SUBNETWORK} nor {THETA}")
    if weights == THETA and sparsity is not None:
        raise UserError("--sparsity is for the subnetwork; leave it or --weights theta out")
    _check_distinct("checkpoint", [os.path.realpath(checkpoint) for checkpoint in checkpoints])
    _check_distinct("split", splits)
    if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"--device {device}: use cpu, cuda, or cuda:N for the GPU of that number")
    for checkpoint in checkpoints:
        check_format(checkpoint)
    for split in splits:
        manifest_file(data, split)
    chosen = _device(device)
    planning = {"max_tokens": max_tokens, "max_sentences": batch_size, "seed": 1}
    planning["required_batch_size_multiple"] = 1
    checked: dict[Any, CheckedManifest] = {}

    def opened(
        checkpoint: PathLike, level: float | None
    ) -> tuple[FineTuned, list[CheckedManifest]]:
        """The checkpoint, and the splits, each checked once per dictionary."""
        finetuned = open_finetuned(checkpoint, data, labels, level)
        if weights == THETA:
            from parp_fairseq.checkpoints.mask_files import dense_weights

            model = dense_weights(finetuned.state, finetuned.path)
            finetuned = replace(finetuned, state={**finetuned.state, "model": model})
        manifests = []
        for split in splits:
            key = (split, finetuned.labels, tuple(finetuned.symbols))
            if key not in checked:
                checked[key] = _checked_split(finetuned, data, split, max_tokens)
            manifests.append(checked[key])
        return finetuned, manifests

    cuts: list[tuple[PathLike, float | None]] = []
    for checkpoint in checkpoints:
        # Opened again below: an old checkpoint's weights are read whole, and many do not fit.
        finetuned, _ = opened(checkpoint, sparsity)
        others = finetuned.sparser if sparsity is None and weights == SUBNETWORK else ()
        cuts += [(checkpoint, sparsity), *((checkpoint, level) for level in others)]
    for checkpoint, level in cuts:
        finetuned, manifests = opened(checkpoint, level)
        symbols = Symbols.of_dictionary(finetuned.symbols, finetuned.joining)
        try:
            zeros: float | None = finetuned.sparsity
        except UserError:  # nothing that the preset finds
            zeros = None
        search = None if language is None else BeamSearch(language, symbols)
        with _quiet():
            task = build_task(finetuned, os.fspath(data))
            model = build_model(finetuned, task, device=chosen)
        for manifest in manifests:
            with _quiet():
                loader = make_batches(task, manifest, num_workers, **planning)
                utterances = transcribe(model, symbols, loader, manifest, search)
            yield Score(
                checkpoint=os.fspath(checkpoint),
                data=os.fspath(data),
                split=manifest.split,
                labels=finetuned.labels,
                metric="PER" if symbols.joining == NONE else "WER",
                utterances=tuple(sorted(utterances, key=lambda utterance: utterance.row)),
                weights=weights,
                zeros=zeros,
                language=language,
                sparsity=level,
            )
        # Two large models need not fit into the memory.
        del finetuned, task, model


def make_batches(task: Any, checked: CheckedManifest, num_workers: int, **planning: Any) -> Any:
    """A DataLoader over the split, in the batches that fairseq's infer makes of it."""
    import torch

    task.load_dataset(checked.split)
    dataset = task.dataset(checked.split)
    planned = task.get_batch_iterator(
        dataset=dataset, max_positions=(sys.maxsize, sys.maxsize), **planning
    ).frozen_batches
    batches = [[int(row) for row in batch] for batch in planned]
    # Rows that fairseq leaves out become a last batch.
    rows = checked.manifest.rows
    left = set(range(len(rows))).difference(*batches)
    if left:
        batches.append(sorted(left, key=lambda row: (-rows[row].frames, row)))
    return torch.utils.data.DataLoader(
        dataset, batch_sampler=batches, collate_fn=dataset.collater, num_workers=num_workers
    )


def transcribe(
    model: Any,
    symbols: Symbols,
    batches: Any,
    checked: CheckedManifest,
    search: BeamSearch | None = None,
) -> list[Utterance]:
    """Reference and hypothesis of each utterance of `batches`, in their order.

    Raises UserError: audio cannot be read.
    """
    import torch
    from fairseq import utils
    from tqdm import tqdm

    device = next(model.parameters()).device
    rows = checked.manifest.rows
    utterances: list[Utterance] = []
    # None: shown on a terminal.
    bar = tqdm(total=len(rows), desc=checked.split, unit="utt", disable=None)
    with torch.no_grad(), bar:
        for sample in _readable(batches, checked):
            if device.type == "cuda":
                sample = utils.move_to_cuda(sample, device)
            logits = model.get_logits(model(**sample["net_input"])).transpose(0, 1)
            targets = sample["target"].cpu().numpy()
            found = zip(sample["id"].tolist(), targets, logits.float().cpu().contiguous())
            for row, target, frames in found:
                reference = symbols.units(target[target != symbols.padding])
                if search is None:
                    hypothesis = symbols.units(symbols.best(frames.argmax(dim=-1).numpy()))
                    text = symbols.joined(hypothesis)
                else:
                    heard = search.decode(frames.numpy())
                    hypothesis, text = symbols.units(heard.rows), heard.text
                said = symbols.joined(reference)
                path = rows[row].path
                utterances.append(Utterance(row, path, said, text, reference, hypothesis))
            bar.update(len(sample["id"]))
    return utterances


def _checked_split(
    finetuned: FineTuned, data: PathLike, split: str, max_tokens: int | None
) -> CheckedManifest:
    """A split's manifest and labels, which fit the checkpoint's dictionary and have a word."""
    name = f"{split}.{finetuned.labels}"
    if not Path(data, name).is_file():
        raise UserError(
            f"{Path(data, name)}: no such label file, and {finetuned.path} is scored on its "
            f"{finetuned.labels}; give it data with such labels, or check --labels"
        )
    manifest = check_manifest(
        data,
        split,
        finetuned.labels,
        symbols=finetuned.symbols,
        symbols_from=f"the dictionary of {finetuned.path}",
    )
    check_lengths(manifest, max_tokens, "--max-tokens")
    symbols = Symbols.of_dictionary(finetuned.symbols, finetuned.joining)
    # An utterance may have no word (its hypothesis is inserted), a split may not.
    if not any(symbols.joined(line).split() for line in manifest.labels):
        raise UserError(
            f"{name}: no row has a word, so there is no error rate; build the labels again"
        )
    return manifest


def _readable(batches: Any, checked: CheckedManifest) -> Iterator[dict[str, Any]]:
    """The batches, and a UserError for audio that cannot be read."""
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


def _check_distinct(what: str, values: Sequence[str]) -> None:
    if not values:
        raise UserError(f"no {what} was given; name at least one")
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"the {what} {value} is a duplicate; give it once")


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


def _device(wanted: str | None) -> str:
    """The device to decode on."""
    import torch

    if wanted == "cpu":
        return "cpu"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return "cuda" if gpus else "cpu"
    if not gpus:
        raise UserError(f"--device {wanted}: no GPU is available; leave it out or use cpu")
    if int(wanted.partition(":")[2] or 0) >= gpus:
        raise UserError(f"--device {wanted}: the GPUs here are 0 to {gpus - 1}; give one of them")
    return wanted
