"""Trainings in which a subnetwork would be wrong, refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainingArguments

_PARALLEL = "train with plain data parallelism (torchrun, accelerate launch)"


def check_training(args: TrainingArguments, model: nn.Module) -> None:
    """Refuse what cannot be right, given the Trainer's arguments and its model: a UserError.

    Weights that are sharded, quantised, frozen below adapters, averaged, compiled or replicated by
    threads.
    """
    for refused, reason in _reasons(args, model):
        if refused:
            raise UserError(f"PruningCallback: {reason}")


def _reasons(args: TrainingArguments, model: Any) -> list[tuple[bool, str]]:
    way = _distributed_type()
    return [
        (
            bool(args.fsdp) or "FSDP" in way,
            "a global threshold needs whole weights, and FSDP shards them; " + _PARALLEL,
        ),
        (
            bool(args.deepspeed) or way in ("DEEPSPEED", "MEGATRON_LM"),
            "DeepSpeed keeps the weights and their masters to itself; " + _PARALLEL,
        ),
        (
            args.n_gpu > 1,
            "nn.DataParallel is not tested; start one process for each GPU (torchrun, accelerate "
            "launch), or set CUDA_VISIBLE_DEVICES",
        ),
        (
            hasattr(model, "peft_config") or bool(getattr(model, "_hf_peft_config_loaded", False)),
            "the model's own weights are frozen below PEFT adapters; merge the adapters "
            "(merge_and_unload) and fine-tune all weights",
        ),
        (
            bool(getattr(model, "is_quantized", False)),
            "the model is quantised, and magnitudes of packed integers mean nothing; load it in "
            "fp32 or bf16",
        ),
        (
            str(getattr(args.optim, "value", args.optim)).startswith("schedule_free"),
            "a schedule-free optimizer trains other weights than it evaluates; use another optim",
        ),
        (
            hasattr(model, "_orig_mod"),
            "the model is compiled already; give it as it was, with torch_compile=True",
        ),
        (
            any(parameter.is_meta for parameter in model.parameters()),
            "part of the model has no storage (it is on the meta device or offloaded); load it "
            "whole",
        ),
    ]


def _distributed_type() -> str:
    """The name of accelerate's way of distributing; empty where it is not known."""
    from accelerate.state import AcceleratorState

    if not AcceleratorState._shared_state:
        return ""
    kind = AcceleratorState().distributed_type
    return str(getattr(kind, "value", kind))
