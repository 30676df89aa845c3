"""What a builder wrote, what it left out, and how to train on it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.labels.alphabet import render_alphabet
from parp_fairseq.manifests.split_names import TRAIN, is_training, kind_of
from parp_fairseq.table import aligned

# Updates that the paper's authors give wav2vec 2.0 base, by hours of speech (parp_10min, parp_1h,
# parp_10h). Nothing is known from them about more.
_UPDATES = {1 / 6: 12_000, 1.0: 15_000, 10.0: 20_000}
_MOST_HOURS = 20.0

# What to choose the best checkpoint by, where several splits are for validation.
_BEST = ("dev-other", "valid")

_NAMED = 3


@dataclass(frozen=True)
class SplitSummary:
    """One split: where it is below the output folder, and how much it holds."""

    folder: str
    split: str
    utterances: int
    samples: int
    words: int

    @property
    def hours(self) -> float:
        """Length at 16 kHz, in hours."""
        return self.samples / SAMPLE_RATE / 3600


class LeftOut(dict[str, list[str]]):
    """What was left out: names by reason."""

    def add(self, reason: str, name: str) -> None:
        """Count one thing that was left out."""
        self.setdefault(reason, []).append(name)

    def lines(self) -> list[str]:
        """A line a reason, such as `left out: damaged audio (4): a, b, c, …`."""
        return [
            f"left out: {reason} ({len(names):,}): {', '.join(names[:_NAMED])}"
            + (", …" if len(names) > _NAMED else "")
            for reason, names in self.items()
        ]

    def to_json(self) -> dict[str, dict[str, object]]:
        """Reason → count and the first names."""
        return {reason: {"count": len(n), "first": n[:_NAMED]} for reason, n in self.items()}


@dataclass(frozen=True)
class BuildSummary:
    """All splits that a builder wrote, and what it left out and why.

    Attributes:
        overrides: for each folder with a training split, what to add to fairseq-hydra-train.
        warnings: what training will refuse, and what else to look at, a line each.
        left: what was left out, by reason.
        notes: what else to know.
        alphabet: symbols of the labels, of pieces their characters, and how often each is there.
    """

    out: Path
    splits: tuple[SplitSummary, ...]
    overrides: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    left: LeftOut = field(default_factory=LeftOut)
    notes: tuple[str, ...] = ()
    alphabet: dict[str, int] = field(default_factory=dict)

    def render(self) -> str:
        """An aligned table, one split a row, and a line for each thing left out."""
        rows = [
            (s.folder, s.split, f"{s.utterances:,}", f"{s.hours:.2f}", f"{s.words:,}")
            for s in self.splits
        ]
        lines = [aligned(("folder", "split", "utterances", "hours", "words"), rows, left=2)]
        lines += [render_alphabet(self.alphabet)] if self.alphabet else []
        lines += [f"warning: {line}" for line in self.warnings]
        lines += [f"train with: {line}" for line in self.overrides]
        return "\n".join([*lines, *self.left.lines(), *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        splits = [{**asdict(split), "hours": split.hours} for split in self.splits]
        more = {"out": str(self.out), "splits": splits, "left_out": self.left.to_json()}
        return {**{k: v for k, v in vars(self).items() if k != "left"}, **more}


def training_overrides(
    out: Path, splits: Sequence[SplitSummary], labels: str, post_process: str
) -> tuple[str, ...]:
    """A line of overrides for each folder below `out` that has a training split.

    `optimization.max_update` is the authors' setting for the nearest amount of speech, and is
    left out beyond what they trained on.
    """
    lines = []
    for folder in dict.fromkeys(split.folder for split in splits):
        here = [split for split in splits if split.folder == folder]
        training = {split.split: split.hours for split in here if is_training(split.split)}
        if not training:
            continue
        options = {"task.data": str((out / folder).resolve()), "task.labels": labels}
        options["criterion.post_process"] = post_process
        if TRAIN not in training:
            options["dataset.train_subset"] = next(iter(training))
        validation = [split.split for split in here if kind_of(split.split) == "valid"]
        if validation:
            best = [name for name in _BEST if name in validation]
            options["dataset.valid_subset"] = [*best, *validation][0]
        updates = updates_for(sum(training.values()))
        if updates:
            options["optimization.max_update"] = str(updates)
        lines.append(" ".join(override(key, value) for key, value in options.items()))
    return tuple(lines)


def override(key: str, value: str) -> str:
    """`key=value` for a shell and Hydra, in whose grammar a comma or a space means more."""
    if re.fullmatch(r"[\w./+-]+", value, re.ASCII):
        return f"{key}={value}"
    if re.search(r"[\"'$`!]", value):
        return shlex.quote(f"{key}='" + value.replace("'", "\\'") + "'")
    return f"\"{key}='{value}'\""


def updates_for(hours: float) -> int | None:
    """The authors' number of updates for the nearest amount of speech, if they have one."""
    if not 0 < hours <= _MOST_HOURS:
        return None
    nearest = min(_UPDATES, key=lambda known: abs(math.log(known / hours)))
    return _UPDATES[nearest]
