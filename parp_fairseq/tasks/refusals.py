"""What a pruning run cannot do right yet, refused rather than done wrong."""

from __future__ import annotations

import torch
from fairseq.optim import OPTIMIZER_REGISTRY
from omegaconf import DictConfig

from parp_fairseq.errors import UserError
from parp_fairseq.pruning.methods import METHODS

# (key, value that is fine, why another is not)
_PLAIN = (
    ("common.tpu", False, "pruning on TPUs is not supported"),
    ("ema.store_ema", False, "the moving average would not be pruned"),
    ("optimization.use_bmuf", False, "block-momentum averaging would undo the zeros"),
    ("distributed_training.zero_sharding", "none", "sharded optimizer state is not supported"),
)
_WHOLE_MODEL = ("c10d", "pytorch_ddp", "legacy_ddp", "no_c10d")


def refuse_unsupported(run: DictConfig, method: str) -> None:
    """Raise UserError if a pruning run could not keep its promises under these settings.

    Args:
        run: the whole fairseq config.
        method: task.prune.method.
    """
    if run.optimizer.get("_name") != "parp":
        raise UserError(
            f"optimizer._name is {run.optimizer.get('_name')!r}; task parp keeps its state in the "
            "optimizer parp: set optimizer._name=parp and optimizer.base._name=adam"
        )
    base = run.optimizer.get("base") or {}
    # composite keeps learning rate schedules of its own, which the Trainer would not find.
    if base.get("_name") not in set(OPTIMIZER_REGISTRY) - {"parp", "composite"}:
        raise UserError(
            f"optimizer.base._name is {base.get('_name')!r}; name the fairseq optimizer that "
            "updates the weights, for example optimizer.base._name=adam"
        )
    checkpoint = run.checkpoint
    if checkpoint.get("write_checkpoints_asynchronously"):
        raise UserError(
            "checkpoint.write_checkpoints_asynchronously=true: fairseq then writes no last or best "
            "checkpoint; set checkpoint.write_checkpoints_asynchronously=false"
        )
    if checkpoint.get("checkpoint_suffix"):
        raise UserError(
            f"checkpoint.checkpoint_suffix={checkpoint.checkpoint_suffix}: a run is found again by "
            "the plain names; leave it empty and take another checkpoint.save_dir"
        )
    if not METHODS[method].ramps:
        # A climb needs max_update, which is told where its schedule is made.
        _refuse_an_end_unsaved(run)
    flat = run.common.fp16 and not (
        run.common.memory_efficient_fp16 or run.common.fp16_no_flatten_grads
    )
    if flat and (run.common.cpu or not torch.cuda.is_available()):
        raise UserError(
            "common.fp16=true: fairseq keeps its flat masters on a GPU and there is none; on a CPU "
            "set common.fp16=false, or common.bf16=true, or common.fp16_no_flatten_grads=true"
        )
    if METHODS[method].initial is None:
        return
    if run.criterion.get("_name") != "parp_ctc":
        raise UserError(
            f"criterion._name is {run.criterion.get('_name')!r}; use criterion._name=parp_ctc, "
            "which scores the subnetwork"
        )
    for key, fine, why in _PLAIN:
        section, option = key.split(".")
        value = run[section].get(option, fine) if section in run else fine
        if value != fine:
            raise UserError(f"{key}={value}: {why}; set {key}={fine}")
    backend = run.distributed_training.ddp_backend
    if backend not in _WHOLE_MODEL:
        raise UserError(
            f"distributed_training.ddp_backend={backend}: weights are not whole on every worker; "
            "set distributed_training.ddp_backend=legacy_ddp"
        )
    if METHODS[method].ramps and run.checkpoint.patience > 0:
        raise UserError(
            f"checkpoint.patience: WER rises while task.prune.method={method} climbs, so stopping "
            "early would stop it before the target sparsity; set checkpoint.patience=-1"
        )


def _refuse_an_end_unsaved(run: DictConfig) -> None:
    """fairseq saves at the last update; at the last epoch only where it is time for a save."""
    epochs = run.optimization.get("max_epoch") or 0
    interval = run.checkpoint.get("save_interval") or 1
    ended_by_epochs = epochs > 0 and (run.optimization.get("max_update") or 0) <= 0
    if ended_by_epochs and epochs % interval and not run.checkpoint.get("no_save"):
        raise UserError(
            f"checkpoint.save_interval={interval}: the run ends with epoch {epochs}, which would "
            f"not be saved; set checkpoint.save_interval={epochs}, or optimization.max_update"
        )
