"""`PruningCallback`: prune, adjust and re-prune inside anybody's transformers `Trainer`."""

from __future__ import annotations

import copy
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import CallbackHandler

from parp_fairseq.checkpoints.initial_masks import InitialMask
from parp_fairseq.checkpoints.prunable_weights import weights_named
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike
from parp_fairseq.hf.folders import check_reloaded, read_folder, state_of, write_state
from parp_fairseq.hf.masked_model import MaskedModel
from parp_fairseq.hf.parameters import prunable_parameters
from parp_fairseq.hf.unsupported import check_training
from parp_fairseq.pruning import Mask, Pruner, PruningSpec
from parp_fairseq.pruning.pruner import saved_mask
from parp_fairseq.pruning.reach import look_ahead, motion_of

logger = logging.getLogger(__name__)

# Where a model keeps its owner.
_OWNER = "_parp_pruned_by"


class _Owner(NamedTuple):
    """The callback that prunes a model, and the training in which; a copy of it has none."""

    callback: PruningCallback | None = None
    training: TrainerState | None = None

    def __reduce__(self) -> Any:
        return _Owner, ()


class PruningCallback(TrainerCallback):
    """Finds and fine-tunes a subnetwork m⊙θ while a Trainer trains θ (paper, algorithm 1).

    The model holds θ inside of an update, from on_step_begin to the optimizer's step, and m⊙θ
    whenever it is evaluated, copied or saved outside of one. A checkpoint also holds `parp.pt`,
    from which `resume_from_checkpoint` resumes bit by bit (on a CPU). After training the model
    holds m⊙θ, and nothing of the callback is left in it.

    Where the sparsity ramps up (`parp_p`, `gmp`), `load_best_model_at_end` chooses among
    checkpoints at the target sparsity.

    Attributes:
        spec: how to prune.
        pruner: the engine; None before training and for method "dense".
        mask: that of the subnetwork that training ended with; None before and for "dense".
    """

    def __init__(
        self,
        method: str = "parp",
        sparsity: float = 0.5,
        *,
        resume_from: PathLike | None = None,
        **options: Any,
    ) -> None:
        """Choose how to prune; the model comes with the Trainer.

        Options are those of `PruningSpec`, such as `interval` (prune again every 25 updates).
        `include` is by default the preset of the model's type; `mask` may be the folder of a model,
        fine-tuned ("omp") or pruned ("mask"). `resume_from` is the checkpoint folder that training
        is resumed from, where it is not in the Trainer's `output_dir`. Raises UserError: an unknown
        method, a value out of range, or options that do not go together.
        """
        self.spec = PruningSpec(method, sparsity, **{"include": (), **options})
        with options_named(""):
            self.spec.check()
        self.pruner: Pruner | None = None
        self.mask: Mask | None = None
        self._resume_from = resume_from
        self._weights: dict[str, Tensor] = {}
        self._model: MaskedModel | None = None
        self._ramping = False

    def on_init_end(self, args, state, control, model=None, **kwargs):
        """Refuse what cannot be right as soon as the Trainer is made."""
        if model is not None:
            self._take(model, state)
            self._prunable(args, model)

    def on_train_begin(
        self, args, state, control, model=None, optimizer=None, lr_scheduler=None, **kwargs
    ):
        """Take the initial mask, or resume from a checkpoint; θ becomes m0⊙θ."""
        self._take(model, state)
        _call_first(self)
        with options_named(""):
            pruner = self.spec.build(state.max_steps, length="max_steps")
            if pruner is None:
                return
            parameters = dict(model.named_parameters())
            self._weights = {n: parameters[n].detach() for n in self._prunable(args, model)}
            if state.global_step:
                pruner.restore(self._weights, self._saved_state(args, state, model))
            else:
                self._start(pruner, model)
        self.pruner, self.mask = pruner, None
        self._ramping = not pruner.at_target
        self._model = MaskedModel(model, pruner, self._weights, state.global_step)
        self._check_workers()
        pruner.motion = motion_of(optimizer)
        rates = _learning_rates(lr_scheduler, state.max_steps - state.global_step)
        if rates and state.is_world_process_zero:
            loader = kwargs.get("train_dataloader")
            outlook = look_ahead(pruner, rates, _epoch_ends(args, state, loader))
            if outlook is not None:
                logger.log(
                    logging.WARNING if outlook.regrows is False else logging.INFO, outlook.line
                )

    def on_step_begin(self, args, state, control, **kwargs):
        """Let the weights hold θ, and prune again where whole epochs have passed."""
        if self._model is not None:
            self._model.begin_update(int(state.epoch or 0.0))

    def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        """Zero what is pruned, or prune again where it is time; the weights hold m⊙θ."""
        self._end_update(state, state.global_step + 1, optimizer)

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        """The same, for a Trainer that does not announce the optimizer's step."""
        self._end_update(state, state.global_step, optimizer)

    def on_prediction_step(self, args, state, control, **kwargs):
        """Refuse to score what is not the subnetwork."""
        if self._model is not None:
            self._model.check_scored()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Add the meters to what training logs."""
        if self.pruner is None or not logs or "loss" not in logs:
            return
        names = ("sparsity", "mask_iou", "revived", "threshold", "reach")
        values = {name: getattr(self.pruner, name) for name in names}
        meters = {name: value for name, value in values.items() if math.isfinite(value)}
        logs.update(meters)
        if state.log_history:
            state.log_history[-1].update(meters)

    def on_save(self, args, state, control, **kwargs):
        """Write the Pruner's state next to the subnetwork."""
        if self.pruner is None:
            return
        if self._model is not None:
            self._model.check_unchanged()
        self._check_workers()
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if args.should_save and folder.is_dir():
            subnetwork = {name: self.pruner.masked(name, w) for name, w in self._weights.items()}
            write_state(folder, self.pruner.state_dict(), subnetwork)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        """Leave m⊙θ in the model, and nothing else."""
        if model is not None:
            model.__dict__.pop(_OWNER, None)
        if self.pruner is None or self._model is None:
            return
        best = state.best_model_checkpoint if args.load_best_model_at_end else None
        if best is not None:
            # The Trainer has loaded this one.
            saved = saved_mask(state_of([best], self._weights, 0))
            self.mask = saved.to(self._weights)
        else:
            self._check_workers()
            self.mask = self.pruner.current_mask()
        if self._ramping:
            logger.warning(
                "training ended at update %d, before the sparsity reached %g: the model is %.1f%% "
                "sparse",
                state.global_step,
                self.spec.sparsity,
                100 * self.mask.sparsity,
            )
        with torch.no_grad():
            self.mask.zero_(self._weights)
        self._release()

    def _take(self, model: nn.Module, state: TrainerState) -> None:
        """Be the one that prunes this model; end what an interrupted training left."""
        owner, training = getattr(model, _OWNER, _Owner())
        if owner is not None and owner is not self and training is state:
            raise UserError(
                "this Trainer has two PruningCallbacks; one model can be pruned by one: remove one "
                "(trainer.remove_callback)"
            )
        if owner is not None and owner.pruner is not None and owner._model is not None:
            owner.pruner.release()
            owner._release()
        setattr(model, _OWNER, _Owner(self, state))

    def _release(self) -> None:
        if self._model is not None:
            self._model.remove()
            self._model = None

    def _end_update(self, state: TrainerState, updates: int, optimizer: Any) -> None:
        if self.pruner is None or self._model is None or self._model.updates == updates:
            return
        if not self._model.updating:
            raise UserError(
                "this Trainer updates the weights without on_step_begin, so that the mask would "
                "stay on them; use one whose training loop calls it"
            )
        events = self.pruner.events
        self._model.end_update(updates, max(group["lr"] for group in optimizer.param_groups))
        if events == 0 and self.pruner.events:
            self._check_workers()
        if self._ramping and self.pruner.at_target:
            # What was best on the way is no model of the sparsity that was asked for.
            self._ramping = False
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def _prunable(self, args: TrainingArguments, model: nn.Module) -> list[str]:
        """The names of what may be pruned; refuses a training in which that cannot be right."""
        if self.spec.behaviour.initial is None:
            return []
        check_training(args, model)
        spec = self.spec
        names = prunable_parameters(model, spec.include, spec.exclude, spec.biases)
        if args.load_best_model_at_end:
            check_reloaded(model, names)
        return names

    def _start(self, pruner: Pruner, model: nn.Module) -> None:
        initial = InitialMask(
            self.spec,
            pruner.schedule.at(0),
            self._weights,
            random_weights=lambda: _random_weights(model, self._weights, self.spec.seed),
            read_folder=lambda folder: read_folder(folder, model, self._weights),
        )
        pruner.start(self._weights, *initial.make(self._weights))

    def _saved_state(
        self, args: TrainingArguments, state: TrainerState, model: nn.Module
    ) -> dict[str, Any]:
        check_reloaded(model, self._weights)
        named = [args.resume_from_checkpoint, self._resume_from]
        folders = [
            *(folder for folder in named if isinstance(folder, (str, Path))),
            Path(args.output_dir, f"checkpoint-{state.global_step}"),
        ]
        return state_of(folders, self._weights, state.global_step)

    def _check_workers(self) -> None:
        """Stop, on every worker, where they have come to different masks."""
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return
        assert self.pruner is not None
        checksums: list[int] = [0] * dist.get_world_size()
        dist.all_gather_object(checksums, self.pruner.checksum())
        if len(set(checksums)) > 1:
            raise UserError(
                f"the workers' masks differ (checksums {checksums}), so their weights do; is a "
                "part of the model trained without exchanging gradients?"
            )


def _learning_rates(scheduler: Any, updates: int) -> list[float]:
    """Those of the updates to come, where they depend on nothing else, as transformers' do."""
    if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        return []
    done, rates = scheduler.last_epoch, [*zip(scheduler.base_lrs, scheduler.lr_lambdas)]
    return [max(base * f(done + update) for base, f in rates) for update in range(updates)]


def _epoch_ends(args: TrainingArguments, state: TrainerState, loader: Any) -> list[int]:
    """Updates from now to each epoch's end; empty where epochs have no known length."""
    try:
        length = math.ceil(len(loader) / args.gradient_accumulation_steps)
    except TypeError:
        return []
    first = length - state.global_step % length
    return [*range(first, state.max_steps - state.global_step + length, length)]


def _call_first(callback: TrainerCallback) -> None:
    """Let the running Trainer call this callback before all others.

    They then see what it has made of an update, and log its meters. The list of callbacks is given
    to none of them, but the one who calls us has it.
    """
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, CallbackHandler) and callback in caller.callbacks:
            caller.callbacks.remove(callback)
            caller.callbacks.insert(0, callback)
            return
        frame = frame.f_back


def _random_weights(model: Any, weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The weights that the same network has before any training; other random numbers stay."""
    name = type(model).__name__
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = type(model)(copy.deepcopy(model.config))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name} cannot be built for random_init ({reason[:200]}); use initial='random'"
        ) from error
    return weights_named(dict(fresh.named_parameters()), weights, name, "use initial='random'")
