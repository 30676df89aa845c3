"""Which weights of a checkpoint are looked at: the subnetwork m⊙θ that it holds, or θ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.arguments import PruningError
from parp_fairseq.pruning.scope import Scope

if TYPE_CHECKING:
    from torch import Tensor

SUBNETWORK, THETA = "subnetwork", "theta"
VIEWS = (SUBNETWORK, THETA)
"""m⊙θ, what every checkpoint holds; θ, which moves freely between two prunings."""


def check_view(view: str) -> None:
    """Raise UserError for an unknown view."""
    if view not in VIEWS:
        raise UserError(f"--weights {view}: use one of {', '.join(VIEWS)}")


def viewed(state: Mapping[str, Any], path: PathLike, view: str) -> dict[str, Any]:
    """Return a checkpoint whose model is a view of it; `state` is not changed.

    Args:
        state: what `read_state` returned.
        path: its file, for the errors.
        view: one of VIEWS.

    Raises:
        UserError: θ is asked for and the file holds no pruning state.
    """
    if view == SUBNETWORK:
        return dict(state)
    from parp_fairseq.checkpoints.theta import dense_weights

    return {**state, "model": dense_weights(state, path)}


def share_of_zeros(state: Mapping[str, Any]) -> float | None:
    """Return the share of zeros, in [0, 1], among the prunable entries of a checkpoint's model.

    Prunable is what its run pruned; without a pruning state, what the preset `wav2vec2` finds.
    None where there is nothing prunable.
    """
    weights: Mapping[str, Tensor] = state["model"]
    pruning = (state.get("last_optimizer_state") or {}).get("parp") or {}
    names = [name for name in pruning.get("shapes", ()) if name in weights]
    if not names:
        try:
            names = Scope().select(weights)
        except PruningError:
            return None
    entries = sum(weights[name].numel() for name in names)
    kept = sum(int(weights[name].count_nonzero()) for name in names)
    return 1.0 - kept / entries if entries else None
