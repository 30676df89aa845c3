"""Rows whose audio cannot be used, found in the middle of training, told by file and row."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from fairseq.data import BaseWrapperDataset

from parp_fairseq.errors import UserError, reported

_UNUSABLE = "parp_unusable"


class NamedRows(BaseWrapperDataset):
    """A dataset of a manifest; in place of a batch with a row that fails comes word of it.

    An error in a data loader's worker reaches the trainer as many lines from two processes;
    this way the process that trains gets one line to tell.
    """

    def __init__(self, dataset: Any, tsv: Path) -> None:
        """Wrap fairseq's dataset of the manifest `tsv`."""
        super().__init__(dataset)
        self.tsv = tsv

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an utterance, or word of what is wrong with it."""
        try:
            item = self.dataset[index]
            if torch.isfinite(item["source"]).all():
                return item
            reason = "holds NaN or infinity"
        except Exception as error:
            reason = f"cannot be read ({' '.join(str(error).split())})"
        return {"id": index, _UNUSABLE: self._message(int(index), reason)}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch, or pass on what is wrong with its first bad row."""
        for sample in samples:
            if _UNUSABLE in sample:
                return {_UNUSABLE: sample[_UNUSABLE]}
        return self.dataset.collater(samples)

    def _message(self, index: int, reason: str) -> str:
        audio = self.dataset
        while not hasattr(audio, "skipped_indices") and hasattr(audio, "dataset"):
            audio = audio.dataset
        # fairseq leaves out rows that are too short.
        skipped = getattr(audio, "skipped_indices", set())
        row = next(
            itertools.islice((n for n in itertools.count() if n not in skipped), index, None)
        )
        path = self.tsv.read_text(encoding="utf-8").splitlines()[row + 1].split("\t")[0]
        return f"{self.tsv} row {row + 2}: {path} {reason}; mend the file, or remove its row"


def refuse_unusable(sample: Any) -> None:
    """End the program in one line where `NamedRows` sent word instead of a batch."""
    if sample and _UNUSABLE in sample:
        with reported():
            raise UserError(sample[_UNUSABLE])
