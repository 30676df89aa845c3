"""The compiled kernels: loaded once, at the level that fits this processor, and called."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.kernels.build import LEVELS, NAME, SOURCES, sources_digest

# What to use instead of the fastest: a level, or "reference" for only torch.
VARIABLE = "PARP_KERNELS"
REFERENCE = "reference"
BINARY = Path(__file__).resolve().parent / NAME
# Entries that a thread takes at a time: a multiple of 64, for kernels work on 64 at a time.
TILE = 1 << 16

Kernel = Callable[..., int]


class KernelsError(ValueError):
    """What PARP_KERNELS asks for cannot be had.

    Attributes:
        problem: the message, where `parp_fairseq.errors.reported` looks for it.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def kernel(name: str) -> Kernel | None:
    """The compiled function `name`; None where the reference in torch is to be used.

    Arguments are contiguous numpy arrays, 64-bit integers and addresses (`Tensor.data_ptr()`), the
    result is a 64-bit integer. Python's lock is free meanwhile.

    Raises:
        KernelsError: PARP_KERNELS asks for what cannot be had.
    """
    return _kernel(name, level())


def level() -> str:
    """The level in use: "avx512", "avx2", "portable", or "reference" where nothing is loaded.

    Raises:
        KernelsError: PARP_KERNELS asks for what cannot be had.
    """
    return _level(os.environ.get(VARIABLE, ""))


def available() -> list[str]:
    """The levels that were built and that this processor has, slowest first."""
    library = _library()
    if library is None:
        return []
    order = list(LEVELS)
    fastest = order.index(library.parp_supported().decode())
    return [name for name in library.parp_built().decode().split() if order.index(name) <= fastest]


def threads() -> int:
    """How many threads a kernel may use: as many as torch."""
    return torch.get_num_threads()


class Batch:
    """Addresses of contiguous CPU tensors, where each starts when all are laid end to end, and how
    they are cut into tiles (csrc/words.h)."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)  # kept, for the addresses are theirs
        self.pointers = addresses(self.tensors)
        sizes = [tensor.numel() for tensor in tensors]
        self.starts = _sums(sizes)
        self.tiles = _sums(-(-size // TILE) for size in sizes)
        self.widths = np.array([tensor.element_size() for tensor in tensors], np.int64)

    def arguments(self) -> tuple[object, ...]:
        """What every kernel over several arrays begins with."""
        return self.pointers, self.starts, self.tiles, len(self.tensors), TILE


def addresses(tensors: Sequence[Tensor]) -> np.ndarray:
    """The addresses of CPU tensors as an array of pointers."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.uint64)


def serving(tensors: Sequence[Tensor], name: str) -> Kernel | None:
    """The kernel `name`; None where the reference is to be used: nothing compiled, or a GPU.

    With tensors on a GPU the kernel is not looked up, so no line says that it is missing.
    """
    return None if not tensors or any(map(is_remote, tensors)) else kernel(name)


def is_remote(tensor: Tensor) -> bool:
    """Whether a tensor is where kernels do not reach: on a GPU."""
    return tensor.device.type != "cpu"


def _sums(sizes) -> np.ndarray:
    return np.cumsum([0, *sizes], dtype=np.int64)


@functools.cache
def _level(wanted: str) -> str:
    if wanted not in ("", REFERENCE, *LEVELS):
        raise KernelsError(
            f"{VARIABLE} is {wanted!r}; use {', '.join((REFERENCE, *LEVELS))}, or leave it unset"
        )
    if wanted == REFERENCE:
        return REFERENCE
    levels = available()
    if wanted and wanted not in levels:
        raise KernelsError(
            f"{VARIABLE} is {wanted!r}, but here there is {', '.join((REFERENCE, *levels))} only"
        )
    return wanted or (levels[-1] if levels else REFERENCE)


@functools.cache
def _kernel(name: str, level: str) -> Kernel | None:
    if level == REFERENCE:
        return None
    function = getattr(_library(), f"{name}_{level}")
    function.restype = ctypes.c_int64
    return lambda *arguments: function(*map(_argument, arguments))


def _argument(value: object) -> object:
    # The caller's array lives as long as the call: an address made earlier would not keep it.
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    # ctypes would pass a plain int as 32 bits.
    return ctypes.c_int64(value) if isinstance(value, int) else value


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The library, or None after a line on standard error that says what to do."""
    try:
        library = ctypes.CDLL(str(BINARY))
    except OSError:
        reason = "are not built" if not BINARY.exists() else "do not load on this machine"
        return _without(reason)
    for name in ("parp_supported", "parp_built", "parp_sources"):
        getattr(library, name).restype = ctypes.c_char_p
    library.parp_use_team.argtypes = [ctypes.c_void_p]
    if SOURCES.is_dir() and library.parp_sources().decode() != sources_digest():
        return _without("were built from other sources than those in csrc/")
    library.parp_use_team(_torch_team())
    return library


def _without(reason: str) -> None:
    print(
        f"parp: the kernels {reason}: pruning and sparse inference are slower, with the same "
        "results; install a C++ compiler (Debian, Ubuntu: apt-get install g++) and run "
        "python -m parp_fairseq.kernels.build",
        file=sys.stderr,
        flush=True,
    )


def _torch_team() -> int | None:
    """The address of GOMP_parallel in the OpenMP that torch itself uses; None where it has none."""
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))
    for path in libraries:
        try:
            function = ctypes.CDLL(str(path)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None
