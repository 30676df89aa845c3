"""fairseq's model of a fine-tuned checkpoint, in evaluation mode, and the task that reads its data.

Keys that another version of fairseq wrote and this one does not know are left out.
"""

from __future__ import annotations

from typing import Any

from parp_fairseq.checkpoints.fairseq_settings import drop_unknown
from parp_fairseq.checkpoints.finetuned import FineTuned
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike


def build_task(finetuned: FineTuned, data: PathLike) -> Any:
    """fairseq's `audio_finetuning` task over `data`, set as the checkpoint needs it."""
    from fairseq import tasks
    from omegaconf import OmegaConf

    from parp_fairseq.fairseq_patches import read_utf8

    read_utf8()
    settings = {
        "_name": "audio_finetuning",
        "data": str(data),
        "labels": finetuned.labels,
        "normalize": bool(finetuned.info.normalize),
    }
    root = OmegaConf.create({"task": settings, "common": {"tpu": False, "seed": 1}})
    task = tasks.setup_task(root.task)
    # A HuBERT encoder looks for its own dictionaries in the state of the task that builds it.
    saved = finetuned.state.get("task_state") or {}
    task.load_state_dict({**saved, "target_dictionary": finetuned.dictionary})
    return task


def build_model(finetuned: FineTuned, task: Any = None, *, device: str = "cpu") -> Any:
    """fairseq's `Wav2VecCtc`, optimised for decoding as fairseq's infer does.

    `task` is what `build_task` returned (default: one without data). UserError where the weights do
    not fit, or fairseq cannot build such a model.
    """
    from fairseq import checkpoint_utils

    from parp_fairseq import models  # noqa: F401 (registers parp_whisper)

    path = finetuned.path
    task = build_task(finetuned, path.parent) if task is None else task
    config = _config(finetuned, task)
    state = {"args": None, "cfg": config, "model": dict(finetuned.weights)}
    try:
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
            [str(path)], task=task, state=state
        )
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: fairseq cannot build its model: {' '.join(reason[:2])[:300]}; check that "
            "the installed fairseq can load it"
        ) from error
    model.make_generation_fast_()

    def train(mode: bool = True) -> Any:
        # fairseq's returns None and refuses `eval()` too, which torch's engine calls.
        if mode:
            raise RuntimeError("this model was made for decoding and cannot be trained")
        return model

    model.train = train
    return model.to(device)


def _config(finetuned: FineTuned, task: Any) -> Any:
    """The checkpoint's settings as this fairseq reads them."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    settings = finetuned.complete_settings()
    model = settings["model"]
    drop_unknown(model["w2v_args"]["task"], TASK_DATACLASS_REGISTRY, "task.")
    drop_unknown(model["w2v_args"]["model"], MODEL_DATACLASS_REGISTRY, "model.")
    drop_unknown(model, MODEL_DATACLASS_REGISTRY, "model.")
    model["data"] = task.cfg.data

    # What the defaults of a model's settings refer to, in case it does not hold them itself.
    settings["task"] = {"data": task.cfg.data, "normalize": task.cfg.normalize}
    settings.setdefault("common", {}).setdefault("tpu", False)
    settings.setdefault("distributed_training", {}).setdefault("ddp_backend", "legacy_ddp")
    try:
        return OmegaConf.create(settings, flags={"allow_objects": True})
    except TypeError:
        # omegaconf 2.0 knows no flags, and returns None for a missing key unless it is strict.
        config = OmegaConf.create(settings)
        OmegaConf.set_struct(config, True)
        return config
