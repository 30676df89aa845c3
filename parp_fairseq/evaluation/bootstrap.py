"""How far an error rate would move with other utterances of the same kind.

The percentile bootstrap over utterances: M. Bisani and H. Ney, "Bootstrap estimates for
confidence intervals in ASR performance evaluation", ICASSP 2004.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
"""Test sets drawn anew; each has as many utterances as the real one."""

SEED = 1

_AT_ONCE = 1_000_000  # Utterances drawn in one array: about 24 MB.


def bootstrap_interval(errors: Sequence[int], lengths: Sequence[int]) -> tuple[float, float]:
    """The 95% interval of an error rate, in percent.

    Utterances are drawn with replacement; a drawn set's rate is the sum of its errors over the
    sum of its lengths. The interval reaches from the 2.5th to the 97.5th percentile of these rates
    (sets without any reference word have no rate and do not count). It is a function of the
    arguments: the draws are seeded, and the same for as many utterances.

    Args:
        errors: edits, an utterance each.
        lengths: words (or phones, or characters) of the references; not all of them 0.
    """
    utterances = np.array([errors, lengths], dtype=np.int64)
    count = utterances.shape[1]
    random = np.random.default_rng(SEED)
    sums = np.empty((2, RESAMPLES), dtype=np.int64)
    rows = max(1, _AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        drawn = random.integers(count, size=(min(rows, RESAMPLES - start), count))
        for total, values in zip(sums, utterances):
            total[start : start + rows] = values[drawn].sum(axis=1)
    wrong, length = sums[:, sums[1] > 0]
    low, high = np.percentile(wrong * 100.0 / length, (2.5, 97.5))
    return float(low), float(high)
