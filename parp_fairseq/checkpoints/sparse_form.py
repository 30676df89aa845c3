"""What a sparse file says about itself, checked before any of its tensors is read.

`docs/sparse-format.md` has the rules; a file that breaks one is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.strict_json import strict_json

FORMAT = "parp-sparse"
VERSION = 1
DTYPES = ("fp32", "fp16")
MASK, KEPT = ":mask", ":kept"

MAX_HEADER = 100_000_000
"""Bytes; what safetensors itself allows."""
MAX_DIMENSIONS = 8

_FLOATS = ("F64", "F32", "F16", "BF16")
_TYPES = (*_FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")


@dataclass(frozen=True)
class Stored:
    """A tensor of a safetensors file, as its header has it."""

    dtype: str
    shape: tuple[int, ...]


def check_header(path: Path) -> None:
    """Check what safetensors does not: that no name or key stands twice in the header.

    Raises:
        ValueError: one does, or the header is not what `strict_json` takes, or is longer than
            the file or than MAX_HEADER.
    """
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        rest = os.fstat(handle.fileno()).st_size - 8
        if length > rest:
            raise ValueError(f"a header of {length:,} bytes where {max(rest, 0):,} are left")
        if length > MAX_HEADER:
            raise ValueError(f"a header of {length:,} bytes, over {MAX_HEADER:,}")
        strict_json(handle.read(length))


def read_about(text: str) -> dict[str, Any]:
    """Parse the metadata of a sparse file of this version, and check its fields' types.

    Raises:
        ValueError: a field is missing or not what it should be.
        NewerVersion: the version is not VERSION.
    """
    about = strict_json(text)
    _must(isinstance(about, dict), f"its {FORMAT} is no object")
    version = about.get("version")
    _must(type(version) is int, f"its version is {version!r} and no integer")
    if version != VERSION:
        raise NewerVersion(version)
    _must(about.get("dtype") in DTYPES, f"its dtype is {about.get('dtype')!r}")
    updates = about.get("updates")
    _must(_is_count(updates), f"its updates are {updates!r}")
    _check_settings(about.get("cfg"))
    _check_symbols(about.get(SYMBOLS_KEY))
    packed = about.get("packed")
    if not isinstance(packed, dict):
        raise ValueError("its packed is no object")
    for name, shape in packed.items():
        _must(
            isinstance(shape, list)
            and 1 <= len(shape) <= MAX_DIMENSIONS
            and all(_is_count(side) and side >= 1 for side in shape),
            f"the shape of {name!r} is {str(shape)[:60]}",
        )
    return about


class NewerVersion(Exception):
    """A version that this program does not read; its argument is the version."""


def check_tensors(about: Mapping[str, Any], tensors: Mapping[str, Stored]) -> None:
    """Check that the tensors are those that `about` names, of the sizes that it claims.

    Args:
        about: what `read_about` returned.
        tensors: name → what the file's header says of it.

    Raises:
        ValueError: a part is missing, surplus, of another type or size; or a name stands for two
            tensors.
    """
    rest = dict(tensors)
    for name, shape in about["packed"].items():
        _must(name not in tensors, f"{name!r} is there twice, packed and not")
        for part in (MASK, KEPT):
            _must(name + part in rest, f"{name + part!r} is missing")
        mask, kept = rest.pop(name + MASK), rest.pop(name + KEPT)
        entries = 1
        for side in shape:
            entries *= side  # Python's integers do not overflow.
        _must(
            mask.dtype == "U8" and mask.shape == ((entries + 7) // 8,),
            f"{name + MASK!r} is {mask.dtype}{list(mask.shape)}, which does not hold a mask of "
            f"{shape}",
        )
        _must(
            len(kept.shape) == 1 and kept.shape[0] <= entries,
            f"{name + KEPT!r} has the shape {list(kept.shape)} for {shape}",
        )
        _check_type(name + KEPT, kept, about["dtype"])
    for name, stored in rest.items():
        _must(
            not name.endswith((MASK, KEPT)), f"{name!r} belongs to no tensor that its packed names"
        )
        _check_type(name, stored, about["dtype"])


def _check_type(name: str, stored: Stored, dtype: str) -> None:
    _must(stored.dtype in _TYPES, f"{name!r} is of the type {stored.dtype}")
    _must(
        dtype == "fp32" or stored.dtype not in _FLOATS or stored.dtype == "F16",
        f"{name!r} is {stored.dtype} in a file of {dtype}",
    )


def _check_settings(cfg: Any) -> None:
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


def _check_symbols(lists: Any) -> None:
    lists = lists if isinstance(lists, dict) else {}
    symbols, counts = lists.get("symbols"), lists.get("counts")
    if not isinstance(symbols, list) or not all(isinstance(s, str) and s for s in symbols):
        raise ValueError("its dictionary has no list of symbols")
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise ValueError("its dictionary has no list of counts")
    _must(
        len(symbols) == len(counts),
        f"its dictionary has {len(symbols)} symbols and {len(counts)} counts",
    )


def _is_count(value: Any) -> bool:
    # True is an int to Python.
    return type(value) is int and value >= 0


def _must(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)
