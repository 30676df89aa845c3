"""The weights θ that training resumes with, from a checkpoint that holds m⊙θ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.pruner import saved_mask
from parp_fairseq.pruning.weights import fill_


def dense_weights(state: Mapping[str, Any], path: PathLike) -> dict[str, Tensor]:
    """Return the model's weights θ before the mask was applied, bit by bit.

    Between two prunings of PARP (paper, algorithm 1) all weights move. A checkpoint of task `parp`
    holds the subnetwork m⊙θ as its model, and the values of θ that m prunes next to the optimizer's
    state. Right after a pruning, and under a static mask, there are none and θ is m⊙θ.

    Of a run in half precision these are the model's own weights, rounded from the fp32 masters.
    `state` is what `load_checkpoint` returned of the file `path`; it is not changed.

    Raises:
        UserError: the checkpoint keeps no pruning state (a dense run, an export, another task), or
            one that does not fit its model.
    """
    model: dict[str, Tensor] = dict(state["model"])
    pruning = (state.get("last_optimizer_state") or {}).get("parp")
    if not isinstance(pruning, Mapping) or not {"masks", "shapes", "shadow"} <= set(pruning):
        raise UserError(
            f"{path} keeps no pruning state, so the values that it prunes are not in it; give a "
            "checkpoint that a pruning run of task parp wrote, not an export"
        )
    try:
        mask = saved_mask(pruning)
        for name, values in pruning["shadow"].items():
            model[name] = model[name].clone()
            fill_(model[name], ~mask[name], values)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: its pruning state does not fit its model ({reason}); give the checkpoint as "
            "training wrote it"
        ) from error
    return model
