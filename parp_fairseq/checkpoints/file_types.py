"""Kinds of files that hold weights or masks, told apart by how they begin.

Nothing is read whole, so that a file that was cut off is still one of its kind.
"""

from __future__ import annotations

from pathlib import Path

from parp_fairseq.checkpoints.sparse_form import FORMAT
from parp_fairseq.files import Kind

MASK_FORMAT = "parp-mask"
"""What a mask file's metadata stand under."""

# A zip archive of torch's begins with "NAME/data.pkl".
_ZIP = b"PK\x03\x04"
_FIRST_ENTRY = b"/data.pkl"
# torch 1.5 and older: a pickle that begins with torch's magic number.
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _is_checkpoint(path: Path) -> bool:
    with path.open("rb") as handle:
        start = handle.read(512)
    return start.startswith(_OLD) or (start.startswith(_ZIP) and _FIRST_ENTRY in start)


def _is_sparse_model(path: Path) -> bool:
    return _first_metadata(path, FORMAT)


def _is_mask(path: Path) -> bool:
    return _first_metadata(path, MASK_FORMAT)


def _first_metadata(path: Path, key: str) -> bool:
    """Whether a safetensors file's first metadata is `key`."""
    # The length of the header in eight bytes, then its JSON, which begins with the metadata.
    start = b'{"__metadata__":{"' + key.encode() + b'":'
    with path.open("rb") as handle:
        handle.seek(8)
        return handle.read(len(start)) == start


CHECKPOINT = Kind("a checkpoint", _is_checkpoint)
SPARSE_MODEL = Kind("a sparse model", _is_sparse_model)
MASK_FILE = Kind("a mask file", _is_mask)
