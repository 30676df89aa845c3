"""Audio of any rate and format that libsndfile reads, as 16 kHz mono FLAC of 16 bits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_bytes
from parp_fairseq.manifests.audio.headers import (
    SAMPLE_RATE,
    AudioError,
    decoded,
    in_threads,
    opened,
    read_header,
)
from parp_fairseq.manifests.labels.ctc import WINDOW

_SOURCE = "source sha256 "


def measure(source: Path) -> int:
    """Length in samples at 16 kHz, by the header. Raises AudioError."""
    samples = read_header(source).samples
    if samples < WINDOW:
        raise _too_short(source)
    return samples


def convert(source: Path, target: Path) -> int:
    """Decode, mix to mono, resample and write `target`, at once or not at all.

    `target` says of which content it was made (in FLAC's comment), and is kept where `source` still
    holds that.

    Returns:
        Its length in samples.

    Raises:
        AudioError: `source` cannot be used.
        UserError: soxr is missing, or `target` cannot be written or is a file that converting does
            not make.
    """
    import numpy as np
    import soundfile

    soxr = load_soxr()
    header = read_header(source)
    made_of = _SOURCE + hashlib.sha256(source.read_bytes()).hexdigest()
    done = _samples_there(source, target, made_of)
    if done:
        return done
    blocks = list(decoded(source, header.frames))
    samples = np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.float32)
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if header.rate != SAMPLE_RATE:
        mono = soxr.resample(mono, header.rate, SAMPLE_RATE)
    if len(mono) < WINDOW:
        raise _too_short(source)
    # Encoded in memory: libsndfile does not tell a full disk from other trouble.
    flac = io.BytesIO()
    with soundfile.SoundFile(flac, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        file.comment = made_of
        file.write(np.clip(mono, -1, 1))
    write_bytes(target, flac.getvalue())
    return len(mono)


def convert_all(
    pairs: Sequence[tuple[Path, Path]], *, jobs: int | None = None
) -> list[int | AudioError]:
    """`convert` of many (source, target) pairs on `jobs` threads; see `in_threads`."""
    load_soxr()
    return in_threads(lambda pair: convert(*pair), pairs, jobs=jobs, title="16 kHz FLAC")


def load_soxr() -> Any:
    """The resampler. Raises UserError where it is missing."""
    try:
        import soxr
    except ImportError as error:
        raise UserError(
            "soxr is missing; in the clone of parp-fairseq: pip install '.[audio]'"
        ) from error
    return soxr


def _too_short(source: Path) -> AudioError:
    return AudioError("shorter than 25 ms", f"{source} is shorter than 25 ms; remove it")


def _samples_there(source: Path, target: Path, made_of: str) -> int:
    """Samples of a finished conversion of the same content; 0 where it is to be made (again)."""
    if not target.is_file():
        return 0
    try:
        with opened(target) as file:
            ours = (file.format, file.samplerate, file.channels) == ("FLAC", SAMPLE_RATE, 1)
            samples = int(file.frames) if file.comment == made_of and file.frames >= WINDOW else 0
    except AudioError:
        with target.open("rb") as handle:
            ours, samples = handle.read(4) in (b"", b"fLaC"), 0
    if not ours:
        raise UserError(
            f"{target} already exists and was not made from {source.name}; move it away"
        )
    return samples
