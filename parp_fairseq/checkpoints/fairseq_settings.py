"""What a checkpoint says about itself, and its settings as plain dictionaries.

fairseq 0.12.2 refuses a checkpoint whose `task` section holds a key that it does not know (its
`model` section may), and later versions save such keys. Checkpoints from before fairseq 0.10.2
hold flat `args` namespaces instead of sections.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

_FINETUNED_KINDS = ("wav2vec_ctc", "wav2vec_seq2seq", "hubert_ctc", "hubert_seq2seq")
_KINDS = {"wav2vec2": "wav2vec2", "hubert": "hubert", "data2vec_audio": "data2vec"}

# What says how audio and labels are read; every version of fairseq knows these.
_AUDIO_TASKS = ("audio_finetuning", "audio_pretraining", "parp")
_AUDIO_KEYS = (
    *("_name", "data", "labels", "normalize", "sample_rate", "enable_padding"),
    *("max_sample_size", "min_sample_size"),
)


@dataclass(frozen=True)
class PretrainedInfo:
    """What a checkpoint says about itself.

    `kind` is the self-supervised model inside: `wav2vec2`, `hubert`, `data2vec` or, for
    anything else, the name that the checkpoint gives. `arch` is the model's registered name
    (`wav2vec_ctc` for a fine-tuned one). `normalize` is None when the checkpoint does not
    say. `shapes` maps every parameter to its shape.
    """

    kind: str
    arch: str
    finetuned: bool
    normalize: bool | None
    labels: str | None
    encoder_layers: int
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)


def describe_state(state: Mapping[str, Any]) -> PretrainedInfo:
    """Say what model a state holds that `load_checkpoint` returned."""
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in state["model"].items()
        if hasattr(tensor, "shape")
    }
    config = config_section(state, "model")
    task = config_section(state, "task")
    arch = str(_get(config, "_name") or _get(config, "arch") or "unknown")
    wrapped = any("w2v_encoder." in name or "encoder.w2v_model." in name for name in shapes)
    finetuned = arch in _FINETUNED_KINDS or wrapped

    inner = arch
    if finetuned:
        w2v_args = _get(config, "w2v_args")
        w2v_model = w2v_args if _get(w2v_args, "arch") else _get(w2v_args, "model")
        inner = str(_get(w2v_model, "_name") or _get(w2v_model, "arch") or "wav2vec2")
    normalize, labels = _get(task, "normalize"), _get(task, "labels")
    layers = map(re.compile(r"encoder\.layers\.(\d+)\.").search, shapes)
    return PretrainedInfo(
        kind=_KINDS.get(inner, inner),
        arch=arch,
        finetuned=finetuned,
        normalize=None if normalize is None else bool(normalize),
        labels=None if labels is None else str(labels),
        encoder_layers=len({layer[1] for layer in layers if layer}),
        shapes=shapes,
    )


def config_section(state: Mapping[str, Any], section: str) -> Any:
    """`state['cfg'][section]`, or the whole flat `args` of an older checkpoint."""
    if state.get("cfg") is not None:
        return _get(state["cfg"], section)
    return state.get("args")


def _get(holder: Any, key: str) -> Any:
    """A key of a dict or DictConfig, an attribute of a Namespace, or None."""
    if holder is None:
        return None
    if isinstance(holder, argparse.Namespace):
        return getattr(holder, key, None)
    try:
        return holder.get(key)
    except Exception:
        return None


def plain_settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """`cfg` of a checkpoint as nested dictionaries of its own; `args` become such sections.

    Args:
        state: what `load_checkpoint` returned; it is not changed.
    """
    settings = state.get("cfg")
    if settings is None:
        return _from_namespace(state["args"])
    settings = plain(settings)
    w2v_args = (settings.get("model") or {}).get("w2v_args")
    if isinstance(w2v_args, argparse.Namespace):
        settings["model"]["w2v_args"] = _from_namespace(w2v_args)
    return settings


def network_settings(model: Mapping[str, Any], path: PathLike) -> Mapping[str, Any]:
    """The network's own settings in those of a fine-tuned model.

    Raises UserError: the checkpoint at `path` does not hold them.
    """
    outer = model.get("w2v_args")
    outer = outer if isinstance(outer, Mapping) else {}
    inner = outer.get("model")
    if not isinstance(inner, Mapping) or "task" not in outer:
        raise UserError(
            f"{path} does not hold its architecture (cfg.model.w2v_args); save it once with "
            "fairseq where its pre-trained file is"
        )
    return inner


def plain(settings: Any) -> Any:
    """Copy settings with DictConfigs as dictionaries, at any depth."""
    if "omegaconf" not in sys.modules:
        # Nobody has made such an object then, and importing it takes a while.
        return copy.deepcopy(settings)
    from omegaconf import OmegaConf

    if OmegaConf.is_config(settings):
        try:
            settings = OmegaConf.to_container(settings, resolve=True, enum_to_str=True)
        except Exception:
            # An interpolation that leads nowhere belongs to a part that nothing reads.
            settings = OmegaConf.to_container(settings, resolve=False, enum_to_str=True)
    if isinstance(settings, dict):
        return {key: plain(value) for key, value in settings.items()}
    return copy.deepcopy(settings)


def drop_unknown(section: Any, registry: Mapping[str, Any], prefix: str) -> list[str]:
    """Take the keys out of a section that the installed fairseq's dataclass does not have.

    The section, a task's or model's with its `_name` (a dictionary or an open DictConfig), is
    changed in place; `registry` are fairseq's dataclasses by name. Returns the keys taken out,
    `prefix` before each; none where the section or its dataclass is unknown.
    """
    if not isinstance(section, MutableMapping) or section.get("_name") not in registry:
        return []
    return _drop_keys(section, registry[section["_name"]](), prefix)


def repair_settings(settings: MutableMapping[str, Any]) -> list[str]:
    """Take out what the installed fairseq does not know; return what was changed, a line each."""
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    inner = (settings.get("model") or {}).get("w2v_args") or {}
    changes = []
    for prefix, section in (
        ("cfg.task.", settings.get("task")),
        ("cfg.model.w2v_args.task.", inner.get("task")),
    ):
        dropped = drop_unknown(section, TASK_DATACLASS_REGISTRY, prefix)
        changes += [f"{key} is unknown to this fairseq and was left out" for key in dropped]
    for key in ("criterion", "lr_scheduler"):
        if key not in settings:
            settings[key] = None
            changes.append(f"cfg.{key} was missing and is now null")
    return changes


def keep_audio_keys(section: Any, *more: str) -> None:
    """Reduce a task's settings to those that say how audio and labels are read, and `more`."""
    if isinstance(section, dict) and section.get("_name") in _AUDIO_TASKS:
        for key in [key for key in section if key not in (*_AUDIO_KEYS, *more)]:
            del section[key]


def _drop_keys(section: MutableMapping[str, Any], known: Any, prefix: str) -> list[str]:
    fields = {entry.name for entry in dataclasses.fields(known)} | {"_name"}
    dropped = []
    for key in list(section):
        nested = getattr(known, key, None)
        if key not in fields:
            del section[key]
            dropped.append(prefix + str(key))
        elif dataclasses.is_dataclass(nested) and isinstance(section[key], MutableMapping):
            dropped += _drop_keys(section[key], nested, f"{prefix}{key}.")
    return dropped


def _from_namespace(args: argparse.Namespace) -> dict[str, Any]:
    """Sections, as fairseq makes them when it opens an old checkpoint."""
    from fairseq import checkpoint_utils

    # fairseq composes the sections with Hydra, which then warns about it.
    logging.getLogger("hydra").setLevel(logging.WARNING)
    flat = copy.deepcopy(vars(args))
    # Hydra 1.1 and later cannot take a nested namespace: it is converted on its own.
    w2v_args = flat.pop("w2v_args", None)
    upgraded = checkpoint_utils._upgrade_state_dict(
        {
            "args": argparse.Namespace(**flat),
            "optimizer_history": [
                {"optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
            ],
            "extra_state": {"train_iterator": None},
        }
    )
    settings = plain(upgraded["cfg"])
    if w2v_args is not None:
        nested = isinstance(w2v_args, argparse.Namespace)
        settings["model"]["w2v_args"] = _from_namespace(w2v_args) if nested else plain(w2v_args)
    return settings
