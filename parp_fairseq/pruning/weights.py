"""The weights θ that training updates, and the subnetwork m⊙θ that they hold for a while."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from parp_fairseq.kernels.words import INTEGERS
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
        self._hidden: dict[str, Tensor] = {}  # θ - m⊙θ, in memory that is kept for the next time

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
        theta = self._hidden if mask is self.applied else self.tensors
        return {name: tensor.detach()[~mask[name]] for name, tensor in theta.items()}

    @torch.no_grad()
    def apply(self, mask: Mask) -> None:
        """Let the tensors hold m⊙θ until `restore`.

        With plain copies and operations on bits, for a selection by a mask takes far longer.
        """
        for name, tensor in self.tensors.items():
            if name not in self._hidden:
                self._hidden[name] = torch.empty_like(tensor, requires_grad=False)
            self._hidden[name].copy_(tensor)
        self.zero_(mask)
        for name, tensor in self.tensors.items():
            _bits(self._hidden[name]).bitwise_xor_(_bits(tensor))
        self.applied = mask

    @torch.no_grad()
    def restore(self) -> None:
        """Let the tensors hold θ again, bit by bit; what was changed of m⊙θ since stays changed."""
        if self.applied is None:
            return
        self.applied.zero_(self.tensors)
        for name, tensor in self.tensors.items():
            _bits(tensor).bitwise_or_(_bits(self._hidden[name]))
        self.applied = None
        self.update_copies()

    def theta(self, name: str, tensor: Tensor) -> Tensor:
        """Return θ of a tensor that holds m⊙θ, or of its copy, as a new tensor."""
        assert self.applied is not None, "the tensors hold θ"
        kept = self.applied[name]
        return torch.where(kept, tensor, self._hidden[name].to(tensor.dtype))

    def fill(self, mask: Mask, values: Mapping[str, Tensor]) -> None:
        """Make θ of tensors that hold m⊙θ and of what `pruned_values` returned for that mask."""
        for name in values:
            fill_(self.tensors[name], ~mask[name], values[name])
        self.update_copies()


@torch.no_grad()
def fill_(tensor: Tensor, pruned: Tensor, values: Tensor) -> None:
    """Write `values`, in row-major order, where `pruned` is true of `tensor`, in place.

    Raises ValueError: there are too few or too many values.
    """
    wanted = int(pruned.sum())
    if values.shape != (wanted,):
        raise ValueError(f"{values.numel()} values for {wanted} pruned entries")
    tensor[pruned] = values.to(tensor.device, tensor.dtype)


def _bits(tensor: Tensor) -> Tensor:
    """The same memory as integers."""
    return tensor.detach().view(INTEGERS[tensor.dtype])
