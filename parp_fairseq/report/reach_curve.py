"""Whether PARP can adjust a checkpoint's mask: thresholds over sparsity against the reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.formats import read_state
from parp_fairseq.checkpoints.prunable_weights import scoped_weights
from parp_fairseq.errors import options_named
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.arguments import check_interval, check_sparsity
from parp_fairseq.pruning.reach import interval_to_reach, reach, relative_reach, thresholds
from parp_fairseq.pruning.scope import Scope
from parp_fairseq.report import style
from parp_fairseq.report.rendering import TextTable, percent

SPARSITIES = tuple(share / 20 for share in range(1, 20))


@dataclass(frozen=True)
class ReachCurve:
    """How far weights move between two prunings, and how far they would have to."""

    path: Path  # the checkpoint
    learning_rate: float  # constant between two prunings: take the peak
    interval: int  # n, updates between two prunings
    thresholds: dict[float, float]  # sparsity → the largest magnitude pruned there

    @property
    def reach(self) -> float:
        """The most that Adam (0.9, 0.98) moves a weight between two prunings."""
        return reach([self.learning_rate] * self.interval)

    def render(self) -> str:
        """The table and what it means."""
        rows = [
            [
                percent(sparsity),
                f"{threshold:.4g}",
                f"{relative_reach(self.reach, threshold):.2f}",
                str(interval_to_reach(threshold, self.learning_rate)),
            ]
            for sparsity, threshold in self.thresholds.items()
        ]
        table = TextTable("", ["sparsity", "threshold t", "reach / (t/2)", "n needed"], rows)
        return (
            f"{self.path}: between two prunings ({self.interval} updates at a learning rate of "
            f"{self.learning_rate:g})\na pruned weight can move by at most {self.reach:.4g} (Adam "
            f"with betas 0.9, 0.98).\n\n{table.text()}\n\nWhere reach / (t/2) is below 1 no pruned "
            "weight can regrow at constant sparsity: parp keeps\nthe magnitude mask, as mpi. n "
            "needed: updates between prunings from which on one can."
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "checkpoint": str(self.path),
            "learning_rate": self.learning_rate,
            "interval": self.interval,
            "reach": self.reach,
            "sparsities": [
                {
                    "sparsity": sparsity,
                    "threshold": threshold,
                    "relative_reach": relative_reach(self.reach, threshold),
                    "interval_to_reach": interval_to_reach(threshold, self.learning_rate),
                }
                for sparsity, threshold in self.thresholds.items()
            ],
        }

    def draw(self, file: PathLike) -> None:
        """Draw half the threshold over sparsity, and the reach as a line."""
        figure, (axes,) = style.panels(height=4.0)
        shares = [100 * sparsity for sparsity in self.thresholds]
        axes.plot(shares, [t / 2 for t in self.thresholds.values()], label="half the threshold")
        label = f"reach: {self.interval} updates at {self.learning_rate:g}"
        axes.axhline(self.reach, color="black", linestyle="--", label=label)
        axes.set_xlabel("sparsity, %")
        axes.set_ylabel("magnitude")
        axes.set_title("pruned weights can regrow only where the reach is above")
        axes.legend()
        style.save(figure, file)


def reach_curve(
    checkpoint: PathLike, learning_rate: float, interval: int, sparsity: float | None = None
) -> ReachCurve:
    """Compare a checkpoint's thresholds with how far fine-tuning can move a weight.

    Args:
        checkpoint: pre-trained or fine-tuned.
        learning_rate: at its peak, above 0.
        interval: updates between two prunings, at least 1.
        sparsity: in (0, 1]; None: 5% to 95%.

    Raises:
        UserError: an argument is out of range, or the checkpoint is unreadable or of another kind.
    """
    path = Path(checkpoint)
    shares = SPARSITIES if sparsity is None else (sparsity,)
    with options_named("--"):
        check_interval(interval, "update")
        interval_to_reach(1.0, learning_rate)
        check_sparsity(shares[0])
    weights = scoped_weights(read_state(path), Scope(), path)
    with options_named("--", f"{path}: "):
        found = dict(zip(shares, thresholds(weights, shares)))
    return ReachCurve(path, learning_rate, interval, found)
