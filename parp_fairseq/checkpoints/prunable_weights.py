"""The prunable weights of checkpoints and models."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.fairseq_settings import drop_unknown, keep_audio_keys, plain_settings
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.scope import Scope, canonical_name

if TYPE_CHECKING:
    from torch import Tensor

# Parts of a pre-trained model that fine-tuning removes before anything is pruned.
_PRETRAINING_HEADS = ("quantizer.", "project_q.", "target_glu.", "final_proj.", "label_embs_concat")


def scoped_weights(
    state: Mapping[str, Any], scope: Scope, path: PathLike, options: str = ""
) -> dict[str, Tensor]:
    """The tensors of a checkpoint that `scope` chooses, under the checkpoint's own names.

    `options` is what the caller's options of the scope begin with, for the errors. Raises
    UserError: the scope does not fit the model.
    """
    from torch import Tensor

    tensors = {
        name: tensor
        for name, tensor in state["model"].items()
        if isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and not canonical_name(name).startswith(_PRETRAINING_HEADS)
    }
    with options_named(options, f"{path}: "):
        return {name: tensors[name] for name in scope.select(tensors)}


def weights_named(
    tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: PathLike, todo: str
) -> dict[str, Tensor]:
    """Return those of a model's tensors that have the names and shapes of `weights`, in fp32.

    Their names may have a fine-tuned model's prefixes. UserError where one is missing or of another
    shape; it names the model's file, `source`, and what `todo`.
    """
    short = {canonical_name(name): tensor for name, tensor in tensors.items()}
    chosen = {}
    for name, weight in weights.items():
        wanted = canonical_name(name)
        tensor = short.get(wanted)
        if tensor is None or tensor.shape != weight.shape:
            has = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise UserError(
                f"{source}: {wanted} {has} there and has shape {tuple(weight.shape)} here; {todo}"
            )
        chosen[name] = tensor.detach().float()
    return chosen


def random_weights(
    state: Mapping[str, Any], path: PathLike, weights: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """The weights that the same network has before any training. Imports fairseq.

    They are those of a run with the same seed (from -2^63 to 2^64 - 1), because fairseq's
    fine-tuning too builds the pre-trained network first. `state`, of the file `path`, is what
    `load_checkpoint` returned; `weights` are those to return. Other random numbers stay as they
    were. UserError where the checkpoint does not hold its architecture, or another one.
    """
    import torch
    from fairseq import tasks
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    settings = plain_settings(state)
    if any(name.startswith("w2v_encoder.") for name in state["model"]):
        settings = (settings.get("model") or {}).get("w2v_args") or {}
    sections = {name: settings.get(name) for name in ("task", "model")}
    if not all(isinstance(section, dict) for section in sections.values()):
        raise UserError(
            f"{path} does not hold the architecture of its network; give the pre-trained checkpoint"
        )
    keep_audio_keys(sections["task"])
    drop_unknown(sections["model"], MODEL_DATACLASS_REGISTRY, "")
    config = OmegaConf.create(sections)
    config.task.data = ""
    try:
        with redirect_stdout(io.StringIO()), torch.random.fork_rng(), warnings.catch_warnings():
            # torch's remark on the weight norm that fairseq uses.
            warnings.simplefilter("ignore", FutureWarning)
            task = tasks.setup_task(config.task, from_checkpoint=True)
            torch.manual_seed(seed)
            model = task.build_model(config.model, from_checkpoint=True)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: fairseq cannot build this network ({reason[0][:200]}); use random masks"
        ) from error
    network = f"the network that the settings of {path} describe"
    todo = "use random masks, or leave this tensor out (exclude)"
    return weights_named(dict(model.named_parameters()), weights, network, todo)
