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
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

_OMEGACONF_NODES = (
    "AnyNode",
    "BooleanNode",
    "BytesNode",
    "EnumNode",
    "FloatNode",
    "IntegerNode",
    "InterpolationResultNode",
    "PathNode",
    "StringNode",
)
_METERS = ("AverageMeter", "SumMeter", "TimeMeter", "StopwatchMeter", "MetersDict")

# Name as pickled → where the class or function lives now. Classes that hold data, nothing else.
_ALLOWED: dict[str, str] = {
    "argparse.Namespace": "argparse.Namespace",
    "collections.defaultdict": "parp_fairseq.checkpoints.safe_load._plain_dict",
    "typing.Any": "typing.Any",
    "fairseq.data.dictionary.Dictionary": "fairseq.data.dictionary.Dictionary",
    "omegaconf.dictconfig.DictConfig": "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig": "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata": "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata": "omegaconf.base.Metadata",
    "numpy.dtype": "numpy.dtype",
    "numpy.core.multiarray.scalar": "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar": "numpy.core.multiarray.scalar",
    **{f"builtins.{n}": f"builtins.{n}" for n in ("bool", "dict", "float", "int", "list", "str")},
    "builtins.tuple": "builtins.tuple",
    **{f"omegaconf.nodes.{n}": f"omegaconf.nodes.{n}" for n in _OMEGACONF_NODES},
    **{f"fairseq.logging.meters.{n}": f"fairseq.logging.meters.{n}" for n in _METERS},
    **{f"fairseq.meters.{n}": f"fairseq.logging.meters.{n}" for n in _METERS},
}

# Importing these costs nothing, so they are always on the list; fairseq's, omegaconf's and
# numpy's join when a file asks for them.
_LIGHT = tuple(n for n in _ALLOWED if n.split(".")[0] in ("argparse", "collections", "typing"))
_LIGHT += tuple(n for n in _ALLOWED if n.startswith("builtins."))

# Configuration strings that fairseq passes to eval().
_EVALUATED = frozenset(
    {"conv_feature_layers", "conv_aggregator_layers", "feature_encoder_spec", "wer_args"}
)
_LITERAL_NODES = (
    ast.Expression,
    ast.List,
    ast.Tuple,
    ast.Constant,
    ast.UnaryOp,
    ast.USub,
    ast.BinOp,
    ast.Add,
    ast.Mult,
    ast.Load,
)


class DamagedCheckpoint(UserError):
    """A checkpoint that is cut off, as a copy is that was interrupted."""


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


def load_checkpoint(path: PathLike, *, mmap: bool = True) -> dict[str, Any]:
    """Read a fairseq checkpoint onto the CPU without running anything that it holds.

    With `mmap` the tensors of a zip checkpoint are mapped from the file and read when they are
    first used; files of torch 1.5 and older are read whole.

    Returns fairseq's state dictionary: `model`, and `cfg` (dict or DictConfig) or `args`
    (Namespace). Raises UserError when the file is missing, truncated, of another kind, or holds
    something that could run code.
    """
    path = Path(path)
    state = _unpickle(path, mmap=mmap)
    _check_is_fairseq(path, state)
    check_evaluated_strings(path, state)
    return state


# --- reading -------------------------------------------------------------------------------


def _unpickle(path: Path, *, mmap: bool) -> Any:
    is_zip = check_readable(path)

    import torch

    names: list[str] = list(_LIGHT)
    while True:
        try:
            # Leaving the context takes its entries off torch's list, even if they stood there.
            known = torch.serialization.get_safe_globals()
            more = [entry for entry in _allowed_objects(names) if entry not in known]
            with _quiet(), torch.serialization.safe_globals(more):
                return torch.load(
                    str(path), map_location="cpu", mmap=mmap and is_zip, weights_only=True
                )
        except pickle.UnpicklingError as error:
            asked = _global_in(str(error))
            if asked in _ALLOWED and asked not in names:
                names.append(asked)
                continue
            raise _refusal(path, asked) from error
        except (EOFError, OSError) as error:
            raise DamagedCheckpoint(_truncated(path)) from error
        except Exception as error:
            # Bytes that are no checkpoint make the restricted reader fail in many ways.
            raise UserError(_foreign(path)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on pickle protocols: what is wrong is said in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def check_readable(path: PathLike) -> bool:
    """Check, without torch, that a file begins as a checkpoint does.

    Returns:
        True for a zip checkpoint, False for one of torch 1.5 and older.

    Raises:
        UserError: it is missing, a folder, empty, cut off or of another kind.
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
    if magic == b"PK\x03\x04":
        if not zipfile.is_zipfile(path):
            raise DamagedCheckpoint(_truncated(path))
        return True
    if magic[:1] != b"\x80":
        raise UserError(_foreign(path))
    return False


def _truncated(path: Path) -> str:
    return f"{path} is truncated or damaged; copy or download it again"


def _foreign(path: Path) -> str:
    return f"{path} is not a checkpoint that torch wrote; give a fairseq .pt file"


def _global_in(message: str) -> str | None:
    match = re.search(r"GLOBAL ([\w.]+)", message)
    if not match:
        return None
    name = match.group(1)
    # torch leaves the module away for built-ins.
    return name if "." in name else f"builtins.{name}"


def _refusal(path: Path, name: str | None) -> UserError:
    if name is None:
        return UserError(
            f"{path} is not a plain checkpoint (it is damaged, of another kind, or would run "
            "code when opened); give a fairseq .pt file"
        )
    return UserError(
        f"{path} holds {name}, which is code and not data, so it is not opened; give a checkpoint "
        "that holds tensors and settings alone"
    )


def _allowed_objects(names: Any) -> list[Any]:
    entries: list[Any] = []
    for name in names:
        # omegaconf's nodes differ between the versions that fairseq uses.
        with contextlib.suppress(AttributeError, ImportError):
            entries.append(_entry(name, _resolve(_ALLOWED[name])))
        if name == "numpy.dtype":
            entries.extend(_numpy_dtype_classes())
    return entries


def _resolve(where: str) -> Any:
    import importlib

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
    """Stands for defaultdict, which torch's restricted unpickler makes but refuses to fill."""
    return {}


def _entry(name: str, obj: Any) -> Any:
    """What torch's list takes for `obj` to be found under `name`."""
    own = f"{obj.__module__}.{getattr(obj, '__qualname__', getattr(obj, '__name__', ''))}"
    if own == name:
        return obj
    if _restricts_by_default():
        return (obj, name)
    # Before 2.6 the list knows objects by their own names alone.
    module, _, attribute = name.rpartition(".")
    if isinstance(obj, type):
        return type(attribute, (obj,), {"__module__": module})

    def renamed(*args: Any) -> Any:
        return obj(*args)

    renamed.__module__ = module
    renamed.__name__ = renamed.__qualname__ = attribute
    return renamed


def _numpy_dtype_classes() -> list[type]:
    import numpy

    codes = ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d")
    return list({type(numpy.dtype(code)) for code in codes})


# --- what was read -------------------------------------------------------------------------


def _check_is_fairseq(path: Path, state: Any) -> None:
    if not isinstance(state, dict):
        raise UserError(
            f"{path} holds a {type(state).__name__} and no fairseq checkpoint; give a fairseq "
            ".pt file"
        )
    if not isinstance(state.get("model"), dict):
        keys = ", ".join(str(key) for key in list(state)[:3])
        raise UserError(
            f"{path} is not a fairseq checkpoint: it has no 'model' (its keys: {keys}, …); give "
            "the original fairseq .pt file, not one converted for another library"
        )
    if state.get("cfg") is None and state.get("args") is None:
        raise UserError(
            f"{path} has weights but neither 'cfg' nor 'args', so the model cannot be built; "
            "give the original fairseq .pt file"
        )


def check_evaluated_strings(path: Path, state: Mapping[str, Any]) -> None:
    """Raise UserError where a setting that fairseq passes to eval() is more than a literal."""
    for part in ("cfg", "args"):
        for key, value in _strings_to_evaluate(state.get(part)):
            if not _is_literal(value):
                raise UserError(
                    f"{path}: its setting {key} is {value[:60]!r}, which is code and not a list "
                    "of numbers, so it is not opened"
                )


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
            if isinstance(plain, str):
                if key in _EVALUATED and not plain.startswith("${"):
                    yield str(key), plain
            else:
                stack.append(value)


def _is_literal(text: str) -> bool:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, _LITERAL_NODES) for node in ast.walk(tree))
