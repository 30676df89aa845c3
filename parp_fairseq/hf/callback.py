"""`PruningCallback`: prune, adjust and re-prune inside anybody's transformers `Trainer`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike
from parp_fairseq.hf import sidecar
from parp_fairseq.hf.first import initial_mask
from parp_fairseq.hf.hooks import SubnetworkView
from parp_fairseq.hf.options import PruningOptions
from parp_fairseq.hf.scopes import prunable_parameters
from parp_fairseq.hf.unsupported import check_training
from parp_fairseq.hf.workers import check_same
from parp_fairseq.pruning import Mask, Pruner

logger = logging.getLogger(__name__)

# Where a model keeps the callback that prunes it, and the training in which.
_OWNER = "_parp_pruned_by"


class PruningCallback(TrainerCallback):
    """Finds and fine-tunes a subnetwork m⊙θ while a Trainer trains θ (paper, algorithm 1).

    What is evaluated, predicted and saved is m⊙θ; training goes on with θ. A checkpoint also holds
    `parp.pt`, from which `resume_from_checkpoint` goes on bit by bit (on a CPU). After training
    the model holds m⊙θ, and nothing of the callback is left in it.

    Where the sparsity climbs (`parp_p`, `gmp`), `load_best_model_at_end` chooses among checkpoints
    at the target sparsity.

    Attributes:
        options: how to prune.
        pruner: the engine; None before training and for method "dense".
        mask: that of the subnetwork that training ended with; None before and for "dense".
    """

    def __init__(
        self,
        method: str = "parp",
        sparsity: float = 0.5,
        *,
        interval: int = 1,
        interval_unit: str = "update",
        initial: str | None = None,
        initial_sparsity: float = 0.0,
        rise: float = 0.5,
        stages: Sequence[float] = (),
        schedule: str | None = None,
        granularity: str = "global",
        mask: PathLike | None = None,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        seed: int = 2337,
        resume_from: PathLike | None = None,
    ) -> None:
        """Choose how to prune; the model comes with the Trainer.

        Args:
            method: dense, rp, mpi, omp, mask, parp, parp_p or gmp.
            sparsity: share of the prunable entries that end as zero, in [0, 1].
            interval: n of algorithm 1: prune again every n units.
            interval_unit: "update" (optimizer step) or "epoch".
            initial: first mask of rp, parp, parp_p and gmp: "magnitude", "random", "random_init"
                (magnitudes of the same network with random weights) or a mask file.
            initial_sparsity: parp_p and gmp: the sparsity to begin with.
            rise: parp_p and gmp: the share of all updates over which the sparsity climbs.
            stages: parp_p and gmp: sparsities on the way, each reached and held for an equal share
                of all updates.
            schedule: parp_p and gmp: "linear" or "cubic" (default: linear; gmp: cubic).
            granularity: "global", or "tensor" for the same sparsity in every matrix.
            mask: method "mask": a mask file, or the folder of a pruned model; "omp": the folder of
                a fine-tuned model.
            include: patterns of parameter names, for a model that no preset knows.
            exclude: patterns of parameters to leave alone.
            seed: of random masks.
            resume_from: the checkpoint folder that training is resumed from, where it does not
                lie in the Trainer's `output_dir`.

        Raises:
            UserError: an unknown method, a value out of range, or options that do not go together.
        """
        self.options = PruningOptions(
            method=method,
            sparsity=sparsity,
            interval=interval,
            interval_unit=interval_unit,
            initial=initial,
            initial_sparsity=initial_sparsity,
            rise=rise,
            stages=tuple(stages),
            schedule=schedule,
            granularity=granularity,
            mask=mask,
            include=_patterns(include),
            exclude=_patterns(exclude),
            seed=seed,
        )
        self.options.check()
        self.pruner: Pruner | None = None
        self.mask: Mask | None = None
        self._resume_from = resume_from
        self._weights: dict[str, Tensor] = {}
        self._view: SubnetworkView | None = None
        self._climbing = False

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Refuse what cannot be right as soon as the Trainer is made."""
        if model is not None:
            self._take(model, state)
            self._check(args, model)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the first mask, or go on from a checkpoint; θ becomes m0⊙θ."""
        assert model is not None
        self._take(model, state)
        pruner = self.options.pruner(state.max_steps)
        if pruner is None:
            return
        self._check(args, model)
        parameters = dict(model.named_parameters())
        names = prunable_parameters(model, self.options.include, self.options.exclude)
        self._weights = {name: parameters[name].detach() for name in names}
        if state.global_step:
            self._go_on(pruner, args, state)
        else:
            self._begin(pruner, model)
        self.pruner, self.mask = pruner, None
        self._climbing = not pruner.at_target
        self._view = SubnetworkView(model, pruner, self._weights)
        self._check_workers()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the weights hold θ, and prune again where whole epochs have passed."""
        if self.pruner is not None and self._view is not None:
            self.pruner.begin_update(int(state.epoch or 0.0), state.global_step)
            self._view.note_update()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Zero what is held, or prune again where it is time."""
        if self.pruner is None or self._view is None:
            return
        events = self.pruner.events
        self.pruner.end_update(state.global_step)
        self._view.note_update()
        if events == 0 and self.pruner.events:
            self._check_workers()
        if self._climbing and self.pruner.at_target:
            # What was best on the way is no model of the sparsity that was asked for.
            self._climbing = False
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the meters to what training logs."""
        if self.pruner is None or not logs or "loss" not in logs:
            return
        meters = {
            "sparsity": self.pruner.sparsity,
            "mask_iou": self.pruner.mask_iou,
            "revived": self.pruner.revived,
            "threshold": self.pruner.threshold,
        }
        logs.update(meters)
        if state.log_history:
            state.log_history[-1].update(meters)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the Pruner's state beside the subnetwork."""
        if self.pruner is None:
            return
        self._check_workers()
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if args.should_save and folder.is_dir():
            sidecar.write_state(folder, self.pruner.state_dict(), self._subnetwork())

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Leave m⊙θ in the model, and nothing else."""
        if model is not None:
            model.__dict__.pop(_OWNER, None)
        if self.pruner is None or self._view is None:
            return
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        if best is not None:
            self.mask = self._mask_of(best)
        else:
            self._check_workers()
            self.mask = self.pruner.current_mask()
        if self._climbing:
            logger.warning(
                "training ended at update %d, before the sparsity had climbed to %g: the model is "
                "%.1f%% sparse",
                state.global_step,
                self.options.sparsity,
                100 * self.mask.sparsity,
            )
        with torch.no_grad():
            self.mask.zero_(self._weights)
        self._view.end()
        self._view = None

    def _take(self, model: nn.Module, state: TrainerState) -> None:
        """Be the one that prunes this model; let go of what an earlier training left."""
        owner, training = getattr(model, _OWNER, (None, None))
        if owner is not None and owner is not self and training is state:
            raise UserError(
                "this Trainer has two PruningCallbacks; one model can be pruned by one: take one "
                "out (trainer.remove_callback)"
            )
        if owner is not None:
            owner._let_go()
        # Not as an attribute of the Module: it would be looked for parameters in.
        object.__setattr__(model, _OWNER, (self, state))

    def _let_go(self) -> None:
        """End an interrupted training: the weights hold θ."""
        if self.pruner is not None and self._view is not None:
            self.pruner.restore_weights()
            self._view.end()
            self._view = None

    def _check(self, args: TrainingArguments, model: nn.Module) -> None:
        if self.options.how.first is not None:
            check_training(args, model)
            prunable_parameters(model, self.options.include, self.options.exclude)

    def _begin(self, pruner: Pruner, model: nn.Module) -> None:
        first, threshold = initial_mask(
            self.options.how,
            model,
            self._weights,
            pruner.schedule.at(0),
            initial=self.options.initial,
            mask=self.options.mask,
            granularity=self.options.granularity,
            seed=self.options.seed,
        )
        pruner.start(self._weights, first, threshold)

    def _go_on(self, pruner: Pruner, args: TrainingArguments, state: TrainerState) -> None:
        named = [args.resume_from_checkpoint, self._resume_from]
        folders = [
            *(folder for folder in named if isinstance(folder, (str, Path))),
            Path(args.output_dir, f"checkpoint-{state.global_step}"),
        ]
        with options_named(""):
            pruner.restore(
                self._weights, sidecar.state_of(folders, self._weights, state.global_step)
            )

    def _subnetwork(self) -> dict[str, Tensor]:
        assert self.pruner is not None
        return {name: self.pruner.masked(name, w) for name, w in self._weights.items()}

    def _mask_of(self, folder: str) -> Mask:
        """The mask of a checkpoint that the Trainer has loaded."""
        state = sidecar.state_of([folder], self._weights, 0)
        masks, shapes = state["masks"], state["shapes"]
        return Mask.from_bits(masks.get("view", masks["last"]), shapes).to(self._weights)

    def _check_workers(self) -> None:
        """Stop where workers have come to different masks."""
        if self.pruner is not None:
            check_same(self.pruner.checksum())


def _patterns(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
