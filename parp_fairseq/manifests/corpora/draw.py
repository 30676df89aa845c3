"""Seeded draws of utterances: the same for the same seed and names, whatever their order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def by_rounds(
    candidates: Sequence[T], seed: int, name: Callable[[T], str], speaker: Callable[[T], str]
) -> list[T]:
    """One of each speaker, then a second of each, …, both in an order drawn by `seed`.

    The beginning of the order is spread over the speakers, and what a longer beginning holds, a
    shorter one holds a part of.
    """

    def drawn(text: str) -> bytes:
        return hashlib.sha256(f"{seed}\t{text}".encode()).digest()

    speakers: dict[str, list[T]] = {}
    for one in sorted(candidates, key=lambda one: (drawn(name(one)), name(one))):
        speakers.setdefault(speaker(one), []).append(one)
    ranked = [
        (turn, drawn(who), who, one)
        for who, ones in speakers.items()
        for turn, one in enumerate(ones)
    ]
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3])]


def groups_for_share(
    groups: Sequence[str], samples: Sequence[int], share: float, seed: int
) -> set[str]:
    """Groups drawn by `seed` that together have at most `share` of the samples, one at least.

    Args:
        groups: of each utterance, such as its speaker.
        samples: of each utterance.
        share: in (0, 1).
        seed: of the order in which groups are taken, each that still fits.
    """
    heard: dict[str, int] = defaultdict(int)
    for group, count in zip(groups, samples):
        heard[group] += count
    order = sorted(heard, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    left = share * sum(samples)
    chosen: set[str] = set()
    for group in order:
        if heard[group] <= left:
            chosen.add(group)
            left -= heard[group]
    return chosen or {min(order, key=heard.__getitem__)}
