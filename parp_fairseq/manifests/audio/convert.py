"""Audio of any rate and format that libsndfile reads, as 16 kHz mono FLAC of 16 bits."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_bytes
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE, TOLERANCE, missing_share
from parp_fairseq.manifests.labels.ctc import WINDOW

# Tasks of a batch: bounds the memory that a million clips would take as pending work.
_BATCH = 2048


@dataclass(frozen=True)
class Audio:
    """A file's length, or what is wrong with it.

    Attributes:
        samples: length in samples at 16 kHz; 0 where there is a fault.
        fault: why the file cannot be used, without its name; empty where it can.
    """

    samples: int
    fault: str = ""

    @property
    def hours(self) -> float:
        """Length in hours."""
        return self.samples / SAMPLE_RATE / 3600


def measure(source: Path) -> Audio:
    """Length of a file as its header tells it, without decoding."""
    import soundfile

    try:
        if source.stat().st_size == 0:
            return Audio(0, "empty file")
        info = soundfile.info(str(source), verbose=True)
    except FileNotFoundError:
        return Audio(0, "no such clip")
    except (soundfile.SoundFileError, OSError, RuntimeError):
        return Audio(0, "not readable as audio")
    if missing_share(info.extra_info) > TOLERANCE:
        return Audio(0, "cut off: shorter than its header says")
    samples = round(info.frames * SAMPLE_RATE / info.samplerate)
    return Audio(samples) if samples >= WINDOW else Audio(0, "shorter than 25 ms")


def convert(source: Path, target: Path) -> Audio:
    """Decode, mix to mono, resample and write `target`, at once or not at all.

    A finished `target` that is no older than `source` is kept. Raises UserError where soxr is
    missing, or `target` cannot be written or is a file that converting does not make; what is
    wrong with `source` is told in the result.
    """
    import numpy as np
    import soundfile

    soxr = load_soxr()
    done = _finished(source, target)
    if done:
        return Audio(done)
    if target.is_file() and not _is_ours(target):
        raise UserError(
            f"{target} is there and was not made from {source.name}; move it away, or choose "
            "another folder for the audio"
        )
    header = measure(source)
    if header.fault:
        return header
    try:
        samples, rate = soundfile.read(str(source), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError):
        return Audio(0, "damaged audio")
    if not np.isfinite(samples).all():
        return Audio(0, "NaN or infinity in its samples")
    length = len(samples) * SAMPLE_RATE / rate
    if length < (1 - TOLERANCE) * header.samples:
        return Audio(0, "shorter than its header says")
    if source.suffix.lower() == ".mp3":
        chain, cut = mp3_frames(source)
        if cut:
            return Audio(0, "cut off: it ends inside of a frame")
        if length < (1 - TOLERANCE) * chain:
            # Without a Xing header libsndfile guesses the length of a variable bit rate and stops.
            return Audio(0, "variable bit rate without a length in the header")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    if len(mono) < WINDOW:
        return Audio(0, "shorter than 25 ms")
    # Encoded in memory: libsndfile does not tell a full disk from other trouble.
    flac = io.BytesIO()
    soundfile.write(flac, np.clip(mono, -1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    write_bytes(target, flac.getvalue())
    return Audio(len(mono))


def measure_all(sources: Sequence[Path], *, jobs: int) -> list[Audio]:
    """`measure` of many files, in their order, on `jobs` threads."""
    with muted(), ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(measure, sources))


def convert_all(
    pairs: Sequence[tuple[Path, Path]], *, jobs: int, progress: bool | None = None
) -> list[Audio]:
    """`convert` of many (source, target) pairs, in their order, on `jobs` threads.

    Decoding, resampling and encoding let other threads run. `progress` shows a bar on stderr,
    with the hours done and about how many are left; None means where stderr is a terminal.
    """
    from tqdm import tqdm

    load_soxr()
    show = sys.stderr.isatty() if progress is None else progress
    results: list[Audio] = []
    hours = 0.0
    with muted() as terminal:
        pool = ThreadPoolExecutor(jobs)
        bar = tqdm(
            total=len(pairs), desc="16 kHz FLAC", unit="clip", disable=not show, file=terminal
        )
        try:
            for start in range(0, len(pairs), _BATCH):
                batch = pairs[start : start + _BATCH]
                for audio in pool.map(lambda pair: convert(*pair), batch):
                    results.append(audio)
                    hours += audio.hours
                    left = hours / len(results) * (len(pairs) - len(results))
                    bar.set_postfix_str(f"{hours:.2f} h done, about {left:.2f} h left", False)
                    bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            bar.close()
    return results


def load_soxr() -> Any:
    """The resampler. Raises UserError where it is missing."""
    try:
        import soxr
    except ImportError as error:
        raise UserError(
            "soxr, which resamples audio, is missing; in the clone of parp-fairseq: "
            "pip install '.[audio]'"
        ) from error
    return soxr


def _finished(source: Path, target: Path) -> int:
    """Samples of an earlier conversion that still holds, or 0."""
    import soundfile

    try:
        if target.stat().st_mtime < source.stat().st_mtime:
            return 0
        info = soundfile.info(str(target))
    except (soundfile.SoundFileError, OSError, RuntimeError):
        return 0
    sound = info.samplerate == SAMPLE_RATE and info.channels == 1 and info.frames >= WINDOW
    return int(info.frames) if sound else 0


def _is_ours(target: Path) -> bool:
    """Whether a file may be an earlier conversion, old or damaged; never another's file."""
    import soundfile

    try:
        info = soundfile.info(str(target))
    except (soundfile.SoundFileError, OSError, RuntimeError):
        with target.open("rb") as handle:
            return handle.read(4) in (b"", b"fLaC")
    return (info.format, info.samplerate, info.channels) == ("FLAC", SAMPLE_RATE, 1)


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


# Layer III: kilobits a second by the header's index, for MPEG 1 and for MPEG 2 and 2.5.
_KBIT_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBIT_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44_100, 48_000, 32_000)
_MPEG_1 = 3
# Behind a picture of the record, a header is not looked for.
_XING_WITHIN = 4096


def mp3_frames(path: Path) -> tuple[float, bool]:
    """What the chain of frames that an MP3 file begins with tells.

    Libraries go by the first frame's header, which a file that was cut keeps.

    Returns:
        How many samples at 16 kHz it has at least, and whether the file ends inside of a frame or
        has fewer frames than its first one counts.
    """
    data = path.read_bytes()
    at = 0
    if data[:3] == b"ID3" and len(data) > 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        at = 10 + size
    seconds = frame = 0.0
    frames = -1  # the first one holds no sound but their count
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] & 0xE6 == 0xE2:
        version = data[at + 1] >> 3 & 3
        kbit, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
        if version == 1 or kbit in (0, 15) or rate == 3:
            break
        samples = 1152 if version == _MPEG_1 else 576
        hertz = _RATES[rate] >> (0 if version == _MPEG_1 else 1 if version == 2 else 2)
        bits = 1000 * (_KBIT_1 if version == _MPEG_1 else _KBIT_2)[kbit]
        frame = samples / hertz
        seconds += frame
        frames += 1
        at += samples // 8 * bits // hertz + padding
    # The first frame may be the header; delay and padding, up to three more, are cut away.
    return max(0.0, seconds - 4 * frame) * SAMPLE_RATE, (
        at > len(data) and seconds > 0
    ) or 0 <= frames < _counted_frames(data)


def _counted_frames(data: bytes) -> int:
    """Frames that a Xing header counts; 0 where there is none."""
    at = max(data[:_XING_WITHIN].find(b"Xing"), data[:_XING_WITHIN].find(b"Info"))
    if at < 0 or not data[at + 7] & 1:
        return 0
    return int.from_bytes(data[at + 8 : at + 12], "big")
