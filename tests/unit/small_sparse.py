"""The smallest sparse file, put together by hand, so that each of its bytes can lie."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

ABOUT: dict[str, Any] = {
    "version": 2,
    "dtype": "int8",
    "levels": [0.8, 0.5],
    "packed": {"w": {"shape": [2, 5], "low": [1, 0]}},
    "updates": 7,
    "cfg": {"model": {"_name": "wav2vec_ctc"}, "task": {"labels": "ltr"}},
    "parp_symbols": {"symbols": ["|", "E"], "counts": [5, 3]},
}
DENSE = np.array([[0, 1.5, 0, 1, 0], [-31.75, 0, 0, 0.25, 31.75]], np.float32)
SPARSER = np.array([[0, 0, 0, 0, 0], [-31.75, 0, 0, 0, 31.75]], np.float32)
BIAS = np.array([0.5, 0.25], np.float32)
TENSORS: dict[str, tuple[str, list[int], bytes]] = {
    "w:scale": ("F32", [2], np.array([0.5, 0.25], np.float32).tobytes()),
    "bias": ("F16", [2], BIAS.astype(np.float16).tobytes()),
    # Gaps 5 and 3 before the entries 5 and 9: halves 2 and 1 in unary, the low bits 1 and 1.
    "w:0:high": ("U8", [1], bytes([0b00101000])),
    "w:0:kept": ("I8", [2], np.array([-127, 127], np.int8).tobytes()),
    "w:0:low": ("U8", [1], bytes([0b11000000])),
    # Of the eight others these are kept: 1, 3 and 7.
    "w:1:high": ("U8", [1], bytes([0b01010001])),
    "w:1:kept": ("I8", [3], np.array([3, 2, 1], np.int8).tobytes()),
    "w:1:low": ("U8", [0], b""),
}

# The same of version 1: 010 001 100 and seven bits of padding.
ABOUT_1 = {**ABOUT, "version": 1, "dtype": "fp32", "packed": {"w": [3, 3]}}
del ABOUT_1["levels"]
DENSE_1 = np.array([[0, 1.5, 0], [0, 0, -2], [-0.0, 0, 0]], np.float32)
TENSORS_1: dict[str, tuple[str, list[int], bytes]] = {
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
