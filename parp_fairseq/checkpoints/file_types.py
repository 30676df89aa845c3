"""Types of files that hold weights or masks, recognised by their first bytes.

Nothing is read whole, so a file that was cut off is still recognised.
"""

from __future__ import annotations

from pathlib import Path

from parp_fairseq.checkpoints.sparse_file import FORMAT
from parp_fairseq.files import Kind

MASK_FORMAT = "parp-mask"
"""The key of a mask file's metadata."""

# A zip archive of torch's begins with "NAME/data.pkl".
_ZIP, _FIRST_ENTRY = b"PK\x03\x04", b"/data.pkl"
# torch 1.5 and older: a pickle that begins with torch's magic number.
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _is_checkpoint(path: Path) -> bool:
    with path.open("rb") as handle:
        start = handle.read(512)
    return start.startswith(_OLD) or (start.startswith(_ZIP) and _FIRST_ENTRY in start)


def _safetensors(name: str, key: str) -> Kind:
    """The kind of a safetensors file whose first metadata is `key`."""
    # The length of the header in eight bytes, then its JSON, which begins with the metadata.
    start = b'{"__metadata__":{"' + key.encode() + b'":'

    def is_one(path: Path) -> bool:
        with path.open("rb") as handle:
            handle.seek(8)
            return handle.read(len(start)) == start

    return Kind(name, is_one)


CHECKPOINT = Kind("a checkpoint", _is_checkpoint)
SPARSE_MODEL = _safetensors("a sparse model", FORMAT)
MASK_FILE = _safetensors("a mask file", MASK_FORMAT)
