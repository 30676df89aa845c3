"""Masks at one bit an entry: packed tensors, eight entries a byte, first entry highest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.pruning.blocks import each_block

_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


def pack(keep: Tensor) -> Tensor:
    """Return a bool tensor of n entries as (n + 7) // 8 bytes (uint8) on its device.

    Bits behind the last entry are 0.
    """
    flat = keep.reshape(-1)
    if flat.device.type == "cpu":
        return torch.from_numpy(np.packbits(flat.numpy()))
    padded = torch.nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % 8))
    return (padded.view(-1, 8) << _shifts(flat.device)).sum(1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """Return packed bits as a bool tensor of `shape` on their device."""
    count = int(np.prod(shape, dtype=np.int64))
    if bits.device.type == "cpu":
        flat = torch.from_numpy(np.unpackbits(bits.numpy(), count=count).view(np.bool_))
    else:
        flat = ((bits.unsqueeze(1) >> _shifts(bits.device)) & 1).reshape(-1)[:count].bool()
    return flat.view(tuple(shape))


def ones(bits: Tensor) -> int:
    """Count the bits that are set."""
    if bits.device.type == "cpu":
        array = bits.numpy()
        if not hasattr(np, "bitwise_count"):
            return int(_ONES[array].sum(dtype=np.int64))
        whole = array.size // 8 * 8
        words = int(np.bitwise_count(array[:whole].view(np.uint64)).sum(dtype=np.int64))
        return words + int(np.bitwise_count(array[whole:]).sum(dtype=np.int64))
    return int(torch.from_numpy(_ONES).to(bits.device)[bits.long()].sum())


def zero_unset(tensors: Sequence[Tensor], bits: Sequence[Tensor]) -> None:
    """Set to zero, in place, what the packed bits of each tensor leave unset."""
    tensors = [tensor.detach() for tensor in tensors]
    fast = [_is_plain(tensor) for tensor in tensors]
    for tensor, packed, plain in zip(tensors, bits, fast):
        if not plain:
            tensor.masked_fill_(~unpack(packed, tensor.shape), 0)
    words = [t.view(-1).numpy().view(np.int32) for t, plain in zip(tensors, fast) if plain]
    packs = [packed.numpy() for packed, plain in zip(bits, fast) if plain]

    def zero(blocks: list[tuple[int, int, int]]) -> None:
        for index, start, stop in blocks:
            word = words[index][start:stop]
            # 1 → all bits, 0 → none; numpy widens it with its sign.
            keep = np.unpackbits(packs[index][start // 8 : (stop + 7) // 8], count=stop - start)
            keep = np.negative(keep.view(np.int8))
            np.bitwise_and(word, keep, out=word)

    each_block([word.size for word in words], zero)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous()


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
