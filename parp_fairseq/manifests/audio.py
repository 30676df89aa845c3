"""Reading audio headers, many at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parp_fairseq.errors import UserError

SAMPLE_RATE = 16_000
"""Samples a second of everything wav2vec 2.0 was trained on."""


def read_header(path: Path, *, sample_rate: int = SAMPLE_RATE) -> int:
    """Number of samples of a mono file at `sample_rate`. Raises UserError otherwise."""
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        reason = "no such file" if not path.exists() else "its header is damaged"
        raise UserError(f"{path} cannot be read as audio: {reason}; copy it again") from error
    if info.samplerate != sample_rate:
        raise UserError(
            f"{path} has {info.samplerate} samples a second, expected {sample_rate}; resample it"
        )
    if info.channels != 1:
        raise UserError(f"{path} has {info.channels} channels, expected 1; mix it down to mono")
    if info.frames <= 0:
        raise UserError(f"{path} holds no sound; remove it together with its transcript")
    return int(info.frames)


def read_headers(
    paths: Sequence[Path],
    *,
    jobs: int | None = None,
    sample_rate: int = SAMPLE_RATE,
    progress: bool | None = None,
) -> list[int]:
    """`read_header` of many files, in their order, on `jobs` threads.

    `progress` shows a bar on stderr; None means where stderr is a terminal.
    """
    from tqdm import tqdm

    if jobs is None:
        jobs = min(16, 2 * (os.cpu_count() or 1))
    if jobs < 1:
        raise UserError(f"jobs is {jobs}, expected 1 or more")
    show = sys.stderr.isatty() if progress is None else progress
    pool = ThreadPoolExecutor(jobs)
    try:
        lengths = pool.map(lambda path: read_header(path, sample_rate=sample_rate), paths)
        return list(
            tqdm(lengths, total=len(paths), desc="audio headers", unit="file", disable=not show)
        )
    finally:
        # After the first bad file the rest need not be read.
        pool.shutdown(wait=True, cancel_futures=True)
