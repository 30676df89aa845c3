"""The meters that fairseq logs as JSON while a run trains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, float]
_UPDATES = "num_updates"


@dataclass(frozen=True)
class TrainingLog:
    """A run's meters by update; an update that was logged twice (a resumed run) counts once.

    Attributes:
        training: rows of the training set, every `common.log_interval` updates.
        validation: rows of each validation set, their keys without the set's name.
        minutes: time spent training and validating, of all starts of the run.
        ended: whether fairseq said that training is done.
    """

    training: tuple[Row, ...]
    validation: Mapping[str, tuple[Row, ...]]
    minutes: float
    ended: bool

    @property
    def updates(self) -> int:
        """The last update that was logged; 0 if none was."""
        rows = [*self.training, *(row for rows in self.validation.values() for row in rows)]
        return int(max((row[_UPDATES] for row in rows), default=0))


def read_log(files: Sequence[Path]) -> TrainingLog:
    """Read the first of `files` that holds meters, in fairseq's JSON format.

    Both of the logs that a run leaves will do: the one named by `common.log_file`, and Hydra's.
    Lines that are no meters are passed over, as is a last line that was cut off.
    """
    log = TrainingLog((), {}, 0.0, False)
    for file in files:
        log = _read(file)
        if log.updates:
            break
    return log


def _read(file: Path) -> TrainingLog:
    training: dict[int, Row] = {}
    validation: dict[str, dict[int, Row]] = {}
    seconds = [0.0]
    ended = False
    for line in _lines(file):
        if "done training in" in line:
            ended = True
        row = _row(line)
        if row is None:
            continue
        name = _set_name(row)
        clocks: dict[str | None, str] = {"": "wall", "train": "train_wall"}
        wall = row.get(clocks.get(name, ""))
        if wall is not None:
            # fairseq's clock starts anew when a run is resumed.
            if wall < seconds[-1]:
                seconds.append(wall)
            seconds[-1] = wall
        if name == "":
            training[int(row[_UPDATES])] = row
        elif name is not None and name != "train":
            plain = {
                key[len(name) + 1 :] if key.startswith(f"{name}_") else key: value
                for key, value in row.items()
            }
            validation.setdefault(name, {})[int(plain[_UPDATES])] = plain
    return TrainingLog(
        tuple(training[update] for update in sorted(training)),
        {name: tuple(rows[update] for update in sorted(rows)) for name, rows in validation.items()},
        sum(seconds) / 60,
        ended,
    )


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


def _row(line: str) -> Row | None:
    start = line.find('{"epoch"')
    if start < 0:
        return None
    try:
        meters = json.loads(line[start:])
    except ValueError:
        return None
    row = {}
    for key, value in meters.items():
        try:
            row[key] = float(value)
        except (TypeError, ValueError):
            continue
    return row


def _set_name(row: Row) -> str | None:
    """ "" for meters within an epoch, "train" for an epoch's, else the validation set's name."""
    if _UPDATES in row:
        return ""
    names = [key[: -len(_UPDATES) - 1] for key in row if key.endswith(f"_{_UPDATES}")]
    return names[0] if names else None
