"""Reading audio headers, many at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.machine import cores

SAMPLE_RATE = 16_000
"""Samples a second of everything wav2vec 2.0 was trained on."""

# Files a thread takes at a time: a header is read faster than a task is handed over.
_CHUNK = 64

# What may follow STREAMINFO here: padding, application, seek table, comment.
_FLAC_BLOCKS = (1, 2, 3, 4)

# Formats whose samples may be no numbers.
_FLOATING = ("FLOAT", "DOUBLE")

# Sizes of chunks in libsndfile's log.
_SHORT = re.compile(
    r"^ *(?:RIFF|riff|FORM|data|SSND|\w+ [Ss]ize) *: (\d+) \(should be (\d+)\)", re.M
)
_UNKNOWN_SIZE = 0x7FFF0000
# Of Ogg: a last page without the mark of an end, or half a page.
_NO_LAST_PAGE = re.compile("end-of-stream|after the last page", re.I)

TOLERANCE = 0.05
"""By how much a healthy file may be shorter than its header says: recorders leave headers that
count a buffer too many, and encoders delay and pad."""


class AudioError(UserError):
    """An audio file that fairseq cannot use; `problem` says why in two or three words."""

    def __init__(self, problem: str, message: str) -> None:
        self.problem = problem
        super().__init__(message)


def read_header(
    path: PathLike, *, sample_rate: int = SAMPLE_RATE, short: list[str] | None = None
) -> int:
    """Number of samples of a mono file at `sample_rate`. Raises AudioError otherwise.

    A file that ends early, but within `TOLERANCE`, is added to `short`.
    """
    rate, channels, frames = _flac_header(path) or _header(path, short)
    if rate != sample_rate:
        raise AudioError(
            "other sample rate",
            f"{path} has {rate} samples a second, expected {sample_rate}; resample it",
        )
    if channels != 1:
        raise AudioError(
            "not mono", f"{path} has {channels} channels, expected 1; mix it down to mono"
        )
    if frames <= 0:
        raise AudioError(
            "no sound", f"{path} holds no sound; remove it together with its transcript"
        )
    return frames


class HeaderReader:
    """`read_header` on threads that stay between calls, with one bar for all calls.

    Attributes:
        short: files read so far that end a little before their header says, in no order.
    """

    def __init__(
        self,
        total: int,
        *,
        jobs: int | None = None,
        sample_rate: int = SAMPLE_RATE,
        progress: bool | None = None,
    ) -> None:
        """Start the threads.

        Args:
            total: files that all calls together will read.
            jobs: threads (default: twice the CPUs, 16 at most).
            sample_rate: what every file must have.
            progress: a bar on stderr; None means where stderr is a terminal.
        """
        from tqdm import tqdm

        if jobs is None:
            jobs = min(16, 2 * cores())
        if jobs < 1:
            raise UserError(f"--jobs is {jobs}, expected 1 or more")
        show = sys.stderr.isatty() if progress is None else progress
        self.short: list[str] = []
        self._sample_rate = sample_rate
        self._pool = ThreadPoolExecutor(jobs)
        self._bar = tqdm(total=total, desc="audio headers", unit="file", disable=not show)

    def __enter__(self) -> HeaderReader:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads; files not begun are left."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._bar.close()

    def results(self, paths: Sequence[PathLike]) -> Iterator[int | AudioError]:
        """Number of samples of each file, in their order, or what is wrong with it."""
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        for results in self._pool.map(self._read, chunks):
            self._bar.update(len(results))
            yield from results

    def __call__(self, paths: Sequence[PathLike]) -> list[int]:
        """Number of samples of each file. Raises the AudioError of the first bad one."""
        lengths = []
        for result in self.results(paths):
            if isinstance(result, AudioError):
                raise result
            lengths.append(result)
        return lengths

    def _read(self, paths: Sequence[PathLike]) -> list[int | AudioError]:
        results: list[int | AudioError] = []
        for path in paths:
            try:
                results.append(read_header(path, sample_rate=self._sample_rate, short=self.short))
            except AudioError as error:
                results.append(error)
        return results


def read_headers(
    paths: Sequence[PathLike],
    *,
    jobs: int | None = None,
    sample_rate: int = SAMPLE_RATE,
    progress: bool | None = None,
) -> list[int]:
    """`read_header` of many files, in their order; the options are `HeaderReader`'s."""
    with HeaderReader(len(paths), jobs=jobs, sample_rate=sample_rate, progress=progress) as read:
        return read(paths)


def _flac_header(path: PathLike) -> tuple[int, int, int] | None:
    """Rate, channels and samples that a FLAC file begins with; None where it is in doubt.

    soundfile.info takes some 200 microseconds a file, most of it holding Python's lock, so that
    threads do not help, and mutagen 100; this takes 25. The STREAMINFO block (RFC 9639, section
    8.2) stands first in the file; what follows is looked at as far as the first frame's sync code.
    """
    try:
        with open(path, "rb", buffering=0) as handle:
            head = handle.read(512)
            if head[:4] != b"fLaC" or head[4:5] not in (b"\0", b"\x80") or head[5:8] != b"\0\0\x22":
                return None
            at, last = 42, head[4] >> 7
            while True:
                block = head[at : at + 4]
                if len(block) < 4:
                    handle.seek(at)
                    block = handle.read(4)
                if len(block) < 4:
                    return None
                if last:
                    break
                if block[0] & 0x7F not in _FLAC_BLOCKS:
                    return None
                last, at = block[0] >> 7, at + 4 + int.from_bytes(block[1:], "big")
    except OSError:
        return None
    bits = int.from_bytes(head[18:26], "big")
    rate, channels, frames = bits >> 44, (bits >> 41 & 7) + 1, bits & (1 << 36) - 1
    depth = (bits >> 36 & 31) + 1
    sound = block[0] == 0xFF and block[1] & 0xFE == 0xF8 and depth in (8, 16, 24)
    return (rate, channels, frames) if sound and rate and frames else None


def _header(path: PathLike, short: list[str] | None) -> tuple[int, int, int]:
    """The same by libsndfile, of any format that it reads."""
    import soundfile

    if os.path.isdir(path):
        raise AudioError("a folder", f"{path} is a folder, not an audio file; name a file in it")
    try:
        info = soundfile.info(os.fspath(path), verbose=True)
        missing = missing_share(info.extra_info)
        if missing > TOLERANCE:
            amount = "its end" if missing == 1 else f"{missing:.0%} of what its header tells of"
            raise AudioError(
                "audio ends early", f"{path} is cut off: {amount} is not there; copy it again"
            )
        if missing and short is not None:
            short.append(os.fspath(path))
        if info.subtype in _FLOATING:
            _check_finite(path)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        if not Path(path).exists():
            problem, reason = "missing audio", "no such file"
        elif Path(path).stat().st_size == 0:
            problem, reason = "empty file", "it is an empty file"
        else:
            problem, reason = "damaged audio", "its header is damaged"
        raise AudioError(problem, f"{path} cannot be read as audio: {reason}; copy it again") from (
            error
        )
    return int(info.samplerate), int(info.channels), int(info.frames)


def missing_share(log: str) -> float:
    """How much of what a file's header tells of is not there, in [0, 1]; 1 where that is unknown.

    libsndfile takes such a file for a shorter one, and says so in its log alone, which is
    `soundfile.info(path, verbose=True).extra_info`: WAV, AIFF, W64, RF64, AU and Ogg.
    """
    if _NO_LAST_PAGE.search(log):
        return 1.0
    shares = [0.0]
    for declared, there in _SHORT.findall(log):
        # Programs that write into a pipe leave the largest size there.
        if int(there) < int(declared) < _UNKNOWN_SIZE:
            shares.append(1 - int(there) / int(declared))
    return max(shares)


def _check_finite(path: PathLike) -> None:
    """Raise AudioError for a file of floating-point samples that holds NaN or infinity."""
    import numpy as np
    import soundfile

    for block in soundfile.blocks(os.fspath(path), blocksize=1 << 16, dtype="float64"):
        if not np.isfinite(block).all():
            raise AudioError(
                "NaN or infinity",
                f"{path} holds NaN or infinity; make it again from its source, or remove it",
            )
