"""Why a program of Python's failed, from all that it printed."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OURS = "parp: error: "
_TRACEBACK = "Traceback (most recent call last):"
# Hydra ends with the first; a paragraph of the second kind follows what it has to say.
_HYDRA_HINT = "Set the environment variable HYDRA_FULL_ERROR=1"
_HYDRA_SEARCH_PATH = ("Config search path:", "Search path:")
_LINK = re.compile(r"See https?://\S+( for \w+)?")
_UNDERLINE = re.compile(r"[\s^~]*")
_LONGEST = 400


def cause(output: str) -> str:
    """Say in one line why a program failed.

    That is its own one-line error where there is one, else the exception that the last traceback
    ends in, else what Hydra says, else the last line.

    Args:
        output: all that it printed, of both streams.
    """
    lines = output.splitlines()
    ours = [line for line in lines if line.startswith(_OURS)]
    if ours:
        return ours[-1][len(_OURS) :]
    message = _raised(lines) or _refused_by_hydra(lines)
    if not message:
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    line = " ".join(_LINK.sub("", " ".join(message)).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _raised(lines: Sequence[str]) -> list[str]:
    """The exception below the last traceback, all its lines; a bare one with its line of code."""
    starts = [n for n, line in enumerate(lines) if line.endswith(_TRACEBACK)]
    if not starts:
        return []
    frames = starts[-1] + 1
    end = frames
    while end < len(lines) and (lines[end].startswith(" ") or not lines[end].strip()):
        end += 1
    message = _paragraph(lines, end)
    if len(message) == 1 and re.fullmatch(r"[\w.<>]+:?", message[0]):
        code = [line.strip() for line in lines[frames:end] if not _UNDERLINE.fullmatch(line)]
        return [f"{message[0].rstrip(':')}: {code[-1]}"] if code else message
    return message


def _refused_by_hydra(lines: Sequence[str]) -> list[str]:
    """The paragraph that Hydra's hint follows."""
    hints = [n for n, line in enumerate(lines) if line.startswith(_HYDRA_HINT)]
    if not hints:
        return []
    paragraphs: list[list[str]] = [[]]
    for line in lines[: hints[-1]]:
        if not line.strip():
            paragraphs.append([])
        elif line not in _HYDRA_SEARCH_PATH:
            paragraphs[-1].append(line)
    # A list of folders is indented.
    said = [[line for line in lines if not line.startswith("\tprovider=")] for lines in paragraphs]
    return next((paragraph for paragraph in reversed(said) if paragraph), [])


def _paragraph(lines: Sequence[str], start: int) -> list[str]:
    end = start
    while end < len(lines) and lines[end].strip():
        end += 1
    return list(lines[start:end])
