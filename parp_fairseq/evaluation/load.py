"""A fine-tuned checkpoint, ready to transcribe, without what it was trained with.

The task that trained it need not be known (ours or fairseq's own `audio_finetuning`), nor need
the pre-trained file exist any more: fairseq saves the architecture as `model.w2v_args`. Keys
that another version of fairseq wrote and this one does not know are left out. A sparse file
(`parp export --format sparse`) is read as the checkpoint that it was made from.
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.describe import PretrainedInfo, describe_state
from parp_fairseq.checkpoints.dictionary import (
    SPECIAL_SYMBOLS,
    SYMBOLS_KEY,
    dictionary_from,
    read_dictionary,
)
from parp_fairseq.checkpoints.reading import allow_fairseq_classes, load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

ENGINES = ("dense", "csr")
"""How the linears are multiplied: zeros and all, or as sparse matrices where that is faster."""

_HEAD = "w2v_encoder.proj.weight"
_SPEECH = ("wav2vec2", "hubert", "data2vec")


@dataclass(frozen=True)
class FineTuned:
    """A checkpoint as read: its settings, weights and dictionary, before a model is built."""

    path: Path
    info: PretrainedInfo
    state: dict[str, Any]
    labels: str
    dictionary: Any

    @property
    def symbols(self) -> list[str]:
        """The dictionary's symbols, fairseq's four special ones left out."""
        return list(self.dictionary.symbols[len(SPECIAL_SYMBOLS) :])


@dataclass(frozen=True)
class SparseModel:
    """A subnetwork read back.

    Attributes:
        model: fairseq's `Wav2VecCtc`, in evaluation mode, on the CPU.
        cfg: its settings, with the sections `model` and `task`.
        dictionary: fairseq's `Dictionary` that numbers its head.
        csr: names of the linears that run as sparse matrices (engine "csr").
    """

    model: Any = field(repr=False)
    cfg: dict[str, Any] = field(repr=False)
    dictionary: Any = field(repr=False)
    csr: tuple[str, ...] = ()


def open_finetuned(checkpoint: PathLike, data: PathLike, labels: str | None = None) -> FineTuned:
    """Read a fine-tuned CTC checkpoint or sparse file, and the dictionary that numbers its head.

    The dictionary is the checkpoint's own; one that holds none uses `dict.{labels}.txt` in
    `data`. `labels` defaults to what the checkpoint was trained on. Raises UserError for
    another kind of checkpoint, or a dictionary that does not fit its head.
    """
    from parp_fairseq.checkpoints.sparse_file import is_sparse, read_sparse

    path = Path(checkpoint)
    state = read_sparse(path) if is_sparse(path) else load_checkpoint(path)
    info = describe_state(state, path)
    if not info.finetuned:
        if info.kind not in _SPEECH:
            raise UserError(
                f"{path} holds a model of another kind ({info.kind}); give a fine-tuned one of "
                f"{', '.join(_SPEECH)}"
            )
        raise UserError(
            f"{path} is a pre-trained {info.kind} without a CTC head; fine-tune it first, or give "
            "the checkpoint_best.pt of a fine-tuning"
        )
    if _HEAD not in info.shapes:
        raise UserError(f"{path} is a {info.arch} without a CTC head, and only CTC can be scored")
    labels = labels or info.labels
    if not labels:
        raise UserError(f"{path} does not say its labels; name them, such as --labels ltr")

    dictionary, source = _own_dictionary(state), str(path)
    if dictionary is None:
        source = os.path.join(data, f"dict.{labels}.txt")
        if not os.path.isfile(source):
            raise UserError(
                f"{path} holds no dictionary and {source} is not there; put the dictionary that "
                "the model was trained with in that place"
            )
        dictionary = _load_dictionary(source)
    if len(dictionary) != info.shapes[_HEAD][0]:
        raise UserError(
            f"{source}: its dictionary has {len(dictionary)} symbols ({len(SPECIAL_SYMBOLS)} "
            f"special ones included) but the head of {path} has {info.shapes[_HEAD][0]}; use the "
            "dictionary that the model was trained with"
        )
    return FineTuned(path, info, state, labels, dictionary)


def _own_dictionary(state: dict[str, Any]) -> Any:
    """The dictionary that fairseq's task or this package's saved; None where there is none."""
    saved = state.get("task_state") or {}
    if saved.get("target_dictionary") is None and SYMBOLS_KEY in saved:
        return dictionary_from(saved[SYMBOLS_KEY])
    return saved.get("target_dictionary")


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
    if engine == "csr":
        from parp_fairseq.engine.csr import use_csr

        use_csr(model)
    return model.to(device)


def load_sparse(path: PathLike, engine: str = "dense") -> SparseModel:
    """Read a sparse file and build its model.

    Args:
        path: a file that `export_sparse` wrote.
        engine: "dense" multiplies by the zeros too; "csr" measures every large linear once and
            runs it as a sparse matrix where that is faster (outputs then differ by rounding).

    Raises:
        UserError: the file cannot be read, its model cannot be built, or an unknown engine.
    """
    from parp_fairseq.checkpoints.source import open_source
    from parp_fairseq.checkpoints.sparse_file import is_sparse

    if engine not in ENGINES:
        raise UserError(f"engine is {engine!r}; use one of {', '.join(ENGINES)}")
    path = Path(path)
    if not is_sparse(path):
        raise UserError(f"{path} is no sparse file; write one with `parp export --format sparse`")
    source = open_source(path)
    state = {"args": None, "cfg": source.settings, "model": source.weights}
    finetuned = FineTuned(path, source.info, state, source.labels, source.dictionary)
    # fairseq asks for a folder of data, and reads nothing in it here.
    model = build_model(finetuned, build_task(finetuned, path.parent))
    chosen: tuple[str, ...] = ()
    if engine == "csr":
        from parp_fairseq.engine.csr import use_csr

        chosen = use_csr(model)
    return SparseModel(model, source.settings, source.dictionary, chosen)


def _load_dictionary(path: str) -> Any:
    read_dictionary(path)  # Its errors name file and row.
    from fairseq.data import Dictionary

    return Dictionary.load(path)


def _config(state: dict[str, Any], task: Any, path: Path, w2v_path: PathLike | None) -> Any:
    """The checkpoint's settings as this fairseq reads them."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    from parp_fairseq.checkpoints.settings import drop_unknown, plain_settings

    settings = plain_settings(state)
    model = settings["model"]
    w2v_args = model.get("w2v_args")
    if w2v_args is None:
        found = Path(w2v_path if w2v_path is not None else model.get("w2v_path") or "")
        if not found.is_file():
            raise UserError(
                f"{path} does not hold its architecture, and the pre-trained file it names "
                f"({found}) is not there; give that file as w2v_path"
            )
        load_checkpoint(found)
        allow_fairseq_classes()
        model["w2v_path"] = str(found.absolute())
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
