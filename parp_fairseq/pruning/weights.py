"""The weights θ that training updates, and the subnetwork m⊙θ that they hold for a while."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from parp_fairseq.pruning.mask import Mask


class MaskedWeights:
    """θ by name, in the tensors that the optimizer updates.

    In half precision these are fp32 masters, from which the optimizer overwrites the model's own
    weights, the *copies*, after every step. The copies follow whatever is done to θ here.

    Attributes:
        tensors: name → tensor, changed in place.
        applied: the mask m where the tensors hold m⊙θ; None where they hold θ.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], copies: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take the tensors over.

        Args:
            tensors: name → what the optimizer updates.
            copies: name → the model's own tensor, where that is another one.
        """
        self.tensors = dict(tensors)
        self.applied: Mask | None = None
        self._copies = dict(copies or {})
        self._pruned: dict[str, Tensor] = {}

    @torch.no_grad()
    def zero_(self, mask: Mask) -> None:
        """Set to zero what `mask` prunes: θ becomes m⊙θ, for good."""
        mask.zero_(self.tensors)
        self.update_copies()

    @torch.no_grad()
    def update_copies(self) -> None:
        """Let the copies follow."""
        for name, copy in self._copies.items():
            copy.copy_(self.tensors[name])

    def pruned_values(self, mask: Mask) -> dict[str, Tensor]:
        """Return the values of θ that m⊙θ lacks, name → (entries,); changes nothing."""
        if mask is self.applied:
            return dict(self._pruned)
        return {name: tensor.detach()[~mask[name]] for name, tensor in self.tensors.items()}

    def apply(self, mask: Mask) -> None:
        """Let the tensors hold m⊙θ until `restore`."""
        self._pruned = self.pruned_values(mask)
        self.zero_(mask)
        self.applied = mask

    def restore(self) -> None:
        """Let the tensors hold θ again, bit by bit."""
        if self.applied is not None:
            self.fill(self.applied, self._pruned)
            self.applied, self._pruned = None, {}

    def fill(self, mask: Mask, values: Mapping[str, Tensor]) -> None:
        """Make θ of tensors that hold m⊙θ and of what `pruned_values` returned for that mask."""
        for name in values:
            fill_(self.tensors[name], ~mask[name], values[name])
        self.update_copies()


@torch.no_grad()
def fill_(tensor: Tensor, pruned: Tensor, values: Tensor) -> None:
    """Write `values`, in row-major order, where `pruned` is true of `tensor`, in place.

    Raises:
        ValueError: there are too few or too many values.
    """
    wanted = int(pruned.sum())
    if values.shape != (wanted,):
        raise ValueError(f"{values.numel()} values for {wanted} pruned entries")
    tensor[pruned] = values.to(tensor.device, tensor.dtype)
