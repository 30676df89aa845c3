"""The dictionary of a run: which file it is, how it is saved, and that it stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.dictionary import (
    SPECIAL_SYMBOLS,
    SYMBOLS_KEY,
    dictionary_from,
    plain_dictionary,
    read_dictionary,
)
from parp_fairseq.errors import UserError


def dictionary_file(task: Any) -> Path:
    """The file that fairseq reads: in `task.target_dictionary`, a folder, or in `task.data`."""
    return Path(override(task) or task.data, f"dict.{task.labels}.txt")


def override(task: Any) -> str | None:
    """`task.target_dictionary`; None where it is not set, or fairseq does not know it (0.12.2)."""
    return task.target_dictionary if "target_dictionary" in task else None


def saved(dictionary: Any) -> dict[str, Any]:
    """A fairseq Dictionary as plain lists, for a task's state.

    fairseq would pickle the object, which torch's safe loader (the default since 2.6) does not
    open.
    """
    return {SYMBOLS_KEY: plain_dictionary(dictionary)}


def taken_from(state: Mapping[str, Any]) -> dict[str, Any]:
    """A task's state with the dictionary as fairseq has it; undoes `saved`."""
    plain = dict(state)
    lists = plain.pop(SYMBOLS_KEY, None)
    if lists is not None:
        plain["target_dictionary"] = dictionary_from(lists)
    return plain


def check_unchanged(state: Mapping[str, Any], file: Path) -> None:
    """Check that the rows of a checkpoint's output layer mean what the dictionary says.

    Args:
        state: a checkpoint.
        file: the run's dictionary.

    Raises:
        UserError: names the first symbol that is another.
    """
    task_state = state.get("task_state") or {}
    if SYMBOLS_KEY in task_state:
        old = list(task_state[SYMBOLS_KEY]["symbols"])
    elif task_state.get("target_dictionary") is not None:
        old = list(task_state["target_dictionary"].symbols[len(SPECIAL_SYMBOLS) :])
    else:
        return
    new = read_dictionary(file)
    if old == new:
        return
    todo = "put the dictionary back or start in another folder (hydra.run.dir=…)"
    for place, (was, now) in enumerate(zip(old, new), start=1):
        if was != now:
            raise UserError(
                f"{file}: symbol {place} is {now!r} and was {was!r} when this run began, so its "
                f"output layer would mean other letters; {todo}"
            )
    raise UserError(f"{file} has {len(new)} symbols and had {len(old)} when this run began; {todo}")
