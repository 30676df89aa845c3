"""Options of the sections that Hydra cannot check: their dataclasses may come with a user dir."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from parp_fairseq.errors import UserError

_WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "List": "a list, such as [a,b]",
}


def check_options(config: Mapping[str, Any]) -> None:
    """Check the options of task, model, criterion, optimizer and lr_scheduler.

    Args:
        config: the whole configuration as plain values.

    Raises:
        UserError: names the first option that does not exist or has a value of another kind.
    """
    registries = {
        "task": TASK_DATACLASS_REGISTRY,
        "model": MODEL_DATACLASS_REGISTRY,
        **{
            name: REGISTRIES[name]["dataclass_registry"]
            for name in ("criterion", "optimizer", "lr_scheduler")
        },
    }
    for section, registry in registries.items():
        values = config.get(section)
        if not isinstance(values, Mapping):
            continue
        name = values.get("_name")
        registered = ARCH_MODEL_NAME_REGISTRY.get(name, name) if section == "model" else name
        dataclass = registry.get(registered)
        if dataclass is not None:
            _check(section, OmegaConf.structured(dataclass), values)


def _check(prefix: str, known: DictConfig, values: Mapping[str, Any]) -> None:
    keys = [str(key) for key in known]
    for key, value in values.items():
        if key not in keys:
            close = get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {prefix}.{close[0]}?" if close else "leave it out"
            raise UserError(f"{prefix}.{key}: there is no such option; {hint}")
        nested = _nested(known, key)
        if nested is not None and isinstance(value, Mapping):
            _check(f"{prefix}.{key}", nested, value)
            continue
        try:
            OmegaConf.merge(known, {key: value})
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            raise UserError(f"{prefix}.{key} is {value!r}; {_wanted(known, key)}") from error


def _nested(known: DictConfig, key: str) -> DictConfig | None:
    if OmegaConf.is_missing(known, key) or OmegaConf.is_interpolation(known, key):
        return None
    node = known[key]
    is_dataclass = isinstance(node, DictConfig) and dataclasses.is_dataclass(
        OmegaConf.get_type(node)
    )
    return node if is_dataclass else None


def _wanted(known: DictConfig, key: str) -> str:
    kinds = {field.name: str(field.type) for field in _fields(known)}
    kind = kinds.get(key, "")
    for name, words in reversed(_WANTED.items()):
        if name in kind:
            return f"give {words}"
    return "give another value"


def _fields(known: DictConfig) -> Iterator[Any]:
    kind = OmegaConf.get_type(known)
    return iter(dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ())
