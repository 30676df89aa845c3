"""Mask: which entries of which tensors are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.errors import UserError
from parp_fairseq.pruning.scope import canonical_name

FORMAT = "parp-mask"
VERSION = 1


class Mask(Mapping[str, Tensor]):
    """A pruning mask: name → bool tensor, True where the entry is kept.

    Iterates in the order of names (sorted as strings).
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise TypeError unless every tensor is bool."""
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise TypeError(f"mask of {name} is {tensor.dtype}, not bool")
        self._tensors = {name: tensors[name] for name in sorted(tensors)}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Mask({len(self)} tensors, {self.numel:,} entries, sparsity {self.sparsity:.4f})"

    @property
    def numel(self) -> int:
        """Number of entries."""
        return sum(tensor.numel() for tensor in self.values())

    @property
    def kept(self) -> int:
        """Number of entries kept."""
        return sum(int(tensor.sum()) for tensor in self.values())

    @property
    def sparsity(self) -> float:
        """Share of entries pruned, in [0, 1]; 0.0 for a mask without entries."""
        return 1.0 - self.kept / self.numel if self.numel else 0.0

    def equal(self, other: Mask) -> bool:
        """Whether both hold the same names and the same entries."""
        return list(self) == list(other) and all(
            torch.equal(self[name].cpu(), other[name].cpu()) for name in self
        )

    def renamed(self, names: Mapping[str, tuple[int, ...]], source: str) -> Mask:
        """Return this mask under the names of a model's parameters.

        Names with and without the prefixes of a fine-tuned model meet.

        Args:
            names: the model's prunable parameters, name → shape.
            source: what to call this mask in an error: its file.

        Raises:
            UserError: a name is missing or left over, or a shape differs.
        """
        own = {canonical_name(name): tensor for name, tensor in self.items()}
        wanted = {canonical_name(name): name for name in names}
        missing = sorted(set(wanted) - set(own))
        surplus = sorted(set(own) - set(wanted))
        if missing or surplus:
            what = f"has no mask for {missing[0]}" if missing else f"also masks {surplus[0]}"
            raise UserError(
                f"{source}: this mask {what}, so it does not fit the model's prunable weights; "
                "use a mask of the same model and scope (task.prune.include/exclude/biases)"
            )
        for short, name in wanted.items():
            if tuple(own[short].shape) != tuple(names[name]):
                raise UserError(
                    f"{source}: the mask of {short} has shape {tuple(own[short].shape)} and the "
                    f"model's tensor {tuple(names[name])}; use a mask of the same model"
                )
        return Mask({name: own[short] for short, name in wanted.items()})

    def packed(self) -> dict[str, Tensor]:
        """Return name → uint8 tensor on the CPU, eight entries a byte, first entry highest."""
        return {
            name: torch.from_numpy(np.packbits(tensor.cpu().numpy().reshape(-1)))
            for name, tensor in self.items()
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Mask:
        """Undo `packed`; `shapes` gives each tensor's shape.

        Raises:
            ValueError: names differ or a tensor holds too few or too many bytes.
        """
        if set(packed) != set(shapes):
            raise ValueError("names of packed masks and of shapes differ")
        tensors = {}
        for name, shape in shapes.items():
            count = int(np.prod(shape, dtype=np.int64))
            data = packed[name]
            if data.dtype != torch.uint8 or data.numel() != (count + 7) // 8:
                raise ValueError(f"{name}: {data.numel()} bytes do not hold a mask of {shape}")
            bits = np.unpackbits(data.numpy(), count=count).astype(bool)
            tensors[name] = torch.from_numpy(bits).view(shape)
        return cls(tensors)

    def save(self, path: str | os.PathLike[str], info: Mapping[str, Any] | None = None) -> None:
        """Write a bit-packed safetensors file, beside first and then renamed.

        Args:
            path: the file to write.
            info: what else to tell about the mask (method, scope, source…), JSON values.
        """
        from safetensors.torch import save

        short = {canonical_name(name): tensor for name, tensor in self.packed().items()}
        about = {
            "version": VERSION,
            "shapes": {canonical_name(name): list(mask.shape) for name, mask in self.items()},
            "info": {"sparsity": self.sparsity, **(info or {})},
        }
        # One entry alone: safetensors writes several in an order that changes.
        metadata = {FORMAT: json.dumps(about)}
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(save(short, metadata=metadata))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> tuple[Mask, dict[str, Any]]:
        """Read a file written by `save`; return the mask (on the CPU) and its info.

        Raises:
            UserError: the file is missing, truncated or not a mask.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such mask file")
        try:
            with safe_open(str(path), framework="pt") as handle:
                metadata = handle.metadata() or {}
                if FORMAT not in metadata:
                    raise UserError(
                        f"{path}: a safetensors file, but not a mask; make one with `parp mask`"
                    )
                about = json.loads(metadata[FORMAT])
                if about["version"] != VERSION:
                    raise UserError(
                        f"{path}: mask format version {about['version']}, this program "
                        f"reads version {VERSION}; update parp-fairseq"
                    )
                shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
                packed = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
                return cls.unpacked(packed, shapes), about["info"]
        except (SafetensorError, ValueError, KeyError, OSError) as error:
            raise UserError(f"{path}: not a readable mask file ({error})") from error


def iou(a: Mask, b: Mask) -> float:
    """Return |a and b| / |a or b| over kept entries (paper, equation 1); 1.0 if both keep none.

    Raises:
        ValueError: the masks cover different tensors.
    """
    if list(a) != list(b):
        raise ValueError("the masks cover different tensors")
    both = sum(int((a[name] & b[name].to(a[name].device)).sum()) for name in a)
    either = sum(int((a[name] | b[name].to(a[name].device)).sum()) for name in a)
    return both / either if either else 1.0
