"""Method `nested`: subnetworks at several sparsities, each inside the denser ones, at one go."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from parp_fairseq.pruning.magnitude import magnitude_mask
from parp_fairseq.pruning.mask import Mask
from parp_fairseq.pruning.pruner import Pruner


class NestedPruner(Pruner):
    """A Pruner that trains several *levels* of sparsity, one in each update.

    The densest level is pruned as by GMP: its sparsity ramps up, and what it prunes stays zero.
    From there on each update trains one level s, the sparsest in half of them and else all alike
    often: the weights hold m_s⊙θ while it lasts, and only what m_s keeps is changed; the gradients
    of the rest reach the optimizer's averages alone. The masks are magnitude masks of θ, taken anew
    at each event, so they lie in one another; so does every subnetwork in the densest, which is
    what is scored on the way and saved. `magnitude_mask` of what is saved, at the sparsity of a
    level, is that level's mask.

    The level of an update depends on its number and the seed alone: a resumed run and all workers
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
        super().begin_update(epochs_done, update)
        self.level = 0
        if not self.at_target:
            return
        if not self._masks:
            self._masks = [
                magnitude_mask(self._weights.tensors, level, self.granularity)
                for level in self.levels[1:]
            ]
        draw = random.Random(f"{self._seed} {update}")
        sparsest = len(self.levels) - 1
        self.level = sparsest if draw.random() < 0.5 else draw.randrange(len(self.levels))
        if self.level:
            self._weights.apply(self._masks[self.level - 1])

    def end_update(self, update: int, learning_rate: float = math.nan) -> None:
        """As `Pruner` does, on θ."""
        self.restore_weights()
        super().end_update(update, learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """As `Pruner` does, with the levels' masks."""
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
