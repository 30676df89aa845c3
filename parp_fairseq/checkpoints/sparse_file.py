"""One safetensors file that holds nested subnetworks: where kept values are, these, and the rest.

A tensor with enough zeros is stored as three tensors a level, the sparsest level first:
`NAME:LEVEL:high` and `NAME:LEVEL:low`, the Rice-coded gaps between the entries that this level adds
(`gap_coding`), and `NAME:LEVEL:kept`, their values. Every other tensor is stored as it is. 8-bit
integers that have a `NAME:scale` are multiplied by it, a number a row. Settings, dictionary and
shapes are one JSON text in the metadata. Files of version 1, with `NAME:mask` (a bit an entry) and
`NAME:kept`, are read too.

`docs/sparse-format.md` is the specification. What a file says about itself is checked against it
and against the file's size before any tensor is read; a file that breaks a rule is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parp_fairseq.checkpoints import gap_coding
from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.formats import SPARSE_FORMAT as FORMAT
from parp_fairseq.checkpoints.safe_load import check_evaluated_strings
from parp_fairseq.checkpoints.strict_json import strict_json
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 2
DTYPES = {1: ("fp32", "fp16"), 2: ("fp32", "fp16", "int8")}
"""By version, how floating-point values are stored."""
MASK, HIGH, LOW, KEPT, SCALE = ":mask", ":high", ":low", ":kept", ":scale"

MAX_HEADER = 100_000_000
"""Bytes; what safetensors itself allows."""
MAX_DIMENSIONS, MAX_LEVELS = 8, 100

_FLOATS = ("F64", "F32", "F16", "BF16")
_TYPES = (*_FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")


def read_sparse(path: PathLike, sparsity: float | None = None) -> dict[str, Any]:
    """Read a sparse file into the form that `load_checkpoint` gives, fp16 and int8 values as fp32.

    The sparsest level that is no sparser than `sparsity` is read, and none of the values that
    denser levels add (default: the densest, also where all are sparser). No more memory is asked
    for than the file's bits account for. UserError: missing, truncated, of another kind, or with
    settings that are code.
    """
    from safetensors import SafetensorError

    path = Path(path)
    try:
        about, weights = _read(path, sparsity)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; give one that `parp export --format sparse` wrote"
        ) from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its rights") from error
    except (SafetensorError, ValueError, OSError) as error:
        reason = "".join(c if c.isprintable() else " " for c in str(error))
        reason = " ".join(reason.split())[:160]
        raise UserError(f"{path}: not a readable sparse model ({reason}); copy it again") from error
    if about["dtype"] != "fp32":
        for name, tensor in weights.items():
            weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    state = {
        "args": None,
        "cfg": about["cfg"],
        "model": weights,
        "task_state": {SYMBOLS_KEY: about[SYMBOLS_KEY]},
        "optimizer_history": [{"num_updates": about["updates"]}],
    }
    check_evaluated_strings(path, state)
    return state


def read_about(text: str, path: PathLike) -> dict[str, Any]:
    """Parse the metadata of a sparse file of this version, and check its fields' types.

    Raises:
        ValueError: a field is missing or not what it should be.
        UserError: another version wrote the file `path`.
    """
    about = strict_json(text)
    _must(isinstance(about, dict), f"its {FORMAT} is no object")
    version = about.get("version")
    _must(type(version) is int, f"its version is {version!r} and no integer")
    if version not in DTYPES:
        raise UserError(
            f"{path}: sparse format version {version}, this program reads versions up to "
            f"{VERSION}; update parp-fairseq"
        )
    _must(about.get("dtype") in DTYPES[version], f"its dtype is {about.get('dtype')!r}")
    _must(_is_count(about.get("updates")), f"its updates are {about.get('updates')!r}")
    cfg = about.get("cfg")
    for section in ("model", "task"):
        _must(
            isinstance(cfg, dict) and isinstance(cfg.get(section), dict),
            f"its cfg.{section} is no object",
        )
    labels = cfg["task"].get("labels")
    # It becomes part of a file's name.
    _must(
        labels is None or (isinstance(labels, str) and not set(labels) & set("/\\\0\n")),
        f"its cfg.task.labels are {str(labels)[:60]!r}",
    )
    lists = about.get(SYMBOLS_KEY)
    lists = lists if isinstance(lists, dict) else {}
    symbols: Any = lists.get("symbols")
    counts: Any = lists.get("counts")
    named = isinstance(symbols, list) and all(isinstance(s, str) and s for s in symbols)
    _must(named, "its dictionary has no list of symbols")
    counted = isinstance(counts, list) and all(type(count) is int for count in counts)
    _must(
        counted and len(symbols) == len(counts),
        "its dictionary has no list of counts, one a symbol",
    )
    _must(isinstance(about.get("packed"), dict), "its packed is no object")
    if version == 1:
        # A mask is the unary parts of gaps without low bits.
        about["packed"] = {name: {"shape": s, "low": [0]} for name, s in about["packed"].items()}
        about["levels"] = []
    else:
        levels = about.get("levels")
        _must(
            isinstance(levels, list)
            and 1 <= len(levels) <= MAX_LEVELS
            and all(type(level) in (int, float) and 0 <= level <= 1 for level in levels)
            and all(a > b for a, b in zip(levels, levels[1:])),
            f"its levels are {str(levels)[:60]}",
        )
    for name, said in about["packed"].items():
        shape, lows = (said.get("shape"), said.get("low")) if isinstance(said, dict) else (said, 0)
        _must(
            isinstance(shape, list)
            and 1 <= len(shape) <= MAX_DIMENSIONS
            and all(_is_count(side) and side >= 1 for side in shape),
            f"the shape of {name!r} is {str(shape)[:60]}",
        )
        _must(
            isinstance(lows, list)
            and len(lows) == max(1, len(about["levels"]))
            and all(_is_count(low) and low <= gap_coding.MAX_LOW for low in lows),
            f"the low bits of {name!r} are {str(lows)[:60]}",
        )
    return about


def _read(path: Path, sparsity: float | None) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """What a file says about itself, and its tensors."""
    from safetensors import safe_open

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        rest = os.fstat(file.fileno()).st_size - 8
        _must(length <= rest, f"a header of {length:,} bytes where {max(rest, 0):,} are left")
        _must(length <= MAX_HEADER, f"a header of {length:,} bytes, over {MAX_HEADER:,}")
        # safetensors itself takes a name that is in the header twice.
        strict_json(file.read(length))
    with safe_open(str(path), framework="pt") as handle:
        metadata = handle.metadata() or {}
        if FORMAT not in metadata:
            raise UserError(
                f"{path}: a safetensors file, but no sparse model; write one with "
                "`parp export CKPT --format sparse`"
            )
        about = read_about(metadata[FORMAT], path)
        tensors = {}
        for name in handle.keys():  # noqa: SIM118
            view = handle.get_slice(name)
            tensors[name] = (view.get_dtype(), tuple(view.get_shape()))
        plain = _check_tensors(about, tensors)
        count = MAX_LEVELS
        if sparsity is not None:
            enough = (n for n, level in enumerate(about["levels"], 1) if level <= sparsity)
            count = next(enough, count)

        def dense(name: str) -> Tensor:
            try:
                return _unpacked(handle, about, name, count)
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from error

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # numpy and torch let other threads run meanwhile.
            weights = dict(zip(about["packed"], pool.map(dense, about["packed"])))
        weights.update((name, handle.get_tensor(name)) for name in sorted(plain))
        for name in [name for name in weights if name + SCALE in tensors]:
            scale = handle.get_tensor(name + SCALE)
            _must(bool((scale.isfinite() & (scale > 0)).all()), f"{name + SCALE!r} is not above 0")
            weights[name] = weights[name] * scale.view(-1, *[1] * (weights[name].dim() - 1))
    return about, weights


def level_bytes(path: PathLike) -> list[int]:
    """How much of a file that `read_sparse` reads each level needs, in bytes, the densest first."""
    from safetensors import safe_open

    found = [Path(path).stat().st_size]
    with safe_open(str(path), framework="pt") as handle:
        about = read_about((handle.metadata() or {})[FORMAT], path)
        for level in range(len(about["levels"]) - 1, 0, -1):
            parts = (p for name in about["packed"] for p in _parts(about["version"], name, level))
            found.append(found[-1] - sum(handle.get_tensor(part).nbytes for part in parts))
    return found


def _parts(version: int, name: str, level: int) -> list[str]:
    """The names of a level's unary parts, values and low bits; version 1 has none of the last."""
    if version == 1:
        return [name + MASK, name + KEPT]
    return [f"{name}:{level}{part}" for part in (HIGH, KEPT, LOW)]


def _unpacked(handle: Any, about: Mapping[str, Any], name: str, count: int) -> Tensor:
    """A packed tensor with the values of so many levels."""
    import torch

    said = about["packed"][name]
    left = math.prod(said["shape"])
    free = np.ones(left, np.bool_)
    for level, low in enumerate(said["low"][:count]):
        parts = (handle.get_tensor(part) for part in _parts(about["version"], name, level))
        high, kept, *lows = (part if n == 1 else part.numpy() for n, part in enumerate(parts))
        at = gap_coding.decode(high, lows[0] if lows else high[:0], low, len(kept), left)
        if level == 0:
            dense = torch.zeros(left, dtype=kept.dtype)
        else:
            at = np.flatnonzero(free)[at]
        dense[torch.from_numpy(at)] = kept
        free[at], left = False, left - len(kept)
    return dense.view(said["shape"])


def _check_tensors(
    about: Mapping[str, Any], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> list[str]:
    """Check that the tensors (type and shape) are those that `about` names, as large as it claims.

    Returns the names of those that are stored as they are.
    """
    rest = dict(tensors)
    plain = [name for name in rest if not name.endswith((MASK, HIGH, LOW, KEPT, SCALE))]
    # By name, the types of its values and its shape.
    stored = {name: ({tensors[name][0]}, list(tensors[name][1])) for name in plain}
    for name, said in about["packed"].items():
        _must(name not in tensors, f"{name!r} is a duplicate, packed and not")
        shape, left = said["shape"], math.prod(said["shape"])  # Python's integers do not overflow.
        stored[name] = set(), shape
        for level, low in enumerate(said["low"]):
            parts = _parts(about["version"], name, level)
            for part in parts:
                _must(part in rest, f"{part!r} is missing")
            (of_high, high), (dtype, kept), *lows = (rest.pop(part) for part in parts)
            _must(
                len(kept) == 1 and kept[0] <= left,
                f"{parts[1]!r} has the shape {list(kept)} for {shape}",
            )
            _must(
                of_high == "U8"
                and len(high) == 1
                and gap_coding.accounts_for(high[0], low) >= left,
                f"{parts[0]!r} is {of_high}{list(high)}, which does not hold a mask of {shape}",
            )
            _must(
                lows in ([], [("U8", (gap_coding.low_bytes(kept[0], low),))]),
                f"{parts[-1]!r} does not hold {low} bits of {kept[0]} gaps",
            )
            left -= kept[0]
            stored[name][0].add(dtype)
    for name, (types, shape) in stored.items():
        rest.pop(name, None)
        _must(len(types) == 1, f"the values of {name!r} are of several types")
        (dtype,) = types
        _must(dtype in _TYPES, f"{name!r} is of the type {dtype}")
        fits = about["dtype"] == "fp32" or dtype not in _FLOATS or dtype == "F16"
        _must(fits, f"{name!r} is {dtype} in a file of {about['dtype']}")
        if dtype == "I8" and about["dtype"] == "int8" and name + SCALE in rest:
            fits = bool(shape) and rest.pop(name + SCALE) == ("F32", (shape[0],))
            _must(fits, f"{name + SCALE!r} is not one number a row of {shape}")
    _must(not rest, f"{next(iter(rest), None)!r} belongs to no tensor that its packed names")
    return plain


def _is_count(value: Any) -> bool:
    # True is an int to Python.
    return type(value) is int and value >= 0


def _must(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)
