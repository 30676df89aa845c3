"""Trainings in which a subnetwork would be wrong, refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    from transformers import TrainingArguments


def check_training(args: TrainingArguments, model: nn.Module) -> None:
    """Refuse what cannot be right.

    Args:
        args: of the Trainer.
        model: as the Trainer was given it.

    Raises:
        UserError: weights that are sharded, quantised, frozen below adapters, averaged, compiled
            or replicated by threads.
    """
    for reason, refused in _reasons(args, model):
        if refused:
            raise UserError(f"PruningCallback: {reason}")


def _reasons(args: TrainingArguments, model: Any) -> list[tuple[str, bool]]:
    distributed = _distributed_type()
    return [
        (
            "the weights are sharded over workers (FSDP), and a global threshold needs them whole; "
            "train with plain data parallelism (torchrun, accelerate launch)",
            bool(args.fsdp) or "FSDP" in distributed,
        ),
        (
            "DeepSpeed keeps the weights and their masters to itself; train with plain data "
            "parallelism (torchrun, accelerate launch)",
            bool(args.deepspeed) or distributed in ("DEEPSPEED", "MEGATRON_LM"),
        ),
        (
            "nn.DataParallel copies the weights before each forward pass, out of reach; start one "
            "process for each GPU (torchrun, accelerate launch), or set CUDA_VISIBLE_DEVICES",
            args.n_gpu > 1,
        ),
        (
            "the model's own weights are frozen below PEFT adapters; merge the adapters "
            "(merge_and_unload) and fine-tune all weights",
            hasattr(model, "peft_config") or bool(getattr(model, "_hf_peft_config_loaded", False)),
        ),
        (
            "the model is quantised, and magnitudes of packed integers mean nothing; load it in "
            "fp32 or bf16",
            bool(getattr(model, "is_quantized", False)),
        ),
        (
            "a schedule-free optimizer trains other weights than it evaluates; use another optim",
            str(getattr(args.optim, "value", args.optim)).startswith("schedule_free"),
        ),
        (
            "torch.compile does not follow the hooks that show the subnetwork; set "
            "torch_compile=False",
            bool(args.torch_compile) or hasattr(model, "_orig_mod"),
        ),
        (
            "part of the model has no storage (it is on the meta device or offloaded); load it "
            "whole",
            any(parameter.is_meta for parameter in model.parameters()),
        ),
    ]


def _distributed_type() -> str:
    """The name of accelerate's way of distributing; empty where it is not known."""
    from accelerate.state import AcceleratorState

    if not AcceleratorState._shared_state:
        return ""
    kind = AcceleratorState().distributed_type
    return str(getattr(kind, "value", kind))
