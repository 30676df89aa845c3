"""Recordings of any rate, format and number of channels, as blocks of 16 kHz mono."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.manifests.audio.convert import load_soxr
from parp_fairseq.manifests.audio.headers import (
    SAMPLE_RATE,
    decoded,
    muted,
    read_header,
)
from parp_fairseq.manifests.labels.ctc import WINDOW

ENDINGS = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".w64", ".wav"),
)
"""Endings of the files that are taken from a folder, in any case."""

UNREAD_ENDINGS = (".3gp", ".aac", ".amr", ".m4a", ".m4b", ".mka", ".mp4", ".webm", ".wma")
"""Endings of recordings in formats that are not read."""

# Floats may be scaled as 32-bit integers are; beyond, squares soon overflow.
_LOUDEST = 2.0**31


@dataclass(frozen=True)
class Recording:
    """An audio file, as its header describes it.

    Attributes:
        path: the file.
        rate: samples a second.
        channels: how many.
        frames: samples of a channel.
    """

    path: Path
    rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.frames / self.rate


def find_recordings(given: Iterable[PathLike]) -> list[Path]:
    """Audio files, and those in folders and below, sorted by path; each once, in the order given.

    Hidden files and folders inside of a folder are left out.

    Raises:
        UserError: a path does not exist or is not UTF-8, or a folder holds no audio file.
    """
    unique: dict[str, Path] = {}
    for path in map(Path, given):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; check its name")
        files = _walk(path) if path.is_dir() else [path]
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
    return list(unique.values())


def count_unread(given: Iterable[PathLike]) -> Counter[str]:
    """Recordings in the folders of `given` that are in no format that is read: ending → count."""
    folders = [Path(path) for path in given if Path(path).is_dir()]
    files = {file for folder in folders for file in _walk(folder, UNREAD_ENDINGS)}
    return Counter(file.suffix.lower() for file in files)


def _walk(folder: Path, endings: tuple[str, ...] = ENDINGS) -> list[Path]:
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += (
            Path(place, name)
            for name in names
            if name.lower().endswith(endings) and not name.startswith(".")
        )
    return sorted(files)


def read_recording(path: PathLike) -> Recording:
    """Read an audio file's header.

    Raises:
        UserError: it is empty, no audio, cut off, or shorter than a frame of the model.
    """
    path = Path(path)
    with muted():
        header = read_header(path)
    if header.samples < WINDOW:
        raise UserError(f"{path} is shorter than 25 ms, which is too short for one frame")
    return Recording(path, header.rate, header.channels, header.frames)


def blocks(recording: Recording) -> Iterator[np.ndarray]:
    """The samples of a recording: float32, mono, 16 kHz, some seconds at a time.

    Channels are averaged; another rate is resampled as `parp manifest` does it.

    Raises:
        UserError: soxr is missing; or the audio is damaged, cut off, or holds NaN or infinity.
    """
    rate, resampler = recording.rate, None
    if rate != SAMPLE_RATE:
        resampler = load_soxr().ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    for samples in decoded(recording.path, recording.frames, _LOUDEST):
        mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
