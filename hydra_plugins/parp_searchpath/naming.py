"""Names of run folders, one for each experiment: `${parp:changes}` in the yaml files."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

# They are in the name already, or say how work is distributed.
_NAMED = ("task.prune.method", "task.prune.sparsity", "common.seed", "optimization.update_freq")
# A file decides what these mean, and its name says little.
_FILES = ("task.prune.mask", "task.prune.initial", "checkpoint.finetune_from_model")
_LONGEST = 100


def changes(overrides: Iterable[str]) -> str:
    """What a command changes about an experiment, as the end of its folder's name.

    Args:
        overrides: "key=value" as on the command line, without those of Hydra itself.

    Returns:
        For example "_interval10_lr0.0001"; empty where only the method, the sparsity, the seed,
        paths or what is free to change in a run are given.
    """
    settings = _settings()
    parts: dict[str, str] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~").split("@")[0]
        free = settings.is_free(key) or settings.is_of_validation(key)
        if key in _NAMED or (free and key not in _FILES):
            continue
        leaf = key.rsplit(".", 1)[-1]
        leaf = "_".join(key.split(".")[-2:]) if leaf in ("seed", "_name") else leaf
        parts[key] = f"_{leaf}{_short(value)}"
    name = "".join(parts[key] for key in sorted(parts))
    return name if len(name) <= _LONGEST else f"_{_digest(name)}"


def _short(value: str) -> str:
    plain = re.sub(r"[\s\[\](){}'\"]", "", value).replace(",", "-")
    return plain if re.fullmatch(r"[\w.+-]{0,24}", plain) else f"-{_digest(value)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _settings() -> ModuleType:
    """`parp_fairseq.runs.settings`, without importing `parp_fairseq` (see `config_folder`)."""
    file = Path(__file__).resolve().parents[2] / "parp_fairseq" / "runs" / "settings.py"
    spec = importlib.util.spec_from_file_location("_parp_settings", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
