"""Optimizer `parp`, which carries the Pruner's state in its own; a run's learning rates."""

# No `from __future__ import annotations`: fairseq reads the dataclass's types themselves.
import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, _build_optimizer, register_optimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from omegaconf import DictConfig
from torch import Tensor

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Pruner

STATE_KEY = "parp"
MASTERS_KEY = "masters"


@dataclass
class ParpOptimizerConfig(FairseqDataclass):
    """Options of the optimizer `parp`."""

    base: Any = field(
        default=None,
        metadata={"help": "the optimizer that updates the weights: its _name and its options"},
    )


@register_optimizer("parp", dataclass=ParpOptimizerConfig)
class ParpOptimizer(FairseqOptimizer):
    """Passes every call on to the base optimizer (see the end of this class).

    The Trainer saves and restores the optimizer's state and no other state that a plugin could
    own, so the Pruner's travels inside it, under the key "parp". So do, in half precision, the fp32
    masters, which fairseq would make again from the rounded weights when a run is resumed.

    Attributes:
        steps: updates made so far in this process; fairseq's loss scalers skip some.
    """

    def __init__(self, cfg: ParpOptimizerConfig, params: list[torch.nn.Parameter]) -> None:
        """Build the base optimizer over `params`, as the Trainer gives them."""
        super().__init__(cfg)
        self.base: FairseqOptimizer = _build_optimizer(cfg.base, params)
        # fairseq's AMPOptimizer goes past this class to the torch optimizer for its state.
        self.base.optimizer.register_state_dict_post_hook(lambda _, state: self._add_own(state))
        self.base.optimizer.register_load_state_dict_pre_hook(
            lambda _, state: self._take_own(state)
        )
        self.steps = 0
        self.pruner: Optional[Pruner] = None
        self._masters: list[Tensor] = []
        self._loaded: Optional[dict[str, Any]] = None

    def attach(self, pruner: Pruner, masters: bool = False) -> Optional[dict[str, Any]]:
        """Carry `pruner`'s state from now on; return the state that a checkpoint brought.

        With `masters` the parameters here are fp32 masters of a half-precision model, which are
        saved, and restored from the checkpoint. UserError where it was written in another
        precision.
        """
        self.pruner = pruner
        loaded, self._loaded = self._loaded, None
        if masters:
            self._masters = [p.data for group in self.param_groups for p in group["params"]]
        if loaded is not None:
            saved = loaded.get(MASTERS_KEY, [])
            if [tensor.shape for tensor in saved] != [tensor.shape for tensor in self._masters]:
                raise UserError(
                    "this run was begun in another precision; put common.fp16, common.bf16 and "
                    "common.fp16_no_flatten_grads back or start in another folder (hydra.run.dir=…)"
                )
            for master, tensor in zip(self._masters, saved):
                master.copy_(tensor)
        return loaded

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state and, under "parp", the Pruner's."""
        return self._add_own(dict(self.base.state_dict()))

    def load_state_dict(
        self, state_dict: dict[str, Any], optimizer_overrides: Optional[dict[str, Any]] = None
    ) -> None:
        """Load what `state_dict` returned; the Pruner's part waits for `attach`."""
        self.base.load_state_dict(self._take_own(state_dict), optimizer_overrides)

    def _add_own(self, state: dict[str, Any]) -> dict[str, Any]:
        if STATE_KEY in state:
            return state
        if self.pruner is not None and self.pruner.started:
            state[STATE_KEY] = {**self.pruner.state_dict(), MASTERS_KEY: list(self._masters)}
        elif self._loaded is not None:
            state[STATE_KEY] = self._loaded
        return state

    def _take_own(self, state: dict[str, Any]) -> dict[str, Any]:
        rest = dict(state)
        self._loaded = rest.pop(STATE_KEY, self._loaded)
        return rest

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """Let the base optimizer update the weights."""
        self.base.step(closure, scale=scale, groups=groups)
        self.steps += 1

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The torch optimizer inside the base."""
        return self.base.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.base.optimizer = optimizer


def _of_base(name: str) -> Any:
    def call(self: ParpOptimizer, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.base, name)(*args, **kwargs)

    return call


# All else that fairseq's FairseqOptimizer has: a base may define any of it in its own way.
for _name, _attribute in vars(FairseqOptimizer).items():
    if _name in vars(ParpOptimizer) or (_name[0] == "_" and _name != "__getstate__"):
        continue
    if isinstance(_attribute, property):
        setattr(ParpOptimizer, _name, property(lambda self, name=_name: getattr(self.base, name)))
    elif callable(_attribute):
        setattr(ParpOptimizer, _name, _of_base(_name))


class Weights(NamedTuple):
    """Tensors by name: what the optimizer updates, and the model's own where those differ."""

    updated: dict[str, Tensor]
    copies: dict[str, Tensor]


def parp_optimizer(optimizer: FairseqOptimizer) -> ParpOptimizer:
    """Return the optimizer `parp` inside fairseq's half-precision and AMP wrappers.

    Raises UserError: there is none.
    """
    inner = optimizer
    while not isinstance(inner, ParpOptimizer):
        inside = getattr(inner, "fp32_optimizer", None) or getattr(inner, "wrapped_optimizer", None)
        if inside is None:
            raise UserError(
                f"the optimizer is {type(inner).__name__}, which does not hold the optimizer parp; "
                "set optimizer._name=parp and leave bmuf, zero_sharding and cpu_offload off"
            )
        inner = inside
    return inner


def optimized_weights(
    optimizer: FairseqOptimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> Weights:
    """Find what `optimizer`, as the Trainer built it, updates for the named parameters.

    fp16 and bf16 keep fp32 masters as well as the model: one flat vector a device, or a list
    (`common.fp16_no_flatten_grads`, bf16). fp32, AMP and the memory-efficient variants update the
    parameters themselves. UserError where a parameter is not optimised.
    """
    own = {name: parameter.data for name, parameter in parameters.items()}
    if not hasattr(optimizer, "fp16_params"):
        return Weights(own, {})
    masters: dict[int, Tensor] = {}
    if optimizer.has_flat_params:
        flats = optimizer.fp32_params
        flats = flats if isinstance(flats, dict) else {None: flats}
        ends = dict.fromkeys(flats, 0)
        for parameter in optimizer.fp16_params:
            device = parameter.device.index if len(flats) > 1 else next(iter(flats))
            start = ends[device]
            ends[device] = start + parameter.numel()
            flat = flats[device].data
            masters[id(parameter)] = flat[start : ends[device]].view(parameter.shape)
    else:
        for parameter, master in zip(optimizer.fp16_params, optimizer.fp32_params):
            masters[id(parameter)] = master.data
    missing = sorted(name for name, p in parameters.items() if id(p) not in masters)
    if missing:
        raise UserError(f"{missing[0]} is prunable but not trained; use task.prune.exclude")
    return Weights({name: masters[id(p)] for name, p in parameters.items()}, own)


class _Rate(FairseqOptimizer):
    """Holds a learning rate for a scheduler, and updates nothing."""

    def __init__(self) -> None:
        super().__init__(None)
        self._optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.0)


def learning_rates(run: DictConfig, batches: int = 0) -> tuple[list[float], list[int]]:
    """Let fairseq's scheduler go through the run, as if no validation changed anything.

    `batches` are those of an epoch on each worker (0: not known). Returns the learning rate of
    every update, and after how many updates each epoch ends; nothing of what is not known.
    """
    optimizer = _Rate()
    scheduler = build_lr_scheduler(copy.deepcopy(run.lr_scheduler), optimizer)
    length = run.optimization.max_update or math.inf
    epochs = run.optimization.max_epoch or math.inf
    if length == math.inf and (epochs == math.inf or not batches):
        return [], []
    rates: list[float] = []
    ends: list[int] = []
    while len(rates) < length and len(ends) < epochs:
        # As `Trainer.begin_epoch`, `train_step` and `lr_step` do.
        scheduler.step_begin_epoch(len(ends) + 1)
        end = len(rates) + _updates(run, batches, len(ends)) if batches else length
        for update in range(len(rates), int(min(end, length))):
            scheduler.step_update(update)
            rates.append(float(optimizer.get_lr()))
        scheduler.step(len(ends) + 1)
        ends.append(len(rates))
    return rates, ends if batches else []


def _updates(run: DictConfig, batches: int, epochs_done: int) -> int:
    every = run.optimization.update_freq
    share = batches / every[min(epochs_done, len(every) - 1)]
    dropped = run.optimization.get("skip_remainder_batch")
    return max(1, math.floor(share) if dropped else math.ceil(share))
