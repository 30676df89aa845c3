"""How fairseq opens the pre-trained checkpoint and builds a model on it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

from fairseq import checkpoint_utils
from omegaconf import open_dict

from parp_fairseq.checkpoints.repair import repair_settings


@contextlib.contextmanager
def repaired_loading() -> Iterator[None]:
    """Let fairseq, inside this block, open checkpoints as if `parp repair` had repaired them.

    While it builds a model for fine-tuning it opens the pre-trained file itself
    (`Wav2VecEncoder.__init__`: `state = checkpoint_utils.load_checkpoint_to_cpu(cfg.w2v_path, …)`).
    """
    load = checkpoint_utils.load_checkpoint_to_cpu

    def repaired(*args: Any, **kwargs: Any) -> dict[str, Any]:
        state = load(*args, **kwargs)
        with open_dict(state["cfg"]):
            repair_settings(state["cfg"])
        return state

    checkpoint_utils.load_checkpoint_to_cpu = repaired
    try:
        yield
    finally:
        checkpoint_utils.load_checkpoint_to_cpu = load


@contextlib.contextmanager
def built_silently() -> Iterator[None]:
    """Drop what fairseq prints of a model (it logs it a moment later) and torch's warnings of it.

    `Wav2VecEncoder.__init__` and the models below it; standard output and Python's filters of
    warnings are as before afterwards.
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
