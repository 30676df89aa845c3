"""Prune, adjust, re-prune (paper, algorithm 1): the one place that knows when."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from parp_fairseq.errors import UserError
from parp_fairseq.pruning.magnitude import magnitude_mask, prune_
from parp_fairseq.pruning.mask import Mask
from parp_fairseq.pruning.schedule import SparsityChain, SparsitySchedule

VERSION = 1
UNITS = ("update", "epoch")


class Pruner:
    """Zeroes weights when it is time, and shows the subnetwork in between.

    Every `interval` updates or epochs, and at the last update, an *event* takes the magnitude mask
    of the present weights θ at the scheduled sparsity and sets what it prunes to zero. Between two
    events θ moves freely; the subnetwork is then m⊙θ with a *fresh* m: the magnitude mask of the
    present θ at the sparsity of the last event. `enter_view` puts m⊙θ into the weights for scoring
    and saving, `leave_view` puts θ back, bit by bit. A *held* mask never changes: what it prunes is
    zeroed after every update (MPI, RP, OMP, mask transfer with regular fine-tuning).

    In half precision the optimizer updates fp32 masters, from which it overwrites the model's own
    weights after every step. Then the masters are θ: they are ranked and zeroed, and the model's
    weights, the *copies*, follow.

    Call `start` or `restore` once, then `begin_update` before and `end_update` after each update.
    """

    def __init__(
        self,
        schedule: SparsitySchedule | SparsityChain,
        *,
        interval: int = 1,
        unit: str = "update",
        total_updates: int = 0,
        held: bool = False,
        granularity: str = "global",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up the when; the weights come with `start` or `restore`.

        Args:
            schedule: sparsity over updates; a held mask keeps the sparsity it has.
            interval: n of algorithm 1, at least 1.
            unit: what `interval` counts, "update" or "epoch".
            total_updates: N; update N ends in an event. 0: unknown.
            held: keep the first mask.
            granularity: "global" or "tensor".
            settings: option → plain value; a run is restored only under the same ones.

        Raises:
            UserError: interval below 1 or an unknown unit.
        """
        if interval < 1:
            raise UserError(f"task.prune.interval is {interval}; it counts from 1")
        if unit not in UNITS:
            raise UserError(f"task.prune.interval_unit is {unit!r}; use {' or '.join(UNITS)}")
        self.schedule = schedule
        self.interval = interval
        self.unit = unit
        self.total_updates = total_updates
        self.held = held
        self.granularity = granularity
        self.settings = dict(settings or {})
        self.sparsity = 0.0
        self.threshold = 0.0
        self.revived = 0.0
        self.mask_iou = 1.0
        self.events = 0
        self._epochs = 0
        self._weights: dict[str, Tensor] = {}
        self._copies: dict[str, Tensor] = {}
        self._first: Mask | None = None
        self._mask: Mask | None = None
        self._moved = False  # whether θ has left m⊙θ since the last event
        self._view: Mask | None = None
        self._shadow: dict[str, Tensor] = {}

    @property
    def started(self) -> bool:
        """Whether there are weights and a mask."""
        return self._mask is not None

    @property
    def at_target(self) -> bool:
        """Whether the present sparsity is the final one."""
        return self.held or (self.started and self.sparsity >= self.schedule.final)

    @property
    def first_mask(self) -> Mask:
        """The mask that the run began with."""
        assert self._first is not None, "start or restore first"
        return self._first

    @property
    def mask(self) -> Mask:
        """The mask of the last event."""
        assert self._mask is not None, "start or restore first"
        return self._mask

    def start(
        self,
        weights: Mapping[str, Tensor],
        first: Mask,
        threshold: float = 0.0,
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Begin with the first mask m0: θ becomes m0⊙θ (algorithm 1, lines 2 and 4).

        Args:
            weights: name → the tensor that the optimizer updates; changed in place from now on.
            first: mask over the same names.
            threshold: the largest magnitude that `first` prunes, for the meters.
            copies: name → the model's own tensor, where that is another one (half precision).
        """
        self._weights = {name: weights[name] for name in first}
        self._copies = dict(copies or {})
        self._first = self._mask = first
        self.sparsity = self.schedule.at(0) if not self.held else first.sparsity
        self.threshold = threshold
        self._prune(first)

    def begin_update(self, epochs_done: int, update: int) -> None:
        """Prune again where whole epochs have passed.

        Args:
            epochs_done: epochs that are complete.
            update: updates done so far.
        """
        self.leave_view()
        if self.unit == "epoch" and not self.held:
            due = epochs_done // self.interval > self._epochs // self.interval
            self._epochs = epochs_done
            if due and self._moved:
                self._event(update)

    def end_update(self, update: int) -> None:
        """React to an update of the weights: zero a held mask, or prune again where it is time.

        Args:
            update: the number of updates done, this one included.
        """
        if self.held:
            self._prune(self.mask)
            return
        self._moved = True
        due = self.unit == "update" and update % self.interval == 0
        if due or update == self.total_updates:
            self._event(update)

    def view_mask(self) -> Mask:
        """Return m: the mask of the subnetwork that the weights hold now."""
        assert self._mask is not None, "start or restore first"
        if self._view is not None:
            return self._view
        if not self._moved:
            return self._mask
        return magnitude_mask(self._weights, self.sparsity, self.granularity)

    def checksum(self) -> int:
        """Return a number, in [0, 2³²), that differs where the masks of two workers differ."""
        total = 0
        for data in self.mask.packed.values():
            total = zlib.crc32(data.cpu().numpy(), total)
        return total

    @torch.no_grad()
    def enter_view(self) -> None:
        """Let the weights hold m⊙θ; what that hides is kept aside (the shadow)."""
        if not self.started or self._view is not None:
            return
        self._view = self.view_mask()
        if self._moved:
            self._shadow = {
                name: weight.detach()[~self._view[name]] for name, weight in self._weights.items()
            }
            self._prune(self._view)

    @torch.no_grad()
    def leave_view(self) -> None:
        """Let the weights hold θ again, bit by bit."""
        if self._view is None:
            return
        for name, values in self._shadow.items():
            self._weights[name][~self._view[name]] = values
        if self._shadow:
            self._update_copies()
        self._view, self._shadow = None, {}

    def state_dict(self) -> dict[str, Any]:
        """Enter the view and return what `restore` needs: plain values and CPU tensors.

        Raises:
            RuntimeError: called before `start` or `restore`.
        """
        if not self.started:
            raise RuntimeError("a Pruner without weights has no state")
        self.enter_view()
        masks = {"first": self._first, "last": self._mask}
        if self._view is not self._mask:
            masks["view"] = self._view
        return {
            "version": VERSION,
            "settings": dict(self.settings),
            "shapes": {name: list(shape) for name, shape in self._mask.shapes.items()},
            "masks": {
                key: {name: data.cpu() for name, data in mask.packed.items()}
                for key, mask in masks.items()
            },
            "shadow": {name: values.cpu() for name, values in self._shadow.items()},
            "moved": self._moved,
            "epochs": self._epochs,
            "events": self.events,
            "sparsity": self.sparsity,
            "threshold": self.threshold,
            "revived": self.revived,
            "mask_iou": self.mask_iou,
        }

    def check_settings(self, state: Mapping[str, Any]) -> None:
        """Raise UserError where a `state_dict` is of another version or of other settings."""
        if state.get("version") != VERSION:
            raise UserError(
                f"this checkpoint's pruning state has version {state.get('version')}, this program "
                f"reads version {VERSION}; start a new run folder"
            )
        for key in sorted(set(self.settings) | set(state["settings"])):
            old, new = state["settings"].get(key), self.settings.get(key)
            if old != new:
                raise UserError(
                    f"{key} was {old} when this run began and is now {new}; put the old value back "
                    "or start in another folder (hydra.run.dir=… or checkpoint.save_dir=…)"
                )

    def restore(
        self,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Any],
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Go on from a `state_dict`; the weights hold m⊙θ and get θ back.

        Args:
            weights: name → tensor, loaded from the checkpoint that the state comes from.
            state: what `state_dict` returned.
            copies: as for `start`.

        Raises:
            UserError: another version, other settings (named) or another model.
        """
        self.check_settings(state)
        shapes = {name: tuple(shape) for name, shape in state["shapes"].items()}
        if shapes != {name: tuple(weight.shape) for name, weight in weights.items()}:
            raise UserError(
                "this checkpoint's pruning state is of another model or scope; "
                "start in another folder (hydra.run.dir=…)"
            )
        masks = {
            key: Mask.from_bits(packed, shapes).to(weights)
            for key, packed in state["masks"].items()
        }
        self._weights = {name: weights[name] for name in masks["last"]}
        self._copies = dict(copies or {})
        self._first, self._mask = masks["first"], masks["last"]
        self._moved = state["moved"]
        self._epochs, self.events = state["epochs"], state["events"]
        self.sparsity, self.threshold = state["sparsity"], state["threshold"]
        self.revived, self.mask_iou = state["revived"], state["mask_iou"]
        self._view = masks.get("view", self._mask)
        self._shadow = {
            name: values.to(weights[name].device) for name, values in state["shadow"].items()
        }
        self.leave_view()

    @torch.no_grad()
    def _event(self, update: int) -> None:
        before, sparsity_before = self.mask, self.sparsity
        self.sparsity = self.schedule.at(update)
        hint = self.threshold if self.sparsity == sparsity_before else 0.0
        event = prune_(self._weights, self.sparsity, self.granularity, before, self._first, hint)
        self._mask, self.threshold = event.mask, event.threshold
        self._update_copies()
        pruned = before.numel - before.kept
        self.revived = (event.mask.kept - event.kept_of_previous) / pruned if pruned else 0.0
        either = event.mask.kept + self._first.kept - event.kept_of_first
        self.mask_iou = event.kept_of_first / either if either else 1.0
        self.events += 1
        self._moved = False

    @torch.no_grad()
    def _prune(self, mask: Mask) -> None:
        mask.zero_(self._weights)
        self._update_copies()

    @torch.no_grad()
    def _update_copies(self) -> None:
        for name, copy in self._copies.items():
            copy.copy_(self._weights[name])
