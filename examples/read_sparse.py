#!/usr/bin/env python3
"""Read a file of `parp export --format sparse` with only numpy and safetensors.

    python examples/read_sparse.py model.safetensors

prints the name, shape and sparsity of its tensors. docs/sparse-format.md specifies the file.
"""

import json
import math
import sys

import numpy as np
from safetensors import SafetensorError, safe_open


def read_sparse(path):
    """Return name → dense array. Raises ValueError or SafetensorError for any other file."""
    with safe_open(path, framework="np") as file:
        try:
            about = json.loads((file.metadata() or {})["parp-sparse"])
            if about["version"] != 1:
                raise ValueError(f"version {about['version']}, not 1")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            for name, shape in about["packed"].items():
                bits, kept = arrays.pop(f"{name}:mask"), arrays.pop(f"{name}:kept")
                size = math.prod(shape)  # Checked against the file before memory is taken.
                if size < 0 or bits.dtype != np.uint8 or bits.shape != ((size + 7) // 8,):
                    raise ValueError(f"{name}: its bits are not those of {shape}")
                where = np.unpackbits(bits).astype(bool)
                if where[size:].any() or kept.shape != (np.count_nonzero(where),):
                    raise ValueError(f"{name}: {kept.shape} values for its bits")
                dense = np.zeros(size, kept.dtype)
                dense[where[:size]] = kept
                arrays[name] = dense.reshape(shape)
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"{path}: no sparse file of version 1 ({error!r})") from error
    return arrays


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/read_sparse.py model.safetensors")
    try:
        for name, array in sorted(read_sparse(sys.argv[1]).items()):
            zeros = 1 - np.count_nonzero(array) / max(array.size, 1)
            print(f"{name:<72} {array.shape!s:>16} {zeros:8.2%}")
    except (OSError, ValueError, SafetensorError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
