"""Audio files: how long they are, by their headers or decoded, and what is wrong with them.

What decodes is what counts, and no more sound may follow. libsndfile believes headers: of a
variable bit rate without a length it reads a part, of joined files the first, of a stream that was
never closed what its header counts. All without an error; but where it stopped reading tells.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, other_form
from parp_fairseq.machine import cores
from parp_fairseq.manifests.labels.ctc import WINDOW

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
_LOUDEST = 4.0
"""Samples beyond it are integers written as floats; healthy sound hardly leaves [-1, 1]."""
_SILENCE = 1e-3
"""A recording whose mix moves that far from its middle for less than 25 ms is silent (-60 dB)."""
_FULL_SCALE, _CLIPPED = 0.999, 0.1
"""A recording is clipped where so much of it is beyond so much: integers as floats, written by a
program that cuts them off."""
_CANCELLED = 0.1
"""A second of a mix has lost its sound below this share of the energy that unrelated channels would
leave, and a recording if such seconds have more than that share of its energy."""
_TAGS = 2048
"""Tags may follow the sound: so many bytes, and zeros."""
_DECODED = ("MPEG", "FLOAT", "DOUBLE")
"""Subtypes of which a header and a last sample do not tell enough."""
# libsndfile gives 2**63 - 1 for an unknown length.
_MOST_FRAMES = 2**62

# Sizes of chunks in libsndfile's log.
_SHORT = re.compile(
    r"^ *(?:RIFF|riff|FORM|data|SSND|\w+ [Ss]ize) *: (\d+) \(should be (\d+)\)", re.M
)
_UNKNOWN_SIZE = 0x7FFF0000
# Of Ogg: a last page without the mark of an end, or half a page.
_NO_LAST_PAGE = re.compile("end-of-stream|after the last page", re.I)
# Of formats in chunks, where any may follow the sound: what follows is none.
_CHUNKS = ("WAV", "WAVEX", "RF64", "AIFF")
_NO_CHUNK = re.compile("Exiting parser|Have 0 marker")

# What browsers and phones record, by its first bytes.
_OTHER_FORMATS = {
    "WebM or Matroska": rb"\x1aE\xdf\xa3",
    "MP4 or M4A": rb"....(ftyp|moov|mdat|wide|free)",
    "AMR": rb"#!AMR",
    "WMA": rb"0&\xb2u",
    "AAC": rb"\xff[\xf0\xf1\xf8\xf9]",
    "APE": rb"MAC ",
    "WavPack": rb"wvpk",
    "AVI": rb"RIFF....AVI ",
    "FLV": rb"FLV\x01",
}
# What is read, by its first bytes.
_FORMATS = re.compile(
    rb"(RIFF|RF64)....WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS|FORM....AIF[CF]|\.snd|caff|NIST_1A|ID3|"
    rb"\xff[\xe2\xe3\xf2-\xf5\xfa-\xfd]",
    re.S,
)
# Of other names fairseq takes what follows a colon for a place in an archive.
_COLON_FITS = (".wav", ".flac", ".ogg")


class AudioError(UserError):
    """An audio file that cannot be used; `problem` says why in two or three words."""

    def __init__(self, problem: str, message: str) -> None:
        self.problem = problem
        super().__init__(message)


@dataclass(frozen=True)
class Recording:
    """An audio file.

    Attributes:
        frames: samples of a channel; `samples` is that at 16 kHz.
        format: libsndfile's name of it, by the content, whatever the file is called.
        missing: the share of what the header counts that is not there, `TOLERANCE` at most.
        silent: whether there is nothing to hear, known where all was decoded; and likewise
        clipped: whether over a tenth of it is at full scale.
    """

    path: Path
    rate: int
    channels: int
    frames: int
    format: str = ""
    subtype: str = ""
    missing: float = 0.0
    silent: bool = False
    clipped: bool = False

    @property
    def samples(self) -> int:
        """Length in samples at 16 kHz."""
        return round(self.frames * SAMPLE_RATE / self.rate)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate

    def lasts(self, duration: float) -> bool:
        """Whether it is that long, give or take a tenth, in seconds, milliseconds or samples."""
        rates = (1, 1000, self.rate, SAMPLE_RATE)
        off = min(abs(duration / rate - self.seconds) for rate in rates)
        return off <= 0.1 * max(1.0, self.seconds)

    def check_fits(self, sample_rate: int = SAMPLE_RATE) -> None:
        """Raise AudioError unless fairseq can read the file as it is."""
        path, neighbour = self.path, self.path.with_name(f"._{self.path.name}")
        if self.rate != sample_rate:
            problem = "other sample rate"
            says = f"has {self.rate} samples a second, expected {sample_rate}; resample it"
        elif self.channels != 1:
            problem = "not mono"
            says = f"has {self.channels} channels, expected 1; mix it down to mono"
        elif ":" in str(path) and path.suffix not in _COLON_FITS:
            problem = "colon in its path"
            says = "has a colon, which fairseq takes for an archive's; let it end in .wav"
        elif path.suffix.lower() == ".raw":
            problem = "called raw"
            says = "ends in .raw, which fairseq takes for samples without a header; rename it"
        elif self.format == "MP3" and neighbour.exists():
            problem = "hidden by its neighbour"
            says = f"is not what fairseq would open, but {neighbour.name}; remove that"
        else:
            return
        raise AudioError(problem, f"{path} {says}")

    def oddities(self) -> Iterator[tuple[str, str]]:
        """What is no reason to refuse the file: the kind, and a sentence about it."""
        if self.missing:
            says = "ends before its header says; it is used as it is"
            yield "audio a little short", f"{self.path} {says}"
        if self.silent:
            yield "silent", f"{self.path} holds nothing to hear; remove it with its transcript"
        if self.clipped:
            yield "clipped", f"{self.path} is at full scale for a tenth of its time; make it again"


def _other_format(start: bytes) -> str:
    found = (name for name, mark in _OTHER_FORMATS.items() if re.match(mark, start, re.S))
    return next(found, "")


def is_audio(path: PathLike) -> bool | None:
    """Whether a file is audio that is read, by its first bytes; None for audio that is not."""
    with contextlib.suppress(OSError), open(path, "rb") as handle:
        start = handle.read(16)
        return bool(_FORMATS.match(start)) or (None if _other_format(start) else False)
    return False


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[tuple[Any, Recording]]:
    """A SoundFile, whose format is taken from the content, and what its header says.

    Raises AudioError for a file that is missing, empty or no audio, does not say how long it is or,
    by its header, is cut off.
    """
    import soundfile

    try:
        handle = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        problem = "missing audio" if missing else "unreadable"
        form = missing and other_form(path) and "it is there in another Unicode form"
        says = f"{path}: {str(error.strerror).lower()}; {form or 'check its name'}"
        raise AudioError(problem, says) from error
    with handle:
        if not os.fstat(handle.fileno()).st_size:
            raise AudioError("empty file", f"{path} is empty; copy it again")
        try:
            with muted():
                file = soundfile.SoundFile(handle.fileno(), closefd=False)
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            handle.seek(0)
            start = handle.read(16)
            problem, reason = "damaged audio", "its header is damaged; copy it again"
            if other := _other_format(start):
                problem, reason = "other format", f"it is {other}; convert it to FLAC"
            raise AudioError(problem, f"{path} is not readable as audio: {reason}") from error
        with file:
            missing = missing_share(file.extra_info)
            size = (file.samplerate, file.channels, file.frames)
            recording = Recording(Path(path), *size, file.format, file.subtype, missing)
            if recording.frames > _MOST_FRAMES:
                says = f"{path} does not say how long it is; write it again, into a file, no pipe"
                raise AudioError("unknown length", says)
            if missing > TOLERANCE:
                amount = "its end" if missing == 1 else f"{missing:.0%} of what its header counts"
                says = f"{path} is cut off: {amount} is not there; copy it again"
                raise AudioError("audio ends early", says)
            if not recording.frames:
                _check_end(file, recording)
            yield file, recording


def read_recording(path: PathLike, *, decode: bool = False) -> Recording:
    """What a file holds, by its header and last sample, in some 150 to 250 microseconds.

    MP3, floats and what lacks its last sample are decoded whole, as all files are with `decode`.

    Raises:
        AudioError: as `opened` and `decoded`; or it holds less than a frame of the model.
    """
    import soundfile

    with opened(path) as (file, recording):
        decode = decode or recording.subtype.startswith(_DECODED)
        if not decode and recording.frames:
            try:
                file.seek(recording.frames - 1)
                # Seeking in FLAC decodes.
                decode = recording.format != "FLAC" and len(file.read(2)) != 1
            except (soundfile.SoundFileError, OSError, RuntimeError):
                decode = True
        if not decode:
            _check_end(file, recording)
    if decode and recording.frames:
        with opened(path) as (file, recording):
            blocks = [levels(block) for block in decoded(file, recording)]
        frames, heard, full = map(sum, zip(*blocks))
        recording = replace(
            recording,
            frames=frames,
            missing=max(recording.missing, 1 - frames / recording.frames),
            silent=is_silent(heard, frames, recording.rate),
            clipped=full > _CLIPPED * frames,
        )
    check_length(path, recording.samples)
    return recording


def levels(mono: np.ndarray) -> tuple[int, int, int]:
    """Of a block: its samples, those that are heard, and those at full scale."""
    import numpy as np

    heard = np.abs(mono - np.median(mono)) >= _SILENCE
    return len(mono), int(heard.sum()), int((np.abs(mono) > _FULL_SCALE).sum())


def is_silent(heard: int, frames: int, rate: int) -> bool:
    """Whether so few samples that are heard are nothing to hear."""
    return heard < min(0.025 * rate, 0.1 * frames)


def check_length(path: PathLike, samples: int) -> None:
    """Raise AudioError for less than a frame of the model, in samples at 16 kHz."""
    if samples < WINDOW:
        problem = "shorter than 25 ms" if samples else "no sound"
        says = problem if samples else "without a sample"
        raise AudioError(problem, f"{path} is {says}; remove it with its transcript")


def decoded(file: Any, recording: Recording) -> Iterator[np.ndarray]:
    """Blocks of what `opened` gave, to the end: float32, channels averaged.

    Raises AudioError for a file that is damaged, ends before or continues after what its header
    counts, holds what is no number or beyond ±4, or whose channels cancel each other.
    """
    import numpy as np
    import soundfile

    path, frames, there = recording.path, recording.frames, 0
    ends_early = "{} is damaged or cut off: {} of {} samples can be decoded; copy it again"
    # libmpg123 writes its notes to the terminal.
    quiet = muted if recording.subtype.startswith("MPEG") else contextlib.nullcontext
    energy = lost = 0.0
    while True:
        try:
            with quiet():
                size = _BLOCK_SECONDS * recording.rate
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
        if peak > _LOUDEST:
            says = f"{path} has samples of {peak:.0e}, where sound is between -1 and 1"
            raise AudioError("other scale", f"{says}; scale them")
        there += len(block)
        mono = block.mean(axis=1) if recording.channels > 1 else block[:, 0]
        if recording.channels > 1:
            seconds = np.arange(0, len(block), recording.rate)
            of_mix = np.add.reduceat(np.square(mono), seconds)
            of_all = np.add.reduceat(np.square(block).sum(axis=1), seconds) / recording.channels**2
            energy += float(of_all.sum())
            lost += float(of_all[of_mix < _CANCELLED * of_all].sum())
        yield mono
    if there < (1 - TOLERANCE) * frames:
        raise AudioError("audio ends early", ends_early.format(path, there, frames))
    _check_end(file, recording)
    if lost > _CANCELLED * energy:
        says = f"{path}: its channels cancel each other when they are mixed; keep one of them"
        raise AudioError("channels cancel", says)


def _check_end(file: Any, recording: Recording) -> None:
    """Raise AudioError where more sound is behind what was read."""
    if recording.format in _CHUNKS and not _NO_CHUNK.search(file.extra_info):
        return
    at, size = os.lseek(file.name, 0, os.SEEK_CUR), os.fstat(file.name).st_size
    behind = len(os.pread(file.name, size - at, at).strip(b"\0"))
    if behind > _TAGS:
        raise AudioError(
            "audio ends late",
            f"{recording.path}: {behind:,} bytes follow the {recording.seconds:.1f} s that its "
            "header counts: files joined, a stream, or a variable bit rate without a length; "
            "convert it to FLAC",
        )


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


def in_threads(
    work: Callable[[T], R],
    items: Sequence[T],
    *,
    jobs: int | None = None,
    title: str = "audio",
) -> list[R | AudioError]:
    """`work` of each item, in their order, or the AudioError that it raised.

    `jobs` are threads (default: the CPU's cores; less than 1 raises UserError), which run while
    libsndfile decodes. A terminal shows a bar.
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
    with muted() as terminal:
        pool = ThreadPoolExecutor(jobs)
        try:
            done = chain.from_iterable(pool.map(lambda some: [*map(attempt, some)], chunks))
            return [*tqdm(done, title, len(items), unit="file", disable=None, file=terminal)]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
