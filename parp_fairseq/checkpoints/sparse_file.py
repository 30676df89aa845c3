"""One safetensors file that holds a subnetwork: one bit an entry, the kept values, and the rest.

A matrix with enough zeros is stored as two tensors: `NAME:mask`, eight entries a byte (the first is
the highest bit), and `NAME:kept`, the entries whose bit is set, in row-major order. Every other
tensor is stored as it is. An entry's bit is 0 only where all bits of the entry are 0, so that a
negative zero comes back too. Settings, dictionary and shapes are one JSON text in the metadata.

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

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.formats import SPARSE_FORMAT as FORMAT
from parp_fairseq.checkpoints.safe_load import check_evaluated_strings
from parp_fairseq.checkpoints.strict_json import strict_json
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
DTYPES = ("fp32", "fp16")
MASK, KEPT = ":mask", ":kept"

MAX_HEADER = 100_000_000
"""Bytes; what safetensors itself allows."""
MAX_DIMENSIONS = 8

_FLOATS = ("F64", "F32", "F16", "BF16")
_TYPES = (*_FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")
# By an entry's bytes, the integers that show its bits.
_INTEGERS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}
# What a second entry in the file's header costs at most.
_ENTRY_BYTES = 256


def read_sparse(path: PathLike) -> dict[str, Any]:
    """Read a sparse file into the form that `load_checkpoint` gives.

    No more memory is asked for than the file's bits account for.

    Returns:
        {"args": None, "cfg": {"model", "task"}, "model": name → dense tensor, "task_state": the
        dictionary as the task `parp` saves it, "optimizer_history"}. A file of fp16 values gives
        fp32 tensors.

    Raises:
        UserError: missing, truncated, of another kind, or with settings that are code.
    """
    from safetensors import SafetensorError

    path = Path(path)
    try:
        about, weights = _read(path)
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
    if about["dtype"] == "fp16":
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


def pack(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """A matrix's bits (uint8, eight entries a byte) and the entries that are kept.

    None for a vector, and where the two would not be smaller than the tensor itself.

    >>> import torch
    >>> mask, kept = pack((torch.arange(4096.0) * (torch.arange(4096) % 4 == 3)).view(64, 64))
    >>> mask[0].item(), kept[:2].tolist()
    (17, [3.0, 7.0])
    """
    import torch

    from parp_fairseq.kernels import bits

    if tensor.dim() < 2:
        return None
    flat = tensor.reshape(-1)
    size = flat.element_size()
    kept = flat.view(getattr(torch, _INTEGERS[size])) != 0
    smaller = (flat.numel() + 7) // 8 + int(kept.sum()) * size + _ENTRY_BYTES
    if smaller >= flat.numel() * size:
        return None
    return bits.pack(kept), flat[kept]


def unpack(mask: Tensor, kept: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo `pack`.

    Raises:
        ValueError: the bits are too few or too many, are not as many as the entries kept, or one
            is set after the last entry.
    """
    import torch

    from parp_fairseq.kernels import bits

    count = math.prod(shape) if all(side >= 0 for side in shape) else -1
    bits.check(mask, count)
    found = bits.count(mask)
    _must(kept.shape == (found,), f"{kept.numel()} values for {found} entries kept")
    # Faster than by an index of booleans, which is made one of integers first.
    keep = bits.unpack(mask, (count,))
    return torch.zeros(count, dtype=kept.dtype).masked_scatter_(keep, kept).view(shape)


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
    if version != VERSION:
        raise UserError(
            f"{path}: sparse format version {version}, this program reads version {VERSION}; "
            "update parp-fairseq"
        )
    _must(about.get("dtype") in DTYPES, f"its dtype is {about.get('dtype')!r}")
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
    for name, shape in about["packed"].items():
        _must(
            isinstance(shape, list)
            and 1 <= len(shape) <= MAX_DIMENSIONS
            and all(_is_count(side) and side >= 1 for side in shape),
            f"the shape of {name!r} is {str(shape)[:60]}",
        )
    return about


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
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
        packed = {
            name: (*(handle.get_tensor(name + part) for part in (MASK, KEPT)), tuple(shape))
            for name, shape in about["packed"].items()
        }

        def dense(name: str) -> Tensor:
            try:
                return unpack(*packed[name])
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from error

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # numpy and torch let other threads run meanwhile.
            weights = dict(zip(packed, pool.map(dense, packed)))
        weights.update((name, handle.get_tensor(name)) for name in sorted(plain))
    return about, weights


def _check_tensors(
    about: Mapping[str, Any], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> list[str]:
    """Check that the tensors (type and shape) are those that `about` names, as large as it claims.

    Returns:
        The names of those that are stored as they are.
    """
    rest = dict(tensors)
    values = []
    for name, shape in about["packed"].items():
        _must(name not in tensors, f"{name!r} is a duplicate, packed and not")
        for part in (MASK, KEPT):
            _must(name + part in rest, f"{name + part!r} is missing")
        mask, (_, kept) = rest.pop(name + MASK), rest.pop(name + KEPT)
        entries = math.prod(shape)  # Python's integers do not overflow.
        _must(
            mask == ("U8", ((entries + 7) // 8,)),
            f"{name + MASK!r} is {mask[0]}{list(mask[1])}, which does not hold a mask of {shape}",
        )
        _must(
            len(kept) == 1 and kept[0] <= entries,
            f"{name + KEPT!r} has the shape {list(kept)} for {shape}",
        )
        values.append(name + KEPT)
    for name in rest:
        _must(
            not name.endswith((MASK, KEPT)), f"{name!r} belongs to no tensor that its packed names"
        )
    for name in (*values, *rest):
        dtype = tensors[name][0]
        _must(dtype in _TYPES, f"{name!r} is of the type {dtype}")
        fits = about["dtype"] == "fp32" or dtype not in _FLOATS or dtype == "F16"
        _must(fits, f"{name!r} is {dtype} in a file of {about['dtype']}")
    return list(rest)


def _is_count(value: Any) -> bool:
    # True is an int to Python.
    return type(value) is int and value >= 0


def _must(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)
