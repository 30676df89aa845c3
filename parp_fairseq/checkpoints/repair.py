"""Checkpoints of other versions of fairseq, made to load in the installed one.

What keeps published checkpoints from loading: official 0.12.2 refuses settings of the
pre-training task that it does not know (`multi_corpus_keys`; XLSR-53's `eval_wer…`) and needs
`cfg.criterion` and `cfg.lr_scheduler`; and torch 2.6 and later, in fairseq's own calls
too, refuses the objects that older files hold their settings in.
"""

from __future__ import annotations

from typing import Any

from parp_fairseq.checkpoints.fairseq_settings import plain_settings, repair_settings
from parp_fairseq.checkpoints.formats import CHECKPOINT, output
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.files import PathLike, check_output


def repair(checkpoint: PathLike, out: PathLike, *, force: bool = False) -> list[str]:
    """Write a checkpoint whose settings the installed fairseq takes; its weights stay as they are.

    Returns what was changed, a line each; where nothing had to be, nothing is written. UserError
    where it cannot be read, or `out` cannot be written (`force` replaces a checkpoint there).
    """
    out = check_output(out, CHECKPOINT, inputs=[checkpoint], force=force)
    state = load_checkpoint(checkpoint)
    changes = []
    settings = plain_settings(state)
    if state.get("cfg") is None:
        changes.append("args, a flat namespace, became the sections of cfg")
    elif not _is_plain(state["cfg"]):
        changes.append("cfg, objects of omegaconf or argparse, became plain values")
    changes += repair_settings(settings)
    if changes:
        import torch

        with output(out) as stage:
            torch.save({**state, "args": None, "cfg": settings}, stage / out.name)
    return changes


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(entry) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, (bool, int, float, str))
