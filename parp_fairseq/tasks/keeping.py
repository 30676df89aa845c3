"""The weights after one chosen update, kept as a checkpoint: what rewinding goes back to.

fairseq writes `checkpoint_E_U.pt` only where update U does not end an epoch, and nothing before
`validate_after_updates`, so its interval checkpoints cannot be counted on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from parp_fairseq.files import replacing
from parp_fairseq.runs.names import kept_update


def keep_update(
    model: torch.nn.Module, run: DictConfig, task_state: dict[str, Any], update: int
) -> Path:
    """Write the model's present weights for `checkpoint.finetune_from_model`.

    Args:
        model: what is trained, in data-parallel wrappers or not.
        run: the whole config.
        task_state: what the task's `state_dict` returns.
        update: the number of updates done.

    Returns:
        The file, in the run's folder of checkpoints.

    Raises:
        UserError: it cannot be written.
    """
    while hasattr(model, "module"):
        model = model.module
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(run, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": "",
                "optimizer_name": "",
                "lr_scheduler_state": {},
                "num_updates": update,
            }
        ],
        "task_state": task_state,
        "extra_state": {"train_iterator": {"epoch": 1}},
        "last_optimizer_state": None,
    }
    file = Path(run.checkpoint.save_dir) / kept_update(update)
    with replacing(file) as partial:
        torch.save(state, partial)
    return file
