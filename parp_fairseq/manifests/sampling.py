"""Seeded samples of utterances: the same for the same seed and names, whatever their order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE

T = TypeVar("T")


def check_hours(hours: float | None, option: str) -> None:
    """Raise UserError unless `hours` is None or a positive, finite number."""
    if hours is not None and not 0 < hours < float("inf"):
        raise UserError(f"{option} is {hours}, expected a number above 0")


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


def up_to_hours(order: Iterable[tuple[T, int]], hours: float) -> tuple[list[T], float, bool]:
    """The beginning of `order`, which gives each one with its samples, that lasts at most `hours`.

    Returns the chosen, how many hours they last, and whether there was more.
    """
    chosen: list[T] = []
    total = 0
    for one, samples in order:
        if total + samples > hours * 3600 * SAMPLE_RATE:
            return chosen, total / 3600 / SAMPLE_RATE, True
        chosen.append(one)
        total += samples
    return chosen, total / 3600 / SAMPLE_RATE, False


def groups_for_share(
    groups: Sequence[str], samples: Sequence[int], share: float, seed: int
) -> set[str]:
    """Groups drawn by `seed` that together have at most `share` of the samples, one at least.

    `groups` and `samples` are each utterance's. Groups are taken in a random order, each that fits.
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
