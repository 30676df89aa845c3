"""What a builder wrote, what it left out, and how to train on it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.labels.alphabet import render_alphabet
from parp_fairseq.manifests.split_names import TRAIN, is_training, kind_of
from parp_fairseq.table import aligned

# The paper's settings of wav2vec 2.0 base, by hours of speech.
_CONFIGS = {1 / 6: "parp_10min", 1.0: "parp_1h", 10.0: "parp_10h"}

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


@dataclass(frozen=True)
class BuildSummary:
    """All splits that a builder wrote, and what it left out and why.

    Attributes:
        commands: for each folder with splits for training and validation, a training on it.
        warnings: what training will refuse, and what else to look at, a line each.
        left: what was left out, by reason.
        notes: what else to know.
        alphabet: symbols of the labels, and how often each is there.
    """

    out: Path
    splits: tuple[SplitSummary, ...]
    commands: tuple[str, ...] = ()
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
        lines += [*self.left.lines(), *(f"note: {note}" for note in self.notes)]
        train = ["train with:", *self.commands] if self.commands else []
        return "\n".join([*lines, *train])


def training_commands(
    out: Path, splits: Sequence[SplitSummary], labels: str, post_process: str
) -> tuple[str, ...]:
    """A command for each folder below `out` with splits for training and validation, on two lines.

    Its config is the paper's for the nearest amount of speech.
    """
    commands = []
    for folder in dict.fromkeys(split.folder for split in splits):
        here = [split for split in splits if split.folder == folder]
        training = {split.split: split.hours for split in here if is_training(split.split)}
        validation = [split.split for split in here if kind_of(split.split) == "valid"]
        if not training or not validation:
            continue
        options = {"task.data": str((out / folder).resolve()), "task.labels": labels}
        options["criterion.post_process"] = post_process
        if TRAIN not in training:
            options["dataset.train_subset"] = next(iter(training))
        best = [name for name in _BEST if name in validation]
        options["dataset.valid_subset"] = [*best, *validation][0]
        commands.append(
            f"fairseq-hydra-train --config-name {config_for(sum(training.values()))} "
            "common.user_dir=parp_fairseq model.w2v_path=wav2vec_small.pt \\\n  "
            + " ".join(override(key, value) for key, value in options.items())
        )
    return tuple(commands)


def override(key: str, value: str) -> str:
    """`key=value` for a shell and Hydra, in whose grammar a comma or a space means more."""
    if re.fullmatch(r"[\w./+-]+", value, re.ASCII):
        return f"{key}={value}"
    if re.search(r"[\"'$`!]", value):
        return shlex.quote(f"{key}='" + value.replace("'", "\\'") + "'")
    return f"\"{key}='{value}'\""


def config_for(hours: float) -> str:
    """The config for the nearest amount of speech, in ratio."""
    return _CONFIGS[min(_CONFIGS, key=lambda known: abs(math.log(known / max(hours, 1e-9))))]
