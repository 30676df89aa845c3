"""Transcribing a split, digit for digit as fairseq's infer does.

`examples/speech_recognition/new/infer.py` with `decoding.type=viterbi` takes the likeliest
symbol of every frame, merges repetitions and drops blanks. A base model's logits depend a little
on what an utterance is batched with (its feature extractor normalises over the padded batch), so
the batches are built by the same fairseq functions from the same options. Their defaults are
infer's but for `required_batch_size_multiple`, 1 here and 8 there: where a last batch does not
hold a multiple of it, later versions of fairseq leave it out, in infer too (0.12.2 does not). Here
every utterance is decoded and counted, whatever that option says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.score import Utterance
from parp_fairseq.manifests.check.split import CheckedManifest


def make_batches(task: Any, checked: CheckedManifest, num_workers: int, **planning: Any) -> Any:
    """A DataLoader over the split, in the batches that fairseq's infer makes of it."""
    import torch

    task.load_dataset(checked.split)
    dataset = task.dataset(checked.split)
    planned = task.get_batch_iterator(
        dataset=dataset, max_positions=(sys.maxsize, sys.maxsize), **planning
    ).frozen_batches
    return torch.utils.data.DataLoader(
        dataset,
        batch_sampler=_with_remainder(planned, checked),
        collate_fn=dataset.collater,
        num_workers=num_workers,
    )


def transcribe(
    model: Any,
    dictionary: Any,
    batches: Any,
    checked: CheckedManifest,
    post_process: str,
    progress: bool | None,
) -> list[Utterance]:
    """What is said and heard in each utterance of `batches`, in their order.

    Args:
        model: a CTC model in evaluation mode.
        dictionary: fairseq's Dictionary that numbers its head.
        batches: what `make_batches` returned.
        checked: the split, for the audio files' names.
        post_process: fairseq's name for joining symbols into words.
        progress: show a bar on stderr; by default where that is a terminal.

    Raises:
        UserError: audio cannot be read.
    """
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
                utterances.append(
                    Utterance(row, rows[row].path, reference, hypothesis, said, heard)
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


def _with_remainder(planned: Sequence[Any], checked: CheckedManifest) -> list[list[int]]:
    """fairseq's batches as lists of rows, and the rows that they leave out as a last batch."""
    batches = [[int(row) for row in batch] for batch in planned]
    rows = checked.manifest.rows
    left = set(range(len(rows))).difference(*batches)
    if left:
        batches.append(sorted(left, key=lambda row: (-rows[row].frames, row)))
    return batches
