"""The meters that fairseq logs as JSON while a run trains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, float]
_UPDATES = "num_updates"
# What `pruning.reach.look_ahead` says at the start.
_OUTLOOK = re.compile(r"can move by at most ([\d.e-]+) .*; the threshold at \d+% is ([\d.e-]+):")


@dataclass(frozen=True)
class TrainingLog:
    """What a run's meters say."""

    updates: int  # the last one that was logged; 0 if none was
    validation: Mapping[str, Row]  # the last row of each set, its keys without the set's name
    minutes: float  # spent training and validating, of all starts of the run
    ended: bool  # whether fairseq said that training is done
    pruning: Row  # the last `mask_iou` (with the initial mask), and `reach` over half the threshold


def read_log(files: Sequence[Path]) -> TrainingLog:
    """Read the first of `files` that holds meters, in fairseq's JSON format.

    Both of the logs that a run leaves will do: the one named by `common.log_file`, and Hydra's.
    Lines that are no meters are passed over, as is a last line that was cut off.
    """
    log = TrainingLog(0, {}, 0.0, False, {})
    for file in files:
        log = _read(file)
        if log.updates:
            break
    return log


def _read(file: Path) -> TrainingLog:
    validation: dict[str, Row] = {}
    pruning: dict[str, float] = {}
    updates, seconds, ended = 0, [0.0], False
    for line in _lines(file):
        ended = ended or "done training in" in line
        said = _OUTLOOK.search(line)
        # A resumed run says it again, of what is left.
        if said and float(said[2]) > 0:
            pruning.setdefault("reach", round(2 * float(said[1]) / float(said[2]), 4))
        row = _row(line)
        # Within an epoch meters have plain names; an epoch's begin with "train_", a validation
        # set's with its name.
        names = (key[: -len(_UPDATES)] for key in row if key.endswith(_UPDATES))
        prefix = next(names, None)
        if prefix is None:
            continue
        plain = {key[len(prefix) * key.startswith(prefix) :]: row[key] for key in row}
        # fairseq's clock starts anew when a run is resumed.
        if prefix in ("", "train_") and "wall" in plain:
            if plain["wall"] < seconds[-1]:
                seconds.append(0.0)
            seconds[-1] = plain["wall"]
        if "mask_iou" in plain:
            pruning["mask_iou"] = plain["mask_iou"]
        # Of a resumed run the last start counts.
        if prefix not in ("", "train_"):
            before = validation.get(prefix[:-1], plain)
            validation[prefix[:-1]] = max(plain, before, key=lambda row: row[_UPDATES])
        if prefix != "train_":
            updates = max(updates, int(plain[_UPDATES]))
    return TrainingLog(updates, validation, sum(seconds) / 60, ended, pruning)


def _lines(file: Path) -> Iterator[str]:
    """Lines of a file, without the copies that fairseq makes of each, one more every epoch."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            before = ""
            for line in stream:
                if line != before:
                    yield line
                before = line
    except OSError:
        return


def _row(line: str) -> Row:
    """The meters in a line; none where it has none, or was cut off."""
    start = line.find('{"epoch"')
    try:
        meters = json.loads(line[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    row = {}
    for key, value in meters.items():
        with suppress(TypeError, ValueError):
            row[key] = float(value)
    return row
