"""Optimizer `parp`: any fairseq optimizer, carrying the Pruner's state in its own."""

# No `from __future__ import annotations`: fairseq reads the dataclass's types as they stand.
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, _build_optimizer, register_optimizer

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
    """Hands every call on to the base optimizer.

    The Trainer saves and restores the optimizer's state and no other state that a plugin could
    own, so the Pruner's travels inside it, under the key "parp". So do, in half precision, the fp32
    masters, which fairseq would make anew from the rounded weights when a run is resumed.

    Attributes:
        steps: updates made so far in this process; fairseq's loss scalers skip some.
    """

    def __init__(self, cfg: ParpOptimizerConfig, params: list[torch.nn.Parameter]) -> None:
        """Build the base optimizer over `params`.

        Args:
            cfg: options; `cfg.base` is the base optimizer's own config.
            params: parameters to optimise, as the Trainer gives them.
        """
        super().__init__(cfg)
        self.base: FairseqOptimizer = _build_optimizer(cfg.base, params)
        # fairseq's AMPOptimizer goes past this class to the torch optimizer for its state.
        self.base.optimizer.register_state_dict_post_hook(lambda _, state: self._add_own(state))
        self.base.optimizer.register_load_state_dict_pre_hook(
            lambda _, state: self._take_own(state)
        )
        self.steps = 0
        self.pruner: Optional[Pruner] = None
        self._masters: list[torch.Tensor] = []
        self._loaded: Optional[dict[str, Any]] = None

    def attach(self, pruner: Pruner, masters: bool = False) -> Optional[dict[str, Any]]:
        """Carry `pruner`'s state from now on; return the state that a checkpoint brought.

        Args:
            pruner: the run's Pruner.
            masters: the parameters here are fp32 masters of a half-precision model; save them,
                and take over those that the checkpoint brought.

        Raises:
            UserError: the checkpoint was written in another precision.
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

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The torch optimizer inside the base."""
        return self.base.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.base.optimizer = optimizer

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """Options that override those stored in a checkpoint."""
        return self.base.optimizer_config

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The base optimizer's parameter groups."""
        return self.base.param_groups

    def __getstate__(self) -> dict[str, Any]:
        return self.base.__getstate__()

    def get_lr(self) -> float:
        """Return the learning rate of the first group."""
        return self.base.get_lr()

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of every group."""
        self.base.set_lr(lr)

    def backward(self, loss: torch.Tensor) -> None:
        """Compute gradients."""
        self.base.backward(loss)

    def all_reduce_grads(self, module: torch.nn.Module) -> None:
        """All-reduce gradients over workers."""
        self.base.all_reduce_grads(module)

    def multiply_grads(self, c: Union[float, torch.Tensor]) -> None:
        """Multiply gradients by a constant."""
        self.base.multiply_grads(c)

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Any = None) -> torch.Tensor:
        """Clip the gradients' norm and return it."""
        return self.base.clip_grad_norm(max_norm, aggregate_norm_fn)

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """Let the base optimizer update the weights."""
        self.base.step(closure, scale=scale, groups=groups)
        self.steps += 1

    def zero_grad(self) -> None:
        """Clear gradients."""
        self.base.zero_grad()

    @property
    def supports_memory_efficient_fp16(self) -> bool:
        """Whether the base can update half-precision weights in place."""
        return self.base.supports_memory_efficient_fp16

    @property
    def supports_step_with_scale(self) -> bool:
        """Whether the base can undo the loss scale in its step."""
        return self.base.supports_step_with_scale

    @property
    def supports_groups(self) -> bool:
        """Whether the base can update some groups alone."""
        return self.base.supports_groups

    @property
    def supports_flat_params(self) -> bool:
        """Whether the base can work on one flat vector of parameters."""
        return self.base.supports_flat_params

    def average_params(self) -> None:
        """Average parameters, where the base does."""
        self.base.average_params()

    def broadcast_global_state_dict(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Share a global state with all ranks, where the base does."""
        return self.base.broadcast_global_state_dict(state_dict)
