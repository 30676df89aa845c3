"""Method `nested`: subnetworks at several sparsities, each inside the denser ones, at one go."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from parp_fairseq.pruning.magnitude import magnitude_mask
from parp_fairseq.pruning.mask import Mask
from parp_fairseq.pruning.pruner import Pruner


class NestedPruner(Pruner):
    """A Pruner that trains several *levels* of sparsity, one in each update.

    The densest level is pruned as by GMP: its sparsity ramps up, and what it prunes stays zero.
    From there on each update trains one level s, the sparsest in a third of them and else all alike
    often: the weights hold m_s⊙θ while it lasts, and only what m_s keeps is changed; the gradients
    of the rest only reach the optimizer's averages. The masks are magnitude masks of θ, taken anew
    at each event, so they lie in one another; so does every subnetwork in the densest, which is
    what is scored on the way and saved. `magnitude_mask` of what is saved, at the sparsity of a
    level, is that level's mask.

    The level of an update depends only on its number and the seed: a resumed run and all workers
    draw the same.

    Attributes:
        levels: sparsities, rising, from the schedule's final one.
        level: the index of the one that the present update trains.
    """

    def __init__(self, *args: Any, levels: Sequence[float], seed: int = 0, **options: Any) -> None:
        """Set up as a static Pruner.

        Args:
            args: as for `Pruner`.
            levels: sparsities above the schedule's final one, rising.
            seed: of the draws.
            options: as for `Pruner`.
        """
        super().__init__(*args, **options, static=True)
        self.levels = [self.schedule.final, *levels]
        self.level = 0
        self._seed = seed
        self._masks: list[Mask] = []  # of the levels but the densest, since the last event

    def begin_update(self, epochs_done: int, update: int) -> None:
        """As `Pruner` does; then let the weights hold the level that is trained."""
        self.release()
        super().begin_update(epochs_done, update)
        if not self.at_target:
            return
        if not self._masks:
            self._masks = [
                magnitude_mask(self._weights.tensors, level, self.granularity)
                for level in self.levels[1:]
            ]
        draw = random.Random(f"{self._seed} {update}")
        sparsest = len(self.levels) - 1
        self.level = sparsest if draw.random() < 1 / 3 else draw.randrange(len(self.levels))
        if self.level:
            self._weights.apply(self._masks[self.level - 1])

    def end_update(self, update: int, learning_rate: float = math.nan) -> None:
        """As `Pruner` does, on θ."""
        self.release()
        super().end_update(update, learning_rate)

    def release(self) -> None:
        """As `Pruner` does; an update that had begun is none any more."""
        self.level = 0
        super().release()

    @property
    def mask_applied(self) -> bool:
        """Whether the weights hold the densest subnetwork at present, not another level."""
        return self._weights.applied is None

    def apply_mask(self) -> None:
        """Let the weights hold the densest subnetwork, also inside of an update."""
        self._weights.restore()

    def restore_weights(self) -> None:
        """Let the weights hold the level of the update again, if one has begun."""
        if self.level and self.mask_applied:
            self._weights.apply(self._masks[self.level - 1])

    @torch.no_grad()
    def masked(self, name: str, tensor: Tensor) -> Tensor:
        """As `Pruner` does, of the densest subnetwork."""
        if name not in self._weights.tensors or self.mask_applied:
            return tensor
        return self._weights.theta(name, tensor)

    def state_dict(self) -> dict[str, Any]:
        """As `Pruner` does, with the levels' masks.

        The weights then hold the densest subnetwork, until `restore_weights`: fp32 masters, which
        are saved as they are, would lose what a level hides.
        """
        self.apply_mask()
        levels = [{name: data.cpu() for name, data in m.packed.items()} for m in self._masks]
        return {**super().state_dict(), "levels": levels}

    def restore(
        self,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Any],
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        """As `Pruner` does."""
        super().restore(weights, state, copies)
        shapes = self.mask.shapes
        self._masks = [Mask.from_bits(packed, shapes).to(weights) for packed in state["levels"]]

    def _event(self, update: int) -> None:
        super()._event(update)
        self._masks = []
