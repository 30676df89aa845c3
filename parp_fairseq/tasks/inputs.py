"""The files that a run reads: where they are, and whether they fit."""

from __future__ import annotations

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from parp_fairseq.checkpoints.describe import describe_state
from parp_fairseq.checkpoints.reading import load_checkpoint
from parp_fairseq.checkpoints.shipped import TINY, TINY_MODEL
from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import LAST


def settle_paths(task: DictConfig, model: DictConfig, run: DictConfig) -> None:
    """Make the user's paths absolute: relative ones mean the folder the command was given in.

    Hydra changes into the run folder before fairseq reads any of them.

    Args:
        task: the task's config (data, target_dictionary, prune.mask, prune.initial).
        model: the model's config (w2v_path, data).
        run: the whole config (finetune_from_model, restore_file, and its own copy of task.data).

    Raises:
        UserError: task.data or model.w2v_path is not given.
    """
    folder = task.folder or os.getcwd()
    if OmegaConf.is_missing(task, "data") or task.data in ("", "???"):
        raise UserError("task.data is missing: the folder with the manifests (task.data=DIR)")
    if OmegaConf.is_missing(model, "w2v_path") or model.w2v_path in ("", "???"):
        raise UserError(
            "model.w2v_path is missing: the pre-trained checkpoint (model.w2v_path=FILE.pt)"
        )
    with open_dict(model):
        _absolute(task, "data", folder)
        model.data = run.task.data = task.data
    if model.w2v_path == TINY:
        with open_dict(model):
            model.w2v_path = str(TINY_MODEL)
    _absolute(model, "w2v_path", folder)
    _absolute(task, "target_dictionary", folder)
    _absolute(task.prune, "mask", folder)
    if os.path.exists(os.path.join(folder, task.prune.initial or "")):
        _absolute(task.prune, "initial", folder)
    for key in ("mask", "initial", "initial_sparsity"):
        # The run's own copy is what is saved with it.
        if key in run.task.get("prune", {}):
            run.task.prune[key] = task.prune[key]
    _absolute(run.checkpoint, "finetune_from_model", folder)
    _absolute(run.checkpoint, "continue_once", folder)
    restore = run.checkpoint.restore_file
    if restore != LAST:
        # A bare name means a file in the run's own checkpoint folder, where there is one.
        inside = os.path.join(os.path.abspath(run.checkpoint.save_dir), restore)
        if os.sep not in restore and os.path.exists(inside):
            run.checkpoint.restore_file = inside
        else:
            _absolute(run.checkpoint, "restore_file", folder)


def _absolute(node: Any, key: str, folder: str) -> None:
    # Official 0.12.2 knows fewer keys, and asking for one that is not there is an error.
    if key not in node:
        return
    value = node[key]
    if value:
        node[key] = os.path.normpath(os.path.join(folder, os.path.expanduser(value)))


def check_pretrained(path: str, normalize: bool) -> None:
    """Check that `path` is a pre-trained model that this run can start from.

    Args:
        path: model.w2v_path.
        normalize: task.normalize.

    Raises:
        UserError: missing, unreadable, fine-tuned already, of the other normalisation, or with
            weights that are not finite.
    """
    state = load_checkpoint(path)
    info = describe_state(state, path)
    if info.finetuned:
        raise UserError(
            f"{path}: model.w2v_path is a fine-tuned model; give the pre-trained one there. To "
            "start from these weights use checkpoint.finetune_from_model, for their mask "
            "task.prune.method=omp with task.prune.mask"
        )
    if info.normalize is not None and info.normalize != normalize:
        raise UserError(
            f"{path}: this model was pre-trained with normalize={info.normalize} and "
            f"task.normalize is {normalize}; set task.normalize={str(info.normalize).lower()}"
        )
    for name, tensor in state["model"].items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {name} holds NaN or infinity; give another checkpoint")
