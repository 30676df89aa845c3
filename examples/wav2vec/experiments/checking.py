"""What a yaml's keys and values may be; each error names the place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError


def check_keys(where: str, entry: Any, known: Iterable[str], wanted: Iterable[str]) -> None:
    """See that an entry holds known keys alone, and the wanted ones.

    Raises:
        UserError: it does not, or is no mapping.
    """
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must hold keys and values")
    for key in entry:
        if key not in known:
            raise UserError(f"{where}: {key} has no meaning; use {', '.join(sorted(known))}")
    for key in wanted:
        if key not in entry:
            raise UserError(f"{where} lacks {key}")


def check_names(where: str, entry: Any) -> None:
    """See that an entry holds things by name.

    Raises:
        UserError: it is no mapping, or a name is no text (2026 without quotes is a number).
    """
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must hold keys and values")
    for name in entry:
        if not _is_text(name):
            raise UserError(f"{where}: {name} is no name; quote it")


def check_named(
    where: str, entry: Mapping[str, Any], keys: Iterable[str], known: Iterable[str]
) -> None:
    """See that the values of these keys are known names.

    Raises:
        UserError: one is not; the line tells those that are.
    """
    known = tuple(known)
    for key in keys:
        if entry[key] not in known:
            raise UserError(f"{where}: {key} is {entry[key]}; use {', '.join(known)}")


def check_values(where: str, entry: Mapping[str, Any]) -> None:
    """See that each value is of the type and in the range that its key asks for.

    Raises:
        UserError: one is not; the line tells what is expected.
    """
    for key, value in entry.items():
        if key in _VALUES:
            fits, words = _VALUES[key]
            if not fits(value):
                raise UserError(f"{where}: {key} is {value}, expected {words}")


def texts(
    where: str, entry: Mapping[str, Any], keys: Iterable[str], besides: Iterable[str]
) -> dict[str, str]:
    """The values of these keys as texts, whatever they were read as.

    Raises:
        UserError: one is empty.
    """
    found = {key: entry[key] for key in keys if key in entry and key not in besides}
    for key, value in found.items():
        if value is None or value == "":
            raise UserError(f"{where}: {key} is empty; give it a value or leave it out")
    return {key: str(value) for key, value in found.items()}


def check_whole_paths(where: str, entry: Mapping[str, str], keys: Iterable[str]) -> None:
    """See that folders are told from the root: programs start in several folders.

    Raises:
        UserError: one is not.
    """
    for key in keys:
        if key in entry and not Path(entry[key]).is_absolute():
            raise UserError(
                f"{where}: {key} is {entry[key]}; give the whole path, such as "
                f"{key}=$PWD/{entry[key]}"
            )


def count(where: str, key: str, value: Any) -> int:
    """A whole number of 1 or more.

    Raises:
        UserError: `value` is none.
    """
    if not _is_whole(value, 1):
        raise UserError(f"{where}: {key} is {value}, expected {_COUNT[1]}")
    return int(value)


def _is_number(value: Any, least: float, most: float = float("inf")) -> bool:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return real and least <= value <= most


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _list_of(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(map(one, value))


def _mapping_to(one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(one, value.values()))


def _is_count(value: Any) -> bool:
    return _is_whole(value, 1)


def _is_seed(value: Any) -> bool:
    return _is_whole(value, 0)


def _is_trail(value: Any) -> bool:
    return _COUNTS(value) and len(value) == 2


_TEXT = (_is_text, "a text")
_TEXTS = (_list_of(_is_text), "a list of texts")
_SHARE = "a number in [0, 1]"
_MAPPING = (_is_mapping, "keys and values")
_MAPPINGS = _list_of(_is_mapping)
_COUNTS = _list_of(_is_count)
_COUNT = (_is_count, "a whole number of 1 or more")
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("about", "config", "data", "model", "valid", "title", "work"), _TEXT),
    **dict.fromkeys(("language", "world", "method", "says", "fewer", "than", "of"), _TEXT),
    **dict.fromkeys(("and_of", "why"), _TEXT),
    **dict.fromkeys(("test", "each", "overrides", "worlds", "audio", "languages"), _TEXTS),
    **dict.fromkeys(("speech", "options"), _MAPPING),
    **dict.fromkeys(("speakers", "width", "updates", "per_speaker"), _COUNT),
    "utterances": (_mapping_to(_is_count), "parts with whole numbers of 1 or more"),
    "seed": (_is_seed, "a whole number of 0 or more"),
    "seeds": (_list_of(_is_seed), "a list of whole numbers"),
    "rounds": (_COUNTS, "a list of whole numbers"),
    "sparsity": (_list_of(lambda one: _is_number(one, 0, 1)), "a list of numbers in [0, 1]"),
    "trail": (_is_trail, "two whole numbers: the first update, and every how many"),
    "hours": (lambda value: _is_number(value, 0), "a number of 0 or more"),
    **dict.fromkeys(("above", "valid_share"), (lambda value: _is_number(value, 0, 1), _SHARE)),
    "cells": (_MAPPINGS, "a list of keys and values"),
    "claims": (lambda value: value == [] or _MAPPINGS(value), "a list of keys and values"),
    "worlds_differ": (lambda value: isinstance(value, bool), "true or false"),
    "size": (lambda value: value in ("tiny", "base", "large"), "tiny, base or large"),
}
"""Key, wherever it stands → whether a value fits it, and what fits."""
