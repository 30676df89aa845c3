"""What runs around a fine-tuning: the talk of transformers, versions, the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from collections.abc import Iterator
from typing import Any

from parp_fairseq._version import __version__


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers tell of errors alone: a head that is new is what is wanted here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.set_verbosity(before)
            if bars:
                logging.enable_progress_bar()


def versions() -> dict[str, str]:
    """Of what decides a result."""
    import torch
    import transformers

    return {
        "parp-fairseq": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def machine() -> dict[str, Any]:
    """What a run was made on, and the load at its end."""
    import torch

    return {
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(number, 1) for number in os.getloadavg()],
    }


def _processor() -> str:
    """What the processor calls itself, where Linux tells."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
