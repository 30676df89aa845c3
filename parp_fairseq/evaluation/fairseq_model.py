"""The model of a fine-tuned checkpoint, ready to transcribe, without what it was trained with.

Keys that another version of fairseq wrote and this one does not know are left out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.finetuned import FineTuned, open_finetuned
from parp_fairseq.checkpoints.safe_load import allow_fairseq_classes, load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from parp_fairseq.engine import Acceleration

ENGINES = ("dense", "sparse")
"""How layers are run: zeros and all, or over the kept weights alone where that is faster."""


@dataclass(frozen=True)
class SparseModel:
    """A subnetwork read back.

    Attributes:
        model: fairseq's `Wav2VecCtc`, in evaluation mode, on the CPU.
        cfg: its settings, with the sections `model` and `task`.
        dictionary: fairseq's `Dictionary` that numbers its head.
        acceleration: which layers run sparse; None for the engine "dense".
    """

    model: Any = field(repr=False)
    cfg: dict[str, Any] = field(repr=False)
    dictionary: Any = field(repr=False)
    acceleration: Acceleration | None = field(default=None, repr=False)


def build_task(finetuned: FineTuned, data: PathLike, *, seed: int = 1) -> Any:
    """fairseq's `audio_finetuning` task over `data`, set as the checkpoint needs it."""
    from fairseq import tasks
    from omegaconf import OmegaConf

    root = OmegaConf.create(
        {
            "task": {
                "_name": "audio_finetuning",
                "data": str(data),
                "labels": finetuned.labels,
                "normalize": bool(finetuned.info.normalize),
            },
            "common": {"tpu": False, "seed": seed},
        }
    )
    task = tasks.setup_task(root.task)
    # A HuBERT encoder looks for its own dictionaries in the state of the task that builds it.
    saved = finetuned.state.get("task_state") or {}
    task.load_state_dict({**saved, "target_dictionary": finetuned.dictionary})
    return task


def build_model(
    finetuned: FineTuned,
    task: Any,
    *,
    w2v_path: PathLike | None = None,
    device: str = "cpu",
    engine: str = "dense",
) -> Any:
    """The model in evaluation mode on `device`, optimised as fairseq's infer does.

    `w2v_path` is the pre-trained file, needed only by a checkpoint that does not hold its
    architecture. `engine` is one of ENGINES. Raises UserError when the weights do not fit.
    """
    from fairseq import checkpoint_utils

    path = finetuned.path
    config = _config(finetuned.state, task, path, w2v_path)
    state = {"args": None, "cfg": config, "model": dict(finetuned.state["model"])}
    try:
        # fairseq prints the whole model when it reads w2v_path.
        with contextlib.redirect_stdout(io.StringIO()):
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
    _answer_train(model)
    if engine == "sparse":
        from parp_fairseq.engine import accelerate

        accelerate(model)
    return model.to(device)


def _answer_train(model: Any) -> None:
    """Let `eval` and `train` return the model, as a torch module does; fairseq's return None."""

    def train(mode: bool = True) -> Any:
        if mode:
            raise RuntimeError("this model was made for decoding and cannot be trained")
        return model

    model.train = train


def load_sparse(path: PathLike, engine: str = "dense") -> SparseModel:
    """Read a sparse file and build its model.

    Args:
        path: a file that `export_sparse` wrote.
        engine: "dense" multiplies by the zeros too; "sparse" leaves them out where a measurement
            finds that faster (outputs then differ by rounding).

    Raises:
        UserError: the file cannot be read, its model cannot be built, or an unknown engine.
    """
    from parp_fairseq.checkpoints.sparse_file import is_sparse

    if engine not in ENGINES:
        raise UserError(f"engine is {engine!r}; use one of {', '.join(ENGINES)}")
    path = Path(path)
    if not is_sparse(path):
        raise UserError(f"{path} is no sparse file; write one with `parp export --format sparse`")
    finetuned = open_finetuned(path)
    settings = finetuned.complete_settings()
    # fairseq asks for a folder of data, and reads nothing in it here.
    model = build_model(finetuned, build_task(finetuned, path.parent))
    acceleration = None
    if engine == "sparse":
        from parp_fairseq.engine import accelerate

        acceleration = accelerate(model)
    return SparseModel(model, settings, finetuned.dictionary, acceleration)


def _config(state: Mapping[str, Any], task: Any, path: Path, w2v_path: PathLike | None) -> Any:
    """The checkpoint's settings as this fairseq reads them."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    from parp_fairseq.checkpoints.fairseq_settings import drop_unknown, plain_settings

    settings = plain_settings(state)
    model = settings["model"]
    w2v_args = model.get("w2v_args")
    if w2v_args is None:
        pretrained = Path(w2v_path if w2v_path is not None else model.get("w2v_path") or "")
        if not pretrained.is_file():
            raise UserError(
                f"{path} does not hold its architecture, and the pre-trained file it names "
                f"({pretrained}) is not there; give that file as w2v_path"
            )
        load_checkpoint(pretrained)
        allow_fairseq_classes()
        model["w2v_path"] = str(pretrained.absolute())
    else:
        drop_unknown(w2v_args.get("task"), TASK_DATACLASS_REGISTRY, "task.")
        drop_unknown(w2v_args.get("model"), MODEL_DATACLASS_REGISTRY, "model.")
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
