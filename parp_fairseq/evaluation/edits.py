"""Edit distance, and the kinds of edits that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EditCounts:
    """Edits that turn a reference into a hypothesis."""

    substitutions: int
    insertions: int
    deletions: int

    @property
    def errors(self) -> int:
        """The edit distance."""
        return self.substitutions + self.insertions + self.deletions


def edit_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> EditCounts:
    """The fewest edits from `reference` to `hypothesis`, words or the characters of a string.

    Where several alignments have as few edits, the one with the most substitutions counts.
    """
    start = 0
    end_r, end_h = len(reference), len(hypothesis)
    while start < min(end_r, end_h) and reference[start] == hypothesis[start]:
        start += 1
    while end_r > start and end_h > start and reference[end_r - 1] == hypothesis[end_h - 1]:
        end_r -= 1
        end_h -= 1
    reference, hypothesis = reference[start:end_r], hypothesis[start:end_h]
    numbers = {symbol: number for number, symbol in enumerate(dict.fromkeys(reference))}
    wanted = [numbers[symbol] for symbol in reference]
    found = np.array([numbers.get(symbol, -1) for symbol in hypothesis], dtype=np.int64)

    # Costs are pairs (edits, insertions and deletions) in one number, so that the smallest total
    # breaks ties and tells the kinds of edits without walking back through the table.
    substitution = len(wanted) + len(found) + 1
    move = substitution + 1
    # Entries of the table are kept less what deletions and insertions alone would cost, so that
    # these cost nothing here, and what is on the diagonal gains two moves.
    differs = np.arange(len(numbers))[:, None] != found
    gains = differs * substitution - 2 * move
    row = np.zeros(len(found) + 1, dtype=np.int64)
    for number in wanted:
        best = np.minimum(row[1:], row[:-1] + gains[number])
        # An entry may also come from any entry to its left and the insertions between.
        row[1:] = np.minimum.accumulate(best)
    cost = int(row[-1]) + (len(wanted) + len(found)) * move
    errors, moves = divmod(cost, substitution)
    # Insertions less deletions is what the lengths differ by.
    insertions = (moves + len(found) - len(wanted)) // 2
    return EditCounts(errors - moves, insertions, moves - insertions)
