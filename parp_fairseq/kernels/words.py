"""Magnitudes as integers.

Without its sign bit a floating-point number orders as the integer with the same bits does, in every
format: what ranks these *words* ranks magnitudes exactly, in any precision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Floating-point type → the integers that its bits are read as.
INTEGERS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def words(tensor: Tensor) -> Tensor:
    """The magnitudes of a floating-point tensor as integers from 0, of the same shape and width."""
    integers = INTEGERS[tensor.dtype]
    return tensor.view(integers) & torch.iinfo(integers).max


def word_of(value: float, dtype: torch.dtype) -> int:
    """The word of the largest number of `dtype` that is at most `value`, 0 or more."""
    if not math.isfinite(value):
        return infinity(dtype)
    # Rounded to nearest, so it may be one too high.
    nearest = torch.tensor(value, dtype=torch.float64).to(dtype)
    word = int(words(nearest))
    return word - 1 if float(nearest) > value else word


def value_of(word: int, dtype: torch.dtype) -> float:
    """The magnitude that a word of `dtype` stands for."""
    return float(torch.tensor(word, dtype=INTEGERS[dtype]).view(dtype))


def infinity(dtype: torch.dtype) -> int:
    """The word of infinity: words of finite magnitudes are less, those of NaN greater."""
    return int(words(torch.tensor(math.inf, dtype=dtype)))
