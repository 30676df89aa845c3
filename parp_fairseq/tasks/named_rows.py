"""Audio that cannot be used, found in the middle of training, named by file and row."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from fairseq.data import BaseWrapperDataset

from parp_fairseq.errors import UserError


class NamedRows(BaseWrapperDataset):
    """fairseq's dataset of a manifest, whose errors name the manifest's row."""

    def __init__(self, dataset: Any, tsv: Path) -> None:
        """Wrap fairseq's dataset of the manifest `tsv`."""
        super().__init__(dataset)
        self.tsv = tsv

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an utterance.

        Raises:
            UserError: its audio cannot be read, or holds NaN or infinity.
        """
        try:
            item = self.dataset[index]
        except Exception as error:
            reason = f"cannot be read ({' '.join(str(error).split())})"
        else:
            if torch.isfinite(item["source"]).all():
                return item
            reason = "holds NaN or infinity"
        audio = self.dataset
        while not hasattr(audio, "skipped_indices") and hasattr(audio, "dataset"):
            audio = audio.dataset
        # fairseq leaves out rows that are too short.
        kept = (n for n in itertools.count() if n not in getattr(audio, "skipped_indices", ()))
        row = next(itertools.islice(kept, int(index), None))
        path = self.tsv.read_text(encoding="utf-8").splitlines()[row + 1].split("\t")[0]
        raise UserError(
            f"{self.tsv} row {row + 2}: {path} {reason}; fix the file or remove its row"
        )
