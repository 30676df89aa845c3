"""Splits that can be scored: asked before anything is decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Union

from parp_fairseq.checkpoints.finetuned import FineTuned
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.check.split import CheckedManifest, check_lengths, check_manifest

PathLike = Union[str, "os.PathLike[str]"]


class Splits:
    """Splits of a folder, each checked once for the same labels and dictionary."""

    def __init__(self, data: PathLike, max_tokens: int | None) -> None:
        """Splits of the folder `data`, in batches of `max_tokens` samples."""
        self.data = data
        self.max_tokens = max_tokens
        self._passed: dict[Any, CheckedManifest] = {}

    def check(self, finetuned: FineTuned, split: str, joining: str) -> CheckedManifest:
        """Return the split's manifest and labels.

        `joining` is fairseq's name for joining symbols into words. Raises UserError when a file
        is missing, does not fit the checkpoint's dictionary, has no word at all, or has audio
        longer than a batch may hold.
        """
        key = (split, finetuned.labels, joining, tuple(finetuned.symbols))
        if key not in self._passed:
            file = Path(self.data, f"{split}.{finetuned.labels}")
            if not file.is_file():
                raise UserError(
                    f"{file}: no such label file, and {finetuned.path} is scored on its "
                    f"{finetuned.labels}; give it data with such labels, or check --labels"
                )
            manifest = check_manifest(
                self.data,
                split,
                finetuned.labels,
                symbols=finetuned.symbols,
                symbols_from=f"the dictionary of {finetuned.path}",
            )
            check_lengths(manifest, self.max_tokens, "--max-tokens")
            _check_words(manifest, f"{split}.{finetuned.labels}", joining)
            self._passed[key] = manifest
        return self._passed[key]


def _check_words(checked: CheckedManifest, file: str, post_process: str) -> None:
    """An utterance may have no word (what is heard is inserted), a split may not."""
    from fairseq.data.data_utils import post_process as join

    if not any(join(line, post_process).split() for line in checked.labels):
        raise UserError(
            f"{file}: no row has a word, so there is no error rate; build the labels again"
        )
