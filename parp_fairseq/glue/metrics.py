"""How GLUE scores predictions, and how far a score would move with other examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parp_fairseq.glue.tasks import Task

RESAMPLES = 2_000
SEED = 1


@dataclass(frozen=True)
class Score:
    """A metric in percent (Matthews, Pearson and Spearman: a hundred times the coefficient).

    `low` and `high` bound the middle 95% of the scores of sets of examples drawn with
    replacement from the set that was scored.
    """

    name: str
    value: float
    low: float
    high: float


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Share of predictions that are right, in [0, 1]."""
    return float(np.mean(labels == predicted))


def f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1, in [0, 1]; 0 where it is never right."""
    right = int(np.sum((labels == 1) & (predicted == 1)))
    total = int(np.sum(labels == 1) + np.sum(predicted == 1))
    return 2.0 * right / total if total else 0.0


def matthews(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews' correlation coefficient of two classes, in [-1, 1]; 0 where one is constant."""
    counts = [np.sum((labels == a) & (predicted == b)) for a in (0, 1) for b in (0, 1)]
    tn, fp, fn, tp = (float(count) for count in counts)
    below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return float((tp * tn - fp * fn) / below) if below else 0.0


def pearson(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's correlation, in [-1, 1]; 0 where one side is constant."""
    a, b = labels - labels.mean(), predicted - predicted.mean()
    below = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / below) if below > 0 else 0.0


def spearman(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties sharing theirs; 0 where one side is constant."""
    from scipy.stats import rankdata

    return pearson(rankdata(labels), rankdata(predicted))


METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def score(
    task: Task, labels: Sequence[float], predicted: Sequence[float], resamples: int = RESAMPLES
) -> list[Score]:
    """Score predictions as the task asks, each metric with a 95% bootstrap interval.

    Args:
        task: decides on the metrics.
        labels: numbers of classes, or scores.
        predicted: as many of the same kind.
        resamples: sets drawn for the interval; the draws are seeded.
    """
    truth, guess = np.asarray(labels, np.float64), np.asarray(predicted, np.float64)
    rng = np.random.default_rng(SEED)
    draws = [rng.integers(len(truth), size=len(truth)) for _ in range(resamples)]
    scores = []
    for name in task.metrics:
        metric = METRICS[name]
        values = [metric(truth[draw], guess[draw]) for draw in draws]
        low, high = np.percentile(values, (2.5, 97.5)) if values else (np.nan, np.nan)
        scores.append(Score(name, 100 * metric(truth, guess), 100 * float(low), 100 * float(high)))
    return scores
