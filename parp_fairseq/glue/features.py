"""Examples as tokens, and the order in which an epoch goes through them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from parp_fairseq.glue.data import Example
from parp_fairseq.glue.tasks import Task

# Of the choice of training examples; it is the same for every seed and method.
_CHOICE = 0


def chosen(examples: Sequence[Example], limit: int | None) -> Sequence[Example]:
    """Return `limit` of the examples, drawn with a fixed seed; all where there are no more."""
    if limit is None or limit >= len(examples):
        return examples
    rows = random.Random(_CHOICE).sample(range(len(examples)), limit)
    return [examples[row] for row in sorted(rows)]


def digest(examples: Sequence[Example]) -> str:
    """A hash of examples and their labels, in their order."""
    sha256 = hashlib.sha256()
    for example in examples:
        sha256.update(repr((example.first, example.second, example.label)).encode())
    return sha256.hexdigest()


class Features(Dataset):
    """Tokenised examples: row → {"input_ids", …, "labels"}, not padded."""

    def __init__(
        self, examples: Sequence[Example], tokenizer: Any, task: Task, max_length: int
    ) -> None:
        """Tokenise.

        Args:
            examples: at least one.
            tokenizer: of transformers.
            task: whether there are two sentences, and whether labels are scores.
            max_length: tokens; of a pair the longer sentence is cut first.
        """
        second = [example.second for example in examples] if task.pair else None
        self._columns = tokenizer(
            [example.first for example in examples],
            second,
            truncation=True,
            max_length=max_length,
        )
        kind = float if task.regression else int
        self.labels = [kind(example.label) for example in examples]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example."""
        return [len(ids) for ids in self._columns["input_ids"]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        columns = {name: values[row] for name, values in self._columns.items()}
        return {**columns, "labels": self.labels[row]}


class ByLength(Sampler[int]):
    """Random batches whose examples come sorted by length, so that parts of a batch pad little.

    Which examples share a batch depends on seed and epoch alone, never on lengths.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        """Take the lengths of all examples, the size of a batch, and the seed."""
        self._lengths = lengths
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0; the Trainer calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000_003 * self._seed + self._epoch)
        order = torch.randperm(len(self), generator=generator).tolist()
        for start in range(0, len(order), self._batch):
            yield from sorted(order[start : start + self._batch], key=self._lengths.__getitem__)


def loss_of(task: Task) -> Any:
    """The loss of a task, as a Trainer's `compute_loss_func`: the mean over an update's examples.

    Cross-entropy, or the squared error of a regression.
    """
    from torch.nn import functional

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        logits = outputs["logits"].float()
        count = len(labels) if num_items_in_batch is None else num_items_in_batch
        if task.regression:
            total = functional.mse_loss(logits.reshape(-1), labels.float(), reduction="sum")
        else:
            total = functional.cross_entropy(logits, labels, reduction="sum")
        return total / count

    return loss
