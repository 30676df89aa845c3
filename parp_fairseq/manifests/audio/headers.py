"""Audio files: how long they are, by their headers or decoded, and what is wrong with them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, other_form
from parp_fairseq.machine import cores
from parp_fairseq.manifests.audio.mp3 import mp3_frames

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
R = TypeVar("R")

SAMPLE_RATE = 16_000
"""Samples a second of everything wav2vec 2.0 was trained on."""

TOLERANCE = 0.05
"""By how much a healthy file may be shorter than its header says: recorders leave headers that
count a buffer too many, and encoders delay and pad."""

_BLOCK_SECONDS = 10
LOUDEST = 100.0
"""Samples beyond it are integers written as floats; healthy sound hardly leaves [-1, 1]."""
# libsndfile gives 2**63 - 1 for an unknown length.
_MOST_FRAMES = 2**62
_FLOATING = ("FLOAT", "DOUBLE")

# Sizes of chunks in libsndfile's log.
_SHORT = re.compile(
    r"^ *(?:RIFF|riff|FORM|data|SSND|\w+ [Ss]ize) *: (\d+) \(should be (\d+)\)", re.M
)
_UNKNOWN_SIZE = 0x7FFF0000
# Of Ogg: a last page without the mark of an end, or half a page.
_NO_LAST_PAGE = re.compile("end-of-stream|after the last page", re.I)

# What browsers and phones record, by its first bytes.
_OTHER_FORMATS = ((0, b"\x1aE\xdf\xa3", "WebM or Matroska"), (4, b"ftyp", "MP4 or M4A"))


class AudioError(UserError):
    """An audio file that cannot be used; `problem` says why in two or three words."""

    def __init__(self, problem: str, message: str) -> None:
        self.problem = problem
        super().__init__(message)


@dataclass(frozen=True)
class Header:
    """What a file's header says.

    Attributes:
        frames: samples of a channel; `samples` is that at 16 kHz.
        format: libsndfile's name of it, by the content, whatever the file is called.
        missing: the share of what the header counts that is not there, `TOLERANCE` at most.
    """

    path: str
    rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    missing: float = 0.0

    @property
    def samples(self) -> int:
        """Length in samples at 16 kHz."""
        return round(self.frames * SAMPLE_RATE / self.rate)

    def check_fits(self, sample_rate: int = SAMPLE_RATE) -> None:
        """Raise AudioError unless fairseq can read the file as it is."""
        if self.rate != sample_rate:
            says = (
                f"{self.path} has {self.rate} samples a second, expected {sample_rate}; resample it"
            )
            raise AudioError("other sample rate", says)
        if self.channels != 1:
            says = f"{self.path} has {self.channels} channels, expected 1; mix it down to mono"
            raise AudioError("not mono", says)
        if self.frames <= 0:
            raise AudioError(
                "no sound", f"{self.path} holds no sound; remove it and its transcript"
            )


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[Any]:
    """A SoundFile, whose format is taken from the content, and by the name only where that fails.

    Raises AudioError for a file that is missing, empty, a folder or no audio.
    """
    import soundfile

    if os.path.isdir(path):
        raise AudioError("a folder", f"{path} is a folder, not an audio file; name a file in it")
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        form = other_form(path) and "a file of that name is there in another Unicode form"
        says = f"{path}: no such file; {form or 'check its name'}"
        raise AudioError("missing audio", says) from error
    except OSError as error:
        raise AudioError("unreadable", f"{path} cannot be read ({error.strerror})") from error
    with os.fdopen(descriptor, "rb") as handle:
        if not os.fstat(descriptor).st_size:
            raise AudioError("empty file", f"{path} is empty; copy it again")
        try:
            try:
                file = soundfile.SoundFile(descriptor, closefd=False)
            except soundfile.SoundFileError:
                # An MP3 file behind unusual tags is known by nothing but its name.
                file = soundfile.SoundFile(os.fspath(path))
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            handle.seek(0)
            start = handle.read(16)
            problem, reason = "damaged audio", "its header is damaged; copy it again"
            for at, mark, name in _OTHER_FORMATS:
                if start[at:].startswith(mark):
                    problem, reason = "other format", f"it is {name}; convert it to FLAC"
            raise AudioError(problem, f"{path} is not readable as audio: {reason}") from error
        with file:
            yield file


def read_header(path: PathLike) -> Header:
    """Read a file's header, in some 100 to 200 microseconds.

    MP3 files are also followed from frame to frame, because their headers are not to be trusted.
    Raises AudioError for a file that cannot be read, or does not hold what its header says.
    """
    with opened(path) as file:
        size = (int(file.samplerate), int(file.channels), int(file.frames))
        missing = missing_share(file.extra_info)
        header = Header(os.fspath(path), *size, file.format, file.subtype, missing)
    if header.frames > _MOST_FRAMES:
        says = f"{path} does not say how long it is; write it again, into a file and not a pipe"
        raise AudioError("unknown length", says)
    if missing > TOLERANCE:
        amount = "its end" if missing == 1 else f"{missing:.0%} of what its header counts"
        says = f"{path} is cut off: {amount} is not there; copy it again"
        raise AudioError("audio ends early", says)
    if header.format == "MP3":
        enough, cut = mp3_frames(path)
        if cut:
            raise AudioError("audio ends early", f"{path} is cut off; copy it again")
        if header.samples < (1 - TOLERANCE) * enough:
            raise AudioError(
                "audio ends late",
                f"{path} holds {enough / SAMPLE_RATE:.1f} s or more, of which libsndfile reads "
                f"{header.frames / header.rate:.1f} s: a variable bit rate without a length, or "
                "files joined; convert it to FLAC",
            )
    return header


def decoded(path: PathLike, frames: int, loudest: float = LOUDEST) -> Iterator[np.ndarray]:
    """Blocks of (samples, channels) in float32, to the end.

    Raises AudioError for a file that is damaged, ends before the `frames` that its header counts,
    or holds what is no number or beyond `loudest`.
    """
    import numpy as np
    import soundfile

    there = 0
    ends_early = "{} is damaged or cut off: {} of {} samples can be decoded; copy it again"
    with opened(path) as file:
        # libmpg123 writes its notes to the terminal.
        quiet = muted if file.format == "MP3" else contextlib.nullcontext
        while True:
            try:
                with quiet():
                    size = _BLOCK_SECONDS * file.samplerate
                    block = file.read(size, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError, RuntimeError) as error:
                says = ends_early.format(path, there, frames)
                raise AudioError("audio ends early", says) from error
            if not len(block):
                break
            if not np.isfinite(block).all():
                says = f"{path} holds NaN or infinity; make it again from its source, or remove it"
                raise AudioError("NaN or infinity", says)
            peak = float(np.abs(block).max())
            if peak > loudest:
                says = f"{path} has samples of {peak:.0e}, where sound lies between -1 and 1"
                raise AudioError("other scale", says)
            there += len(block)
            yield block
    if there < (1 - TOLERANCE) * frames:
        raise AudioError("audio ends early", ends_early.format(path, there, frames))


def missing_share(log: str) -> float:
    """How much of what a file's header counts is missing, in [0, 1]; 1 where that is unknown.

    libsndfile takes such a file for a shorter one, and says so only in its log, which is
    `SoundFile.extra_info`: WAV, AIFF, W64, RF64, AU and Ogg.
    """
    if _NO_LAST_PAGE.search(log):
        return 1.0
    shares = [0.0]
    for declared, there in _SHORT.findall(log):
        # Programs that write into a pipe leave the largest size there.
        if int(there) < int(declared) < _UNKNOWN_SIZE:
            shares.append(1 - int(there) / int(declared))
    return max(shares)


def count_samples(path: PathLike) -> Header:
    """As `read_header`, but decodes MP3, whose length is what decodes, and files of floats."""
    header = read_header(path)
    if header.format != "MP3" and header.subtype not in _FLOATING:
        return header
    return replace(header, frames=sum(len(block) for block in decoded(path, header.frames)))


def in_threads(
    work: Callable[[T], R],
    items: Sequence[T],
    *,
    jobs: int | None = None,
    title: str = "audio headers",
    progress: bool | None = None,
) -> list[R | AudioError]:
    """`work` of each item, in their order, or the AudioError that it raised.

    `jobs` are threads (default: the CPU's cores; less than 1 raises UserError), which run while
    libsndfile decodes. `progress` shows a bar on stderr; None means where stderr is a terminal.
    """
    from tqdm import tqdm

    jobs = cores() if jobs is None else jobs
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1 (got {jobs})")

    def attempt(item: T) -> R | AudioError:
        try:
            return work(item)
        except AudioError as error:
            return error

    # A header is read faster than a task is handed over.
    size = max(1, min(64, len(items) // (8 * jobs)))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    hidden = None if progress is None else not progress
    results: list[R | AudioError] = []
    with muted() as terminal:
        pool = ThreadPoolExecutor(jobs)
        bar = tqdm(total=len(items), desc=title, unit="file", disable=hidden, file=terminal)
        try:
            for some in pool.map(lambda some: [*map(attempt, some)], chunks):
                results += some
                bar.update(len(some))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            bar.close()
    return results


@contextlib.contextmanager
def muted() -> Iterator[TextIO]:
    """Silence libmpg123, which writes its notes on damaged files to file descriptor 2.

    Yields the stream that still leads to the terminal.
    """
    try:
        through = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        through = False
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        terminal = sys.stderr
        if through:
            terminal = stack.enter_context(open(os.dup(kept), "w", encoding="utf-8"))
        yield terminal
