"""Trainings in which a subnetwork would be wrong, refused with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    from transformers import TrainingArguments

_PARALLEL = "train with plain data parallelism (torchrun, accelerate launch)"


def check_training(args: TrainingArguments, model: Any) -> None:
    """Refuse what cannot be right, given the Trainer's arguments and its model: a UserError.

    Weights that are sharded, quantised, frozen below adapters, averaged, compiled or replicated by
    threads.
    """
    way, optim = _distributed_type(), str(getattr(args.optim, "value", args.optim))
    adapted = hasattr(model, "peft_config") or getattr(model, "_hf_peft_config_loaded", False)
    for refused, reason in (
        (
            args.fsdp or "FSDP" in way,
            f"a global threshold needs whole weights, and FSDP shards them; {_PARALLEL}",
        ),
        (
            args.deepspeed or way in ("DEEPSPEED", "MEGATRON_LM"),
            f"DeepSpeed keeps the weights and their masters to itself; {_PARALLEL}",
        ),
        (
            args.n_gpu > 1,
            f"nn.DataParallel is not tested; {_PARALLEL}, or set CUDA_VISIBLE_DEVICES",
        ),
        (
            adapted,
            "the model's own weights are frozen below PEFT adapters; merge the adapters "
            "(merge_and_unload) and fine-tune all weights",
        ),
        (
            getattr(model, "is_quantized", False),
            "the model is quantised, and magnitudes of packed integers mean nothing; load it in "
            "fp32 or bf16",
        ),
        (
            optim.startswith("schedule_free"),
            "a schedule-free optimizer trains other weights than it evaluates; use another optim",
        ),
        (
            hasattr(model, "_orig_mod"),
            "the model is compiled already; give it as it was, with torch_compile=True",
        ),
        (
            any(parameter.is_meta for parameter in model.parameters()),
            "part of the model has no storage (meta device, offloaded); load it whole",
        ),
    ):
        if refused:
            raise UserError(f"PruningCallback: {reason}")


def _distributed_type() -> str:
    """The name of accelerate's way of distributing; empty where it is not known."""
    from accelerate.state import AcceleratorState

    if not AcceleratorState._shared_state:
        return ""
    kind = AcceleratorState().distributed_type
    return str(getattr(kind, "value", kind))
