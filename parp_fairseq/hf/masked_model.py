"""What a model holds: θ inside of an update, m⊙θ whenever it is looked at from outside of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Pruner

# Entries of each weight by which a change from outside is noticed.
_SAMPLE = 8


class MaskedModel:
    """A model in training, whose weights hold m⊙θ except from `begin_update` to `end_update`.

    In between a state dictionary of the model holds m⊙θ all the same. Loading one replaces θ.
    A copy of the model is a plain model.

    Attributes:
        updating: whether an update has begun and not ended.
        updates: the number of updates when the last one ended.
    """

    def __init__(
        self, model: nn.Module, pruner: Pruner, weights: Mapping[str, Tensor], updates: int
    ) -> None:
        """Let the model hold m⊙θ, after so many updates.

        `pruner` is started over `weights`, name → prunable parameter of the model.
        """
        self.updating, self.updates = False, updates
        self._model, self._pruner = model, pruner
        # A parameter may have several names.
        self._names = {weight.data_ptr(): name for name, weight in weights.items()}
        self._weights = weights
        self._handles: list[Any] = [
            model._register_state_dict_hook(self._mask_state),
            model.register_load_state_dict_pre_hook(self._before_loading),
        ]
        pruner.apply_mask()
        self._seen: Tensor | None = self._sample()

    def __deepcopy__(self, memo: dict[int, Any]) -> MaskedModel:
        """A copy of the model gets these hooks too, which do nothing to it."""
        return self

    def begin_update(self, epochs_done: int) -> None:
        """Let the weights hold θ; prune where whole epochs have passed."""
        self._check_memory()
        self._pruner.begin_update(epochs_done, self.updates)
        self.updating = True

    def end_update(self, updates: int, learning_rate: float) -> None:
        """React to the optimizer's step, which was number `updates`."""
        self._check_memory()
        self._pruner.end_update(updates, learning_rate)
        self._pruner.apply_mask()
        self.updating, self.updates, self._seen = False, updates, self._sample()

    def check_scored(self) -> None:
        """Raise UserError where a score now would not be that of the subnetwork."""
        if self.updating and not self._pruner.mask_applied:
            raise UserError(
                "the model is evaluated inside of an update, where it holds weights that are "
                "pruned later; evaluate in on_step_end"
            )
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Raise UserError where others have changed the weights, or put others in their place."""
        self._check_memory()
        if self._seen is not None and not torch.equal(self._sample(), self._seen):
            raise UserError(
                "something besides the optimizer has changed the weights since the last update "
                "(a moving average, EMA or SWA?), so the subnetwork would be that of other "
                "weights; remove that callback, or do not prune"
            )

    def remove(self) -> None:
        """Remove the hooks; the weights stay as they are."""
        for handle in self._handles:
            handle.remove()

    def _check_memory(self) -> None:
        for name, weight in self._weights.items():
            if self._model.get_parameter(name).data_ptr() != weight.data_ptr():
                raise UserError(
                    f"{name} is in other memory than when training began (was the model moved, "
                    "cast or resized?), so it would not be pruned; do that to a copy.deepcopy"
                )

    def _mask_state(self, module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        if module is not self._model or not self.updating or self._pruner.mask_applied:
            return
        masked: dict[str, Tensor] = {}
        for key, tensor in state.items():
            name = self._names.get(tensor.data_ptr()) if isinstance(tensor, Tensor) else None
            if name is not None:
                if name not in masked:
                    masked[name] = self._pruner.masked(name, tensor)
                state[key] = masked[name]

    def _before_loading(self, module: nn.Module, *_: Any) -> None:
        if module is self._model:
            self._pruner.restore_weights()
            self._seen = None

    @torch.no_grad()
    def _sample(self) -> Tensor:
        flat = [weight.reshape(-1) for weight in self._weights.values()]
        return torch.cat([one[:: max(1, one.numel() // _SAMPLE)] for one in flat])
