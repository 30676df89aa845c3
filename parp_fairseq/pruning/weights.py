"""θ, the weights that training updates, and a mask that is laid over them for a while."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from parp_fairseq.pruning.mask import Mask


class Theta:
    """θ by name, in the tensors that the optimizer updates.

    In half precision these are fp32 masters, from which the optimizer overwrites the model's own
    weights, the *copies*, after every step. The copies follow whatever is done to θ here.

    Attributes:
        tensors: name → tensor, changed in place.
        cover: the mask that lies over θ, so that the tensors hold m⊙θ; None for θ itself.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], copies: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take hold of the tensors.

        Args:
            tensors: name → what the optimizer updates.
            copies: name → the model's own tensor, where that is another one.
        """
        self.tensors = dict(tensors)
        self.cover: Mask | None = None
        self._copies = dict(copies or {})
        self._hidden: dict[str, Tensor] = {}

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

    def hidden_by(self, mask: Mask) -> dict[str, Tensor]:
        """Return the values of θ that m⊙θ hides, name → (entries,); changes nothing."""
        if mask is self.cover:
            return dict(self._hidden)
        return {name: tensor.detach()[~mask[name]] for name, tensor in self.tensors.items()}

    def lay_over(self, mask: Mask) -> None:
        """Let the tensors hold m⊙θ until `take_off`."""
        self._hidden = self.hidden_by(mask)
        self.zero_(mask)
        self.cover = mask

    def take_off(self) -> None:
        """Let the tensors hold θ again, bit by bit."""
        if self.cover is not None:
            self.fill(self.cover, self._hidden)
            self.cover, self._hidden = None, {}

    @torch.no_grad()
    def fill(self, mask: Mask, hidden: Mapping[str, Tensor]) -> None:
        """Make θ of tensors that hold m⊙θ and of what `hidden_by` returned for that mask."""
        for name, values in hidden.items():
            tensor = self.tensors[name]
            tensor[~mask[name]] = values.to(tensor.device)
        self.update_copies()
