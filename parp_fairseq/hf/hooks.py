"""What a model holds: θ while it trains, m⊙θ whenever it is scored or saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Pruner

# Entries by which a change from outside is noticed.
_SAMPLE = 64


class SubnetworkHooks:
    """Hooks on the modules that own the prunable parameters.

    A forward pass of a model in training mode uses θ; in evaluation mode, m⊙θ. State dictionaries,
    the model's or one of a part of it, hold m⊙θ. Loading replaces θ.
    """

    def __init__(self, model: nn.Module, pruner: Pruner, weights: Mapping[str, Tensor]) -> None:
        """Add the hooks.

        Args:
            model: its training mode decides, not that of its parts, which may be frozen.
            pruner: started, over `weights`.
            weights: name → prunable parameter of `model`.
        """
        self._model = model
        self._pruner = pruner
        self._watched = next(iter(weights.values()))
        self._handles: list[Any] = []
        self.note_update()
        owners: dict[str, list[str]] = {}
        for name in weights:
            owners.setdefault(name.rpartition(".")[0], []).append(name)
        for owner, names in owners.items():
            module = model.get_submodule(owner)
            self._handles += [
                module.register_forward_pre_hook(self._before_forward),
                module._register_state_dict_hook(self._masking(names)),
                module.register_load_state_dict_pre_hook(lambda *_: pruner.restore_weights()),
            ]

    def note_update(self) -> None:
        """Remember θ as it is now: training or pruning has just changed it."""
        self._before = self._sample()

    def remove(self) -> None:
        """Remove the hooks; the weights stay as they are."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        if self._model.training:
            self._pruner.restore_weights()
        elif not self._pruner.mask_applied:
            if not torch.equal(self._sample(), self._before):
                raise UserError(
                    "something besides the optimizer has changed the weights since the last update "
                    "(a moving average, EMA or SWA?), so the subnetwork would be that of other "
                    "weights; remove that callback, or do not prune"
                )
            self._pruner.apply_mask()

    def _masking(self, names: list[str]) -> Any:
        """A hook that puts m⊙θ into a module's part of a state dictionary."""

        def hook(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
            for name in names:
                key = prefix + name.rpartition(".")[2]
                if key in state:
                    state[key] = self._pruner.masked(name, state[key])

        return hook

    @torch.no_grad()
    def _sample(self) -> Tensor:
        flat = self._watched.detach().reshape(-1)
        return flat[:: max(1, flat.numel() // _SAMPLE)].clone()
