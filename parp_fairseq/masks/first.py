"""The mask that a run begins with, from wherever its options say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from parp_fairseq.checkpoints.reading import load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.masks.making import random_weights
from parp_fairseq.pruning import Mask, random_mask
from parp_fairseq.pruning.magnitude import select_smallest
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.tasks.config import FIRST_MASKS, first_mask_kind

# A file's sparsity and the option may differ by rounding, not by more.
_TOLERANCE = 0.005


class FirstMask:
    """Reads and checks its sources at once, before training; `make` gives the mask."""

    def __init__(
        self,
        cfg: Any,
        sparsity: float,
        weights: Mapping[str, Tensor],
        pretrained: str,
    ) -> None:
        """Read what the first mask comes from.

        Args:
            cfg: the run's PruneConfig.
            sparsity: the first mask's sparsity, in [0, 1].
            weights: the model's prunable parameters, name → tensor.
            pretrained: the checkpoint of the pre-trained model, for random_init.

        Raises:
            UserError: a mask file or checkpoint is unreadable, of another model or of another
                sparsity.
        """
        self.names = frozenset(weights)
        self.sparsity = sparsity
        self.granularity = cfg.granularity
        self.seed = cfg.seed
        self.kind = first_mask_kind(cfg)
        self._others: Mapping[str, Tensor] | None = None
        self._mask: Mask | None = None
        if self.kind == "omp":
            self._others = finetuned_weights(cfg.mask, weights)
        elif self.kind == "random_init":
            path = Path(pretrained)
            self._others = random_weights(load_checkpoint(path), path, weights, cfg.seed)
        elif self.kind not in FIRST_MASKS:
            self._mask = self._read(
                self.kind, weights, "mask" if cfg.method == "mask" else "initial"
            )

    def make(self, weights: Mapping[str, Tensor]) -> tuple[Mask, float]:
        """Return the mask, on the weights' devices, and the magnitude below which it prunes.

        Args:
            weights: name → the weights that training starts from (θ0).
        """
        threshold = 0.0
        if self._mask is not None:
            mask = self._mask
        elif self.kind == "random":
            mask = random_mask(weights, self.sparsity, self.seed)
        else:
            ranked = weights if self._others is None else self._others
            selection = select_smallest(ranked, self.sparsity, self.granularity)
            mask, threshold = selection.mask(ranked), selection.threshold
        return mask.to(weights), threshold

    def _read(self, path: str, weights: Mapping[str, Tensor], option: str) -> Mask:
        key = f"task.prune.{option}"
        if not os.path.isfile(path):
            known = f"{', '.join(FIRST_MASKS)} or a mask file" if option == "initial" else "a file"
            raise UserError(f"{key} is {path!r}: no such file; give {known}")
        mask, _ = Mask.load(path)
        mask = mask.renamed({name: tuple(w.shape) for name, w in weights.items()}, path)
        if abs(mask.sparsity - self.sparsity) > _TOLERANCE:
            raise UserError(
                f"{path}: this mask has sparsity {mask.sparsity:.4f} and the run begins at "
                f"{self.sparsity:.4f}; set task.prune.sparsity (parp_p: initial_sparsity) to it"
            )
        return mask


def finetuned_weights(path: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights of a fine-tuned checkpoint, for OMP (paper, section 2.3).

    Args:
        path: a fairseq checkpoint of the same architecture, fine-tuned or not.
        weights: the tensors to look for, name → tensor of the right shape.

    Returns:
        name → tensor on the CPU, under the names of `weights`.

    Raises:
        UserError: the file is missing, unreadable or of another model.
    """
    state = {
        canonical_name(name): tensor for name, tensor in load_checkpoint(path)["model"].items()
    }
    found = {}
    for name, weight in weights.items():
        tensor = state.get(canonical_name(name))
        if tensor is None or tensor.shape != weight.shape:
            has = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise UserError(
                f"{path}: {canonical_name(name)} {has} there and has shape {tuple(weight.shape)} "
                "here; give a checkpoint of the same architecture as task.prune.mask"
            )
        found[name] = tensor.float()
    return found
