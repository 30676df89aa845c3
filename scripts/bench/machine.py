"""What a measurement was made on, in a line."""

from __future__ import annotations

import os
import platform

import torch


def machine() -> str:
    """Return processor, cores, threads, versions, and the load that was there already."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    parts = [
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"Python {platform.python_version()}, torch {torch.__version__}",
    ]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f} at the end")
    return "; ".join(parts)
