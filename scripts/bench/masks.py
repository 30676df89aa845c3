#!/usr/bin/env python3
"""Time masks as files: load two of XLSR's size and compare them, as bits and as bool tensors."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from parp_fairseq.masks.files import load_mask, save_mask
from parp_fairseq.pruning import Mask, iou
from parp_fairseq.table import aligned

# Layers and width w: every layer has four matrices of w by w and two of w by 4 w.
_SIZES = {"base": (12, 768), "XLSR-53": (24, 1024)}


def random_masks(layers: int, width: int, folder: Path) -> tuple[Path, Path]:
    """Write two masks of about half the entries; return their files."""
    shapes = {f"self_attn.{kind}_proj": (width, width) for kind in "kvq"}
    shapes |= {
        "self_attn.out_proj": (width, width),
        "fc1": (4 * width, width),
        "fc2": (width, 4 * width),
    }
    files = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        tensors = {
            f"encoder.layers.{layer}.{kind}.weight": torch.from_numpy(
                random.integers(0, 2, shape, dtype=np.uint8).view(bool)
            )
            for layer in range(layers)
            for kind, shape in shapes.items()
        }
        files.append(folder / f"{seed}.safetensors")
        save_mask(Mask(tensors), files[-1])
    return files[0], files[1]


def with_bits(a: Path, b: Path) -> float:
    """IOU as `parp mask iou` computes it."""
    return iou(load_mask(a)[0], load_mask(b)[0])


def with_bools(a: Path, b: Path) -> float:
    """IOU over unpacked masks."""
    one, other = load_mask(a)[0], load_mask(b)[0]
    both = sum(int((one[name] & other[name]).sum()) for name in one)
    return both / sum(int((one[name] | other[name]).sum()) for name in one)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median over warm rounds."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured(a: Path, b: Path, rounds: int) -> tuple[str, ...]:
    """One row of the table, from two mask files."""
    if with_bits(a, b) != with_bools(a, b):
        raise SystemExit("bits and bools give different IOU")
    one, other = load_mask(a)[0], load_mask(b)[0]
    works = (
        lambda: load_mask(a),
        lambda: iou(one, other),
        lambda: with_bits(a, b),
        lambda: with_bools(a, b),
    )
    size = f"{one.numel / 1e6:.1f} M", f"{a.stat().st_size / 1e6:.1f} MB"
    return (*size, *(f"{seconds(work, rounds):.3f}" for work in works))


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny model: does it run?")
    options = parser.parse_args()
    rows = []
    sizes = {"tiny": (2, 64)} if options.quick else _SIZES
    for name, (layers, width) in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            files = random_masks(layers, width, Path(folder))
            rows.append((name, *measured(*files, options.rounds)))
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, torch "
        f"{torch.__version__} on {torch.get_num_threads()} threads; seconds, warm medians of "
        f"{options.rounds}"
    )
    header = ("model", "entries", "file", "load one", "compare two", "both, as bits", "as bools")
    print(aligned(header, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
