"""The smallest sparse file, put together by hand, so that each of its bytes can lie."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

ABOUT: dict[str, Any] = {
    "version": 1,
    "dtype": "fp32",
    "packed": {"w": [3, 3]},
    "updates": 7,
    "cfg": {"model": {"_name": "wav2vec_ctc"}, "task": {"labels": "ltr"}},
    "parp_symbols": {"symbols": ["|", "E"], "counts": [5, 3]},
}
DENSE = np.array([[0, 1.5, 0], [0, 0, -2], [-0.0, 0, 0]], np.float32)
BIAS = np.array([0.5, 0.25], np.float32)
# 010 001 100 and seven bits of padding.
TENSORS: dict[str, tuple[str, list[int], bytes]] = {
    "bias": ("F32", [2], BIAS.tobytes()),
    "w:kept": ("F32", [3], np.array([1.5, -2, -0.0], np.float32).tobytes()),
    "w:mask": ("U8", [2], bytes([0b01000110, 0b00000000])),
}


def about(**changes: Any) -> dict[str, Any]:
    """A copy of ABOUT with some of its fields changed; None takes one out."""
    made = {**copy.deepcopy(ABOUT), **changes}
    return {key: value for key, value in made.items() if value is not None}


def file_of(
    text: Any = ABOUT,
    tensors: dict[str, tuple[str, Any, bytes]] | None = None,
    *,
    header: str | bytes | None = None,
    length: int | None = None,
    key: str = "parp-sparse",
) -> bytes:
    """A safetensors file: its metadata (JSON or a text), its tensors, or a header of one's own."""
    tensors = TENSORS if tensors is None else tensors
    data = b"".join(content for _, _, content in tensors.values())
    if header is None:
        if not isinstance(text, str):
            text = json.dumps(text, separators=(",", ":"), ensure_ascii=False)
        entries: dict[str, Any] = {"__metadata__": {key: text}}
        at = 0
        for name, (dtype, shape, content) in tensors.items():
            offsets = [at, at + len(content)]
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
            at += len(content)
        header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False)
    head = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    head += b" " * (-len(head) % 8)
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data
