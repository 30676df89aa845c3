#!/usr/bin/env python3
"""Read a file of `parp export --format sparse` with only numpy and safetensors.

    python examples/read_sparse.py model.safetensors [SPARSITY]

prints the name, shape and sparsity of its tensors: of its densest level, or of the sparsest that is
no sparser than SPARSITY. docs/sparse-format.md specifies the file.
"""

import json
import math
import sys

import numpy as np
from safetensors import SafetensorError, safe_open

PARTS = (":mask", ":high", ":low", ":kept", ":scale")


def places(high, lows, low, kept, free):
    """Which of so many free entries are kept; checked before memory is taken for these."""
    if high.dtype != np.uint8 or high.ndim != 1 or not 0 <= low <= 7 or len(high) * 8 << low < free:
        raise ValueError(f"bits of {high.shape} for {free} entries")
    ones, bits = np.flatnonzero(np.unpackbits(high)), np.unpackbits(lows)
    if len(ones) != kept or bits[kept * low :].any():
        raise ValueError(f"{len(ones)} entries kept, {kept} values")
    order = np.arange(kept)
    below = bits[: kept * low].reshape(kept, low) @ (1 << np.arange(low)[::-1])
    found = (ones - order << low) + order + np.cumsum(below, dtype=np.int64)
    if kept and found[-1] >= free:
        raise ValueError(f"an entry is kept after the last of {free}")
    return found


def unpacked(file, name, shape, lows):
    """A tensor with the values of these levels; version 1 has one, with a bit an entry."""
    dense, left = None, math.prod(shape)
    for level, low in enumerate(lows):
        parts = [f"{name}:{level}{part}" for part in PARTS[1:4]]
        if low is None:
            parts = name + ":mask", None, name + ":kept"
        high, below, kept = (
            file.get_tensor(part) if part else np.zeros(0, np.uint8) for part in parts
        )
        at = places(high, below, low or 0, len(kept), left)
        if dense is None:
            dense, free = np.zeros(left, kept.dtype), np.ones(left, bool)
        at = np.flatnonzero(free)[at]
        dense[at], free[at], left = kept, False, left - len(kept)
    return dense.reshape(shape)


def read_sparse(path, sparsity=None):
    """Return name → dense array. Raises ValueError or SafetensorError for any other file."""
    with safe_open(path, framework="np") as file:
        try:
            about = json.loads((file.metadata() or {})["parp-sparse"])
            if about["version"] not in (1, 2):
                raise ValueError(f"version {about['version']}, not 1 or 2")
            names = list(file.keys())
            arrays = {name: file.get_tensor(name) for name in names if not name.endswith(PARTS)}
            for name, said in about["packed"].items():
                shape, lows = (
                    (said, [None]) if about["version"] == 1 else (said["shape"], said["low"])
                )
                if sparsity is not None:  # Levels fall: nothing is read that only denser ones have.
                    lows = lows[: 1 + sum(level > sparsity for level in about.get("levels", []))]
                arrays[name] = unpacked(file, name, shape, lows)
            for name in [name for name in arrays if name + ":scale" in names]:
                scale, rows = file.get_tensor(name + ":scale"), arrays[name]
                arrays[name] = rows * scale.reshape(-1, *[1] * (rows.ndim - 1))
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"{path}: no sparse file of version 1 or 2 ({error!r})") from error
    return arrays


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/read_sparse.py model.safetensors [SPARSITY]")
    try:
        read = read_sparse(sys.argv[1], *map(float, sys.argv[2:]))
        for name, array in sorted(read.items()):
            zeros = 1 - np.count_nonzero(array) / max(array.size, 1)
            print(f"{name:<72} {array.shape!s:>16} {zeros:8.2%}")
    except (OSError, ValueError, SafetensorError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
