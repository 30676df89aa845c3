"""JSON of unknown origin: what Python's reader accepts wrongly, or fails on, is refused."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError

MAX_DEPTH = 64
MAX_DIGITS = 19


def strict_json(text: str | bytes, digits: int = MAX_DIGITS) -> Any:
    """Parse JSON that means one thing only and holds numbers and text that others can read too.

    ValueError where it is no JSON (NaN and Infinity included) or not UTF-8, an object has a
    duplicate key, an integer has more than so many digits, a number is infinite, half a surrogate
    pair is in a text, or lists and objects are nested deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=partial(_integer, digits),
            parse_float=_number,
        )
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    # Without recursion; texts are checked on the way.
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ValueError("its JSON is nested too deeply")
        if isinstance(item, str):
            item.encode("utf-8")
        elif isinstance(item, dict):
            stack.extend((entry, depth + 1) for pair in item.items() for entry in pair)
        elif isinstance(item, list):
            stack.extend((entry, depth + 1) for entry in item)
    return value


def read_object(path: Path) -> dict[str, Any]:
    """Read a file of transformers that holds one JSON object.

    Raises UserError: it cannot be read, or holds something else.
    """
    try:
        # A tokenizer without a limit says 10^30.
        content = strict_json(path.read_bytes(), digits=40)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON; copy it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; copy it again")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"{key!r} is a duplicate")
        made[key] = value
    return made


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _integer(digits: int, text: str) -> int:
    # Python takes a while for millions of digits, and tensors of torch hold 64 bits.
    if len(text.lstrip("-")) > digits:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is infinite")
    return number
