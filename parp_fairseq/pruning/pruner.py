"""Prune, adjust, re-prune (paper, algorithm 1): the one place that knows when."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from parp_fairseq.kernels.cut import zero_unset
from parp_fairseq.pruning.arguments import PruningError, check_interval
from parp_fairseq.pruning.magnitude import magnitude_mask, nested, select_smallest, smallest_kept
from parp_fairseq.pruning.mask import Mask, kept_by_both
from parp_fairseq.pruning.reach import Motion
from parp_fairseq.pruning.schedule import SparsitySchedule, StagedSchedule
from parp_fairseq.pruning.weights import MaskedWeights

VERSION = 2
# Of a state: plain values, key → attribute.
_SAVED = {
    "moved": "_moved",
    "update": "_update",
    "epochs": "_epochs",
    "events": "events",
    "sparsity_of_event": "_sparsity",
    "threshold": "threshold",
    "revived": "revived",
    "mask_iou": "mask_iou",
    "reach": "reach",
    "kept_from": "kept_from",
    "rates": "_rates",
}


class Pruner:
    """Zeroes weights when it is time, and shows the subnetwork in between.

    Every `interval` updates or epochs, and at the last update, an *event* takes the magnitude mask
    of the present weights θ at the scheduled sparsity and sets what it prunes to zero. Between two
    events θ moves freely; the subnetwork is then m⊙θ with a *fresh* m: the magnitude mask of the
    present θ at the present scheduled sparsity. `subnetwork` shows m⊙θ for scoring and puts θ back,
    bit by bit; `masked` and `state_dict` give what is saved and do not change the weights.

    What a *static* mask prunes is zeroed after every update. Where the sparsity is constant it
    never changes (MPI, RP, OMP, mask transfer with regular fine-tuning); where the sparsity ramps
    up, events prune more (gradual magnitude pruning).

    In half precision the optimizer updates fp32 masters, from which it overwrites the model's own
    weights after every step. Then the masters are θ: they are ranked and zeroed, and the model's
    weights, the *copies*, follow.

    Call `start` or `restore` once, then `begin_update` before and `end_update` after each update.

    Attributes:
        motion: how far the optimizer moves a weight, for the meter `reach`; set by who knows it.
        reach: over the updates before the last event, see `Motion.relative`; below 1 `revived` is
            0. Not finite where it is not known.
        kept_from: no weight that the last event kept was smaller.
    """

    def __init__(
        self,
        schedule: SparsitySchedule | StagedSchedule,
        *,
        interval: int = 25,
        unit: str = "update",
        total_updates: int = 0,
        static: bool = False,
        granularity: str = "global",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up the when; the weights come with `start` or `restore`.

        Args:
            schedule: sparsity over updates; a constant one leaves a static mask as it is.
            interval: n of algorithm 1, at least 1; with 1 hardly a weight can regrow.
            unit: what `interval` counts, "update" or "epoch".
            total_updates: N; update N ends in an event. 0: unknown.
            static: zero what is pruned after every update.
            granularity: "global" or "tensor".
            settings: option → plain value; a run is restored only under the same ones.

        Raises PruningError: interval below 1 or an unknown unit.
        """
        check_interval(interval, unit)
        self.schedule = schedule
        self.interval = interval
        self.unit = unit
        self.total_updates = total_updates
        self.static = static
        self.granularity = granularity
        self.settings = dict(settings or {})
        self.threshold = 0.0
        self.revived = 0.0
        self.mask_iou = 1.0
        self.motion = Motion()
        self.reach = math.nan
        self.kept_from = 0.0
        self.events = 0
        self._epochs = 0
        self._weights = MaskedWeights({})
        self._initial: Mask | None = None
        self._mask: Mask | None = None
        self._sparsity = 0.0  # of the last event
        self._update = 0
        self._rates = 0.0  # the sum of the learning rates since the last event
        self._moved = False  # whether θ has been updated since the last event
        self._fresh: Mask | None = None  # of the present θ, where it is known

    @property
    def started(self) -> bool:
        """Whether there are weights and a mask."""
        return self._mask is not None

    @property
    def sparsity(self) -> float:
        """The sparsity of the subnetwork, in [0, 1]: that of the schedule, at present."""
        if self._unmasked:
            return self.schedule.at(self._update)
        return self._sparsity

    @property
    def at_target(self) -> bool:
        """Whether the present sparsity is the final one."""
        if not self.schedule.ramps:
            return True
        return self.started and self.sparsity >= self.schedule.final

    @property
    def mask_applied(self) -> bool:
        """Whether the weights hold m⊙θ at present."""
        return not self._unmasked or self._weights.applied is not None

    @property
    def _unmasked(self) -> bool:
        """Whether θ is something else than m⊙θ."""
        return self._moved and not self.static

    @property
    def names(self) -> list[str]:
        """Names of the weights that may be pruned, sorted; none before `start` or `restore`."""
        return list(self._weights.tensors)

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self._update

    @property
    def initial_mask(self) -> Mask:
        """The mask that the run began with."""
        assert self._initial is not None, "start or restore first"
        return self._initial

    @property
    def mask(self) -> Mask:
        """The mask of the last event."""
        assert self._mask is not None, "start or restore first"
        return self._mask

    def start(
        self,
        weights: Mapping[str, Tensor],
        mask: Mask,
        threshold: float = 0.0,
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Begin with the initial mask m0: θ becomes m0⊙θ (algorithm 1, lines 2 and 4).

        `weights` are what the optimizer updates, by name, changed in place from now on; `copies`
        the model's own tensors, where those are others (half precision). `threshold` is the largest
        magnitude that m0 prunes, for the meters.
        """
        self._weights = MaskedWeights({name: weights[name] for name in mask}, copies)
        self._initial = self._mask = mask
        self._sparsity = mask.sparsity if self._never_changes else self.schedule.at(0)
        self.threshold = threshold
        self._weights.zero_(mask)
        if not self.static:
            self.kept_from = smallest_kept(
                self._weights.tensors, mask, self.schedule.at(0), self.granularity
            )

    def begin_update(self, epochs_done: int, update: int) -> None:
        """Prune again where whole epochs have passed, after so many epochs and updates."""
        self.restore_weights()
        if self.unit == "epoch" and not self._never_changes:
            due = epochs_done // self.interval > self._epochs // self.interval
            self._epochs = epochs_done
            if due and self._moved:
                self._event(update)

    def end_update(self, update: int, learning_rate: float = math.nan) -> None:
        """React to update number `update`: zero what is pruned, or prune again when due.

        Its learning rate is for the meter `reach`.
        """
        self._update, self._moved, self._fresh = update, True, None
        self._rates += learning_rate
        if self.static:
            self._weights.zero_(self.mask)
        if self._never_changes:
            return
        due = self.unit == "update" and update % self.interval == 0
        if due or update == self.total_updates:
            self._event(update)

    def current_mask(self) -> Mask:
        """Return m: the mask of the present subnetwork m⊙θ."""
        if not self._unmasked:
            return self.mask
        if self._fresh is None:
            self._fresh = magnitude_mask(self._weights.tensors, self.sparsity, self.granularity)
        return self._fresh

    def checksum(self) -> int:
        """Return a number, in [0, 2³²), that differs where the masks of two workers differ."""
        total = 0
        for data in self.mask.packed.values():
            total = zlib.crc32(data.cpu().numpy().tobytes(), total)
        return total

    @contextlib.contextmanager
    def subnetwork(self) -> Iterator[Mask]:
        """Let the weights hold m⊙θ inside the block, and θ again after it; yields m.

        A block inside another changes nothing.
        """
        mask_applied = self.mask_applied
        self.apply_mask()
        try:
            yield self.current_mask()
        finally:
            if not mask_applied:
                self.restore_weights()

    def apply_mask(self) -> None:
        """Begin what `subnetwork` does, where begin and end are two calls."""
        if not self.mask_applied:
            self._weights.apply(self.current_mask())

    def restore_weights(self) -> None:
        """End what `apply_mask` began: the weights hold θ again, bit by bit."""
        self._weights.restore()

    def release(self) -> None:
        """Let the weights hold θ, whatever was begun."""
        self._weights.restore()

    @torch.no_grad()
    def masked(self, name: str, tensor: Tensor) -> Tensor:
        """Return m⊙`tensor` for a weight, or the model's copy of it, by its name in `start`.

        As a new tensor where it differs.
        """
        if name not in self._weights.tensors or self.mask_applied:
            return tensor
        saved = tensor.detach().clone()
        zero_unset([saved], [self.current_mask().packed[name]])
        return saved

    def state_dict(self) -> dict[str, Any]:
        """Return what `restore` needs besides m⊙θ: plain values and CPU tensors.

        Raises RuntimeError: called before `start` or `restore`.
        """
        if not self.started:
            raise RuntimeError("a Pruner without weights has no state")
        masks = {"first": self.initial_mask, "last": self.mask}
        shadow: dict[str, Tensor] = {}
        if self._unmasked:
            masks["view"] = self.current_mask()
            shadow = self._weights.pruned_values(masks["view"])
        packed = {
            key: {name: data.cpu() for name, data in mask.packed.items()}
            for key, mask in masks.items()
        }
        return {
            "version": VERSION,
            "settings": dict(self.settings),
            "shapes": {name: list(shape) for name, shape in self.mask.shapes.items()},
            "masks": packed,
            "shadow": {name: values.cpu() for name, values in shadow.items()},
            "sparsity": self.sparsity,
            **{key: getattr(self, attribute) for key, attribute in _SAVED.items()},
        }

    def check_settings(self, state: Mapping[str, Any]) -> None:
        """Raise PruningError where a `state_dict` is of another version or of other settings."""
        if state.get("version") != VERSION:
            raise PruningError(
                f"this checkpoint's pruning state has version {state.get('version')}, this program "
                f"reads version {VERSION}; start in a new folder"
            )
        for key in sorted(set(self.settings) & set(state["settings"])):
            old, new = state["settings"][key], self.settings[key]
            if old != new:
                raise PruningError(
                    f"{key} was {old} when this run began and is now {new}; put the old value back "
                    "or start in another folder"
                )

    def restore(
        self,
        weights: Mapping[str, Tensor],
        state: Mapping[str, Any],
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Resume from a `state_dict`; the weights, loaded with it, hold m⊙θ and get θ back.

        PruningError: another version, other settings (named) or another model.
        """
        self.check_settings(state)
        shapes = {name: tuple(shape) for name, shape in state["shapes"].items()}
        if shapes != {name: tuple(weight.shape) for name, weight in weights.items()}:
            raise PruningError(
                "this checkpoint's pruning state is of another model or scope; start in another "
                "folder"
            )
        masks = {
            key: Mask.from_bits(packed, shapes).to(weights)
            for key, packed in state["masks"].items()
        }
        self._weights = MaskedWeights({name: weights[name] for name in masks["last"]}, copies)
        self._initial, self._mask = masks["first"], masks["last"]
        for key, attribute in _SAVED.items():
            # Checkpoints of earlier versions lack those of the reach.
            setattr(self, attribute, state.get(key, getattr(self, attribute)))
        self._fresh = masks.get("view")
        if self._fresh is not None:
            self._weights.fill(self._fresh, state["shadow"])

    @torch.no_grad()
    def _event(self, update: int) -> None:
        before, initial, weights = self.mask, self.initial_mask, self._weights.tensors
        sparsity = self.schedule.at(update)
        hint = self.threshold if sparsity == self._sparsity else 0.0
        selection = select_smallest(weights, sparsity, self.granularity, hint)
        others = (before,) if initial is before else (before, initial)
        mask, shared = selection.cut(weights, *others, zero=True)
        self._weights.update_copies()
        kept, of_previous, of_initial = mask.kept, shared[0], shared[-1]
        if self.static and of_previous < kept:
            mask = nested(mask, before, weights, self.granularity)
            of_previous, of_initial = kept_by_both(mask, before), kept_by_both(mask, initial)
        self.reach = math.nan if self.static else self.motion.relative(self._rates, self.kept_from)
        self._rates = 0.0
        self._mask, self.threshold, self._sparsity = mask, selection.threshold, sparsity
        if not self.static:
            # What is pruned hardly moved since the last event: the threshold is far below.
            self.kept_from = smallest_kept(weights, mask, sparsity, self.granularity)
        pruned = before.numel - before.kept
        self.revived = (kept - of_previous) / pruned if pruned else 0.0
        either = kept + initial.kept - of_initial
        self.mask_iou = of_initial / either if either else 1.0
        self.events += 1
        self._moved, self._fresh = False, None

    @property
    def _never_changes(self) -> bool:
        """Whether the initial mask is the last one too."""
        return self.static and not self.schedule.ramps


def saved_mask(state: Mapping[str, Any]) -> Mask:
    """Return the mask m of the subnetwork m⊙θ that was saved with a `state_dict`."""
    masks = state["masks"]
    return Mask.from_bits(masks.get("view", masks["last"]), state["shapes"])
