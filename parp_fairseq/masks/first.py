"""The mask that a run begins with, from wherever its options say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from parp_fairseq.checkpoints.file_types import CHECKPOINT, SPARSE_MODEL
from parp_fairseq.checkpoints.formats import read_state
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.masks.files import load_mask, nonzero_mask, stored_mask
from parp_fairseq.masks.making import random_weights
from parp_fairseq.pruning import Mask, random_mask
from parp_fairseq.pruning.magnitude import select_smallest
from parp_fairseq.pruning.methods import FINETUNED, INITIAL_MASKS, RANDOM, RANDOM_INIT
from parp_fairseq.pruning.scope import canonical_name

# A file's sparsity and the option may differ by rounding, not by more.
_TOLERANCE = 0.005

PREFIX = "task.prune."


class InitialMask:
    """Reads and checks its sources at once, before training; `make` gives the mask."""

    def __init__(
        self,
        kind: str,
        sparsity: float,
        weights: Mapping[str, Tensor],
        *,
        granularity: str = "global",
        seed: int = 2337,
        mask: str | None = None,
        pretrained: str = "",
        option: str = "task.prune.mask",
    ) -> None:
        """Read what the first mask comes from.

        Args:
            kind: one of INITIAL_MASKS, FINETUNED, or the path of a file that `mask_in` reads.
            sparsity: the first mask's sparsity, in [0, 1].
            weights: the model's prunable parameters, name → tensor.
            granularity: "global" or "tensor", where magnitudes decide.
            seed: of random masks and random weights.
            mask: FINETUNED: the fine-tuned checkpoint.
            pretrained: RANDOM_INIT: the checkpoint of the pre-trained model.
            option: the option that gave a path as `kind`, for the errors.

        Raises:
            UserError: a mask file or checkpoint is unreadable, of another model or of another
                sparsity.
        """
        self.names = frozenset(weights)
        self.kind = kind
        self.sparsity = sparsity
        self.granularity = granularity
        self.seed = seed
        self._others: Mapping[str, Tensor] | None = None
        self._mask: Mask | None = None
        if kind == FINETUNED:
            self._others = finetuned_weights(str(mask), weights)
        elif kind == RANDOM_INIT:
            path = Path(pretrained)
            self._others = random_weights(load_checkpoint(path), path, weights, seed)
        elif kind not in INITIAL_MASKS:
            self._mask = self._read(kind, weights, option)

    def make(self, weights: Mapping[str, Tensor]) -> tuple[Mask, float]:
        """Return the mask, on the weights' devices, and the magnitude below which it prunes.

        Args:
            weights: name → the weights that training starts from (θ0).
        """
        threshold = 0.0
        if self._mask is not None:
            mask = self._mask
        elif self.kind == RANDOM:
            mask = random_mask(weights, self.sparsity, self.seed)
        else:
            ranked = weights if self._others is None else self._others
            selection = select_smallest(ranked, self.sparsity, self.granularity)
            mask, threshold = selection.mask(ranked), selection.threshold
        return mask.to(weights), threshold

    def _read(self, path: str, weights: Mapping[str, Tensor], option: str) -> Mask:
        if not os.path.isfile(path):
            names = f"{', '.join(INITIAL_MASKS)} or " if option.endswith("initial") else ""
            raise UserError(f"{option} is {path!r}: no such file; give {names}a mask file")
        return fitted(mask_in(path, weights), path, self.sparsity, weights)


def fitted(
    mask: Mask, path: str, sparsity: float, weights: Mapping[str, Tensor], prefix: str = PREFIX
) -> Mask:
    """Return a mask under the names of a model's weights.

    Args:
        mask: the mask.
        path: its file, for the errors.
        sparsity: what the run begins with, in [0, 1].
        weights: the model's prunable parameters, name → tensor.
        prefix: what the caller's options begin with, for the errors.

    Raises:
        UserError: the mask is of another model or scope, or of another sparsity.
    """
    with options_named(prefix):
        mask = mask.renamed({name: tuple(w.shape) for name, w in weights.items()}, path)
    if abs(mask.sparsity - sparsity) > _TOLERANCE:
        raise UserError(
            f"{path}: this mask has sparsity {mask.sparsity:.4f} and the run begins at "
            f"{sparsity:.4f}; set {prefix}sparsity (where it climbs: {prefix}initial_sparsity) to "
            "it"
        )
    return mask


def mask_in(path: str, names: Iterable[str]) -> Mask:
    """Read the mask that a file holds, whatever kind of file it is.

    Of a mask file that mask, of a checkpoint of a pruning run the one that it keeps, of an export
    (a fairseq checkpoint or a sparse file) what is not zero.

    Args:
        path: the file.
        names: the model's prunable parameters, in which an export's zeros are looked for.

    Raises:
        UserError: the file is unreadable, or a dense checkpoint.
    """
    if not any(kind.matches(Path(path)) for kind in (CHECKPOINT, SPARSE_MODEL)):
        return load_mask(path)[0]
    state = read_state(path)
    mask = stored_mask(state)
    if mask is not None:
        return mask
    scope = {canonical_name(name) for name in names}
    mask = nonzero_mask(
        {name: tensor for name, tensor in state["model"].items() if canonical_name(name) in scope}
    )
    if mask.sparsity < _TOLERANCE:
        raise UserError(
            f"{path} is a checkpoint that keeps no mask and has no zeros; for the mask of its "
            "magnitudes use task.prune.method=omp, or make a mask file with parp mask make"
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
    return matching(load_checkpoint(path)["model"], weights, path, "task.prune.mask")


def matching(
    tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str, option: str
) -> dict[str, Tensor]:
    """Return those of a model's tensors that bear the names of `weights`, in fp32.

    Args:
        tensors: the model's, under names that may have a fine-tuned model's prefixes.
        weights: name → tensor of the right shape.
        source: what to call the model in an error: its file.
        option: the option that named it.

    Raises:
        UserError: one is missing or of another shape.
    """
    short = {canonical_name(name): tensor for name, tensor in tensors.items()}
    chosen = {}
    for name, weight in weights.items():
        wanted = canonical_name(name)
        tensor = short.get(wanted)
        if tensor is None or tensor.shape != weight.shape:
            has = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise UserError(
                f"{source}: {wanted} {has} there and has shape {tuple(weight.shape)} here; give a "
                f"checkpoint of the same architecture as {option}"
            )
        chosen[name] = tensor.float()
    return chosen
