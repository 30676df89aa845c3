"""Opening fairseq checkpoints as data: nothing that a checkpoint holds is ever executed.

A checkpoint is a pickle, and a pickle may name any function to call. Here torch's restricted
unpickler reads it with a short list of plain classes, so a file that names anything else is
refused. fairseq itself evaluates a few strings of a checkpoint's configuration (the layer list
of the convolutional front end among them): those are checked to be plain literals too.

The list is registered for the whole process by `allow_fairseq_classes`, so that fairseq's
own `torch.load` calls, which torch 2.6 and later restrict by default, open old checkpoints.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

_BUILTINS = ("bool", "dict", "float", "int", "list", "str", "tuple")
_NODES = (
    *("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "InterpolationResult", "Path"),
    "String",
)
_METERS = ("AverageMeter", "SumMeter", "TimeMeter", "StopwatchMeter", "MetersDict")

# Name as pickled → where the class or function is now. Classes that hold data, nothing else.
_SAME = (
    *("argparse.Namespace", "typing.Any", "numpy.dtype", "numpy.core.multiarray.scalar"),
    *(f"builtins.{builtin}" for builtin in _BUILTINS),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
    *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
    *(f"omegaconf.nodes.{node}Node" for node in _NODES),
    "fairseq.data.dictionary.Dictionary",
    *(f"fairseq.logging.meters.{name}" for name in _METERS),
)
_ALLOWED: dict[str, str] = {
    **{name: name for name in _SAME},
    "collections.defaultdict": "parp_fairseq.checkpoints.safe_load._plain_dict",
    "numpy._core.multiarray.scalar": "numpy.core.multiarray.scalar",
    **{f"fairseq.meters.{name}": f"fairseq.logging.meters.{name}" for name in _METERS},
}
# Importing these costs nothing, so they are always on the list; fairseq's, omegaconf's and
# numpy's join when a file asks for them.
_LIGHT = tuple(
    name for name in _ALLOWED if not name.startswith(("fairseq.", "omegaconf.", "numpy."))
)

# Configuration strings that fairseq passes to eval(), and what they may be made of.
_EVALUATED = frozenset(
    {"conv_feature_layers", "conv_aggregator_layers", "feature_encoder_spec", "wer_args"}
)
_CONTAINERS = (ast.Expression, ast.List, ast.Tuple, ast.Constant, ast.Load)
_LITERAL = (*_CONTAINERS, ast.UnaryOp, ast.USub, ast.BinOp, ast.Add, ast.Mult)


_TRUNCATED = "{} is truncated or damaged; copy or download it again"
_FOREIGN = "{} is not a checkpoint that torch wrote; give a fairseq .pt file"


class DamagedCheckpoint(UserError):
    """A checkpoint that is cut off, as an interrupted copy is."""


def allow_fairseq_classes() -> None:
    """Let restricted `torch.load` open fairseq checkpoints anywhere in this process.

    fairseq calls `torch.load` without saying how. torch 2.6 and later then restrict it; before
    that, this asks torch to do the same, unless `TORCH_FORCE_WEIGHTS_ONLY_LOAD` is set already
    (0 lets checkpoints run code). Imports fairseq. Calling it again does nothing new.
    """
    import torch

    torch.serialization.add_safe_globals(_allowed_objects(_ALLOWED))
    if not _restricts_by_default():
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read a fairseq checkpoint onto the CPU without running anything that it holds.

    The tensors of a zip checkpoint are mapped from the file and read when they are first used;
    files of torch 1.5 and older are read whole.

    Returns fairseq's state dictionary: `model`, and `cfg` (dict or DictConfig) or `args`
    (Namespace). Raises UserError when the file is missing, truncated, of another kind, or holds
    something that could run code.
    """
    path = Path(path)
    state = _unpickle(path, mmap=check_readable(path))
    problem = None
    if not isinstance(state, dict):
        problem = f"holds a {type(state).__name__} and no fairseq checkpoint"
    elif not isinstance(state.get("model"), dict):
        keys = ", ".join(str(key) for key in list(state)[:3])
        problem = f"is not a fairseq checkpoint: it has no 'model' (its keys: {keys}, …)"
    elif state.get("cfg") is None and state.get("args") is None:
        problem = "has weights but neither 'cfg' nor 'args', so the model cannot be built"
    if problem:
        raise UserError(
            f"{path} {problem}; give the original fairseq .pt file, not one converted for another "
            "library"
        )
    check_evaluated_strings(path, state)
    return state


def check_readable(path: PathLike) -> bool:
    """Check, without torch, that a file begins as a checkpoint does; whether it is a zip archive.

    Those of torch 1.5 and older are not. Raises UserError: it is missing, a folder, empty, cut off
    or of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint; give the path of a fairseq .pt file")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a checkpoint file inside it")
    try:
        with path.open("rb") as handle:
            magic = handle.read(4)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its rights") from error
    if not magic:
        raise DamagedCheckpoint(f"{path} is empty; copy or download it again")
    is_zip = magic == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(path):
        raise DamagedCheckpoint(_TRUNCATED.format(path))
    if not is_zip and magic[:1] != b"\x80":
        raise UserError(_FOREIGN.format(path))
    return is_zip


def check_evaluated_strings(path: Path, state: Mapping[str, Any]) -> None:
    """Raise UserError where a setting that fairseq passes to eval() is more than a literal."""
    for part in ("cfg", "args"):
        for key, value in _strings_to_evaluate(state.get(part)):
            if not _is_literal(value):
                raise UserError(
                    f"{path}: its setting {key} is {value[:60]!r}, which is code and not a list "
                    "of numbers, so it is not opened"
                )


def _unpickle(path: Path, *, mmap: bool) -> Any:
    import torch

    names = list(_LIGHT)
    while True:
        try:
            # Leaving the context takes its entries off torch's list, even earlier ones.
            known = torch.serialization.get_safe_globals()
            more = [entry for entry in _allowed_objects(names) if entry not in known]
            with warnings.catch_warnings(), torch.serialization.safe_globals(more):
                # Remarks on pickle protocols.
                warnings.simplefilter("ignore", UserWarning)
                return torch.load(str(path), map_location="cpu", mmap=mmap, weights_only=True)
        except pickle.UnpicklingError as error:
            asked = _global_in(str(error))
            if asked in _ALLOWED and asked not in names:
                names.append(asked)
                continue
            if asked is None:
                raise UserError(
                    f"{path} is not a plain checkpoint (it is damaged, of another kind, or would "
                    "run code when opened); give a fairseq .pt file"
                ) from error
            raise UserError(
                f"{path} holds {asked}, which is code and not data, so it is not opened; give a "
                "checkpoint that holds only tensors and settings"
            ) from error
        except (EOFError, OSError) as error:
            raise DamagedCheckpoint(_TRUNCATED.format(path)) from error
        except Exception as error:
            # Bytes that are no checkpoint make the restricted reader fail in many ways.
            raise UserError(_FOREIGN.format(path)) from error


def _global_in(message: str) -> str | None:
    match = re.search(r"GLOBAL ([\w.]+)", message)
    # torch leaves out the module of built-ins.
    return match and (match[1] if "." in match[1] else f"builtins.{match[1]}")


def _allowed_objects(names: Iterable[str]) -> list[Any]:
    entries: list[Any] = []
    for name in names:
        # omegaconf's nodes differ between the versions that fairseq uses.
        with contextlib.suppress(AttributeError, ImportError):
            entries.append(_entry(name, _resolve(_ALLOWED[name])))
        if name == "numpy.dtype":
            import numpy

            entries += {type(numpy.dtype(code)) for code in "?bBhHiIlLqQefd"}
    return entries


def _resolve(where: str) -> Any:
    module, _, attribute = where.rpartition(".")
    if module == "numpy.core.multiarray":
        # numpy 2 moved it, and asking in the old place gives a warning.
        with contextlib.suppress(ImportError):
            module = importlib.import_module("numpy._core.multiarray").__name__
    return getattr(importlib.import_module(module), attribute)


def _restricts_by_default() -> bool:
    """Whether this is torch 2.6 or later."""
    import torch

    return hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint")


def _plain_dict(*_factory: Any) -> dict[Any, Any]:
    """Replaces defaultdict, which torch's restricted unpickler makes but refuses to fill."""
    return {}


def _entry(name: str, obj: Any) -> Any:
    """What torch's list takes for `obj` to be found under `name`."""
    own = f"{obj.__module__}.{getattr(obj, '__qualname__', getattr(obj, '__name__', ''))}"
    if own == name:
        return obj
    if _restricts_by_default():
        return (obj, name)
    # Before 2.6 the list knows objects only by their own names.
    module, _, attribute = name.rpartition(".")
    if isinstance(obj, type):
        return type(attribute, (obj,), {"__module__": module})

    def renamed(*args: Any) -> Any:
        return obj(*args)

    renamed.__module__ = module
    renamed.__name__ = renamed.__qualname__ = attribute
    return renamed


def _strings_to_evaluate(holder: Any) -> Iterator[tuple[str, str]]:
    stack, seen = [holder], set()
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, argparse.Namespace):
            pairs = list(vars(item).items())
        elif hasattr(item, "items_ex"):
            # A DictConfig: unresolved, because an interpolation may lead nowhere yet.
            pairs = list(item.items_ex(resolve=False))
        elif isinstance(item, Mapping):
            pairs = list(item.items())
        elif isinstance(item, (list, tuple)):
            pairs = [("", element) for element in item]
        else:
            continue
        for key, value in pairs:
            plain = value._value() if hasattr(value, "_value") else value
            if not isinstance(plain, str):
                stack.append(value)
            elif key in _EVALUATED and not plain.startswith("${"):
                yield str(key), plain


def _is_literal(text: str) -> bool:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _LITERAL) for node in ast.walk(tree))
