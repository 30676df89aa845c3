"""What to say to fairseq-hydra-train about the manifests that were built."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from parp_fairseq.manifests.splits import is_training, kind_of
from parp_fairseq.manifests.summary import SplitSummary

# Updates that the paper's authors give wav2vec 2.0 base, by hours of speech (parp_10min, parp_1h,
# parp_10h). Nothing is known from them about more.
_UPDATES = {1 / 6: 12_000, 1.0: 15_000, 10.0: 20_000}
_MOST_HOURS = 20.0

# What to choose the best checkpoint by, where several splits are for validation.
_BEST = ("dev-other", "valid")


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
        training = [split for split in here if is_training(split.split)]
        if not training:
            continue
        words = [
            override("task.data", str((out / folder).resolve())),
            override("task.labels", labels),
            override("criterion.post_process", post_process),
        ]
        names = [split.split for split in training]
        if "train" not in names:
            words.append(override("dataset.train_subset", names[0]))
        validation = [split.split for split in here if kind_of(split.split) == "valid"]
        if validation:
            best = next((name for name in _BEST if name in validation), validation[0])
            words.append(override("dataset.valid_subset", best))
        updates = updates_for(sum(split.hours for split in training))
        if updates:
            words.append(override("optimization.max_update", str(updates)))
        lines.append(" ".join(words))
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
