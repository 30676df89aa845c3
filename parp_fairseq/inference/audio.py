"""Recordings of any rate, format and number of channels, as blocks of 16 kHz mono."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.convert import load_soxr
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE, Recording, decoded, is_audio, opened

ENDINGS = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".w64", ".wav"),
)
"""Endings of the files that are taken from a folder, in any case; others by their first bytes."""

UNREAD_ENDINGS = (".3gp", ".aac", ".amr", ".m4a", ".m4b", ".mka", ".mp4", ".webm", ".wma")
"""Endings of recordings in formats that are not read."""

STANDARD_INPUT = Path("-")


def find_recordings(given: Iterable[PathLike]) -> tuple[list[Path], Counter[str]]:
    """Audio files, and those in folders and below, sorted by path; each once, in the order given.

    Hidden ones inside of a folder are left out. Of files in folders whose format is not read the
    number comes too, by ending. UserError where a path does not exist or is not UTF-8, or a folder
    holds no audio file.
    """
    unique: dict[str, Path] = {}
    unread: dict[str, str] = {}
    for path in map(Path, given):
        if path != STANDARD_INPUT and not path.exists():
            raise UserError(f"{path}: no such file or folder; check its name")
        files = [path]
        if path.is_dir():
            files = []
            for file in _walk(path):
                ending = file.suffix.lower()
                read = None if ending in UNREAD_ENDINGS else ending in ENDINGS or is_audio(file)
                if read:
                    files.append(file)
                elif read is None:
                    unread[os.path.realpath(file)] = ending or "nothing"
        if not files:
            raise UserError(
                f"{path} holds no audio file ({', '.join(ENDINGS)}); name another folder, or a file"
            )
        for file in files:
            try:
                str(file).encode("utf-8")
            except UnicodeEncodeError as error:
                # No library and no transcript can name it.
                name = os.fsencode(file).decode("utf-8", "backslashreplace")
                raise UserError(f"{name}: its name is not UTF-8; rename it") from error
            unique.setdefault(os.path.realpath(file), file)
    return list(unique.values()), Counter(unread.values())


def _walk(folder: Path) -> list[Path]:
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += (Path(place, name) for name in names if not name.startswith("."))
    return sorted(files)


def blocks(recording: Recording) -> Iterator[np.ndarray]:
    """The samples of a recording: float32, mono, 16 kHz, some seconds at a time.

    Channels are averaged; another rate is resampled as `parp manifest` does it. Raises UserError:
    soxr is missing; or `decoded` raises it.
    """
    resampler = None
    if recording.rate != SAMPLE_RATE:
        resampler = load_soxr().ResampleStream(recording.rate, SAMPLE_RATE, 1, dtype="float32")
    with opened(recording.path) as (file, header):
        for mono in decoded(file, header):
            yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
