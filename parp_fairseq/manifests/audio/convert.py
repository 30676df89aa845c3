"""Audio of any rate and format that libsndfile reads, as 16 kHz mono FLAC of 16 bits."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import sha256, write_bytes
from parp_fairseq.manifests.audio.headers import (
    SAMPLE_RATE,
    AudioError,
    Recording,
    check_length,
    decoded,
    in_threads,
    opened,
    read_recording,
)

_SOURCE = "source sha256 "


def convert(source: Path, target: Path) -> Recording:
    """Decode, mix to mono, resample and write `target`, at once or not at all.

    `target` says of which content it was made (in FLAC's comment), and is kept where `source` still
    holds that.

    Returns:
        What `target` holds, decoded.

    Raises:
        AudioError: `source` cannot be used.
        UserError: soxr is missing, or `target` cannot be written or is a file that converting does
            not make.
    """
    import numpy as np
    import soundfile

    soxr = load_soxr()
    with opened(source) as (file, recording):
        made_of = _SOURCE + sha256(source)
        if target.exists() and target.stat().st_size:
            comment = ""
            with contextlib.suppress(AudioError), opened(target) as (there, _):
                comment = there.comment
            if not comment.startswith(_SOURCE):
                raise UserError(f"{target} already exists and no conversion made it; move it away")
            if comment == made_of:
                with contextlib.suppress(AudioError):
                    return read_recording(target, decode=True)
        mono = np.concatenate([np.zeros(0, dtype=np.float32), *decoded(file, recording)])
    if recording.rate != SAMPLE_RATE:
        mono = soxr.resample(mono, recording.rate, SAMPLE_RATE)
    check_length(source, len(mono))
    # Encoded in memory: libsndfile does not tell a full disk from other trouble.
    flac = io.BytesIO()
    with soundfile.SoundFile(flac, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file:
        file.comment = made_of
        file.write(np.clip(mono, -1, 1))
    write_bytes(target, flac.getvalue())
    return read_recording(target, decode=True)


def convert_all(
    pairs: Sequence[tuple[Path, Path]], *, jobs: int | None = None
) -> list[Recording | AudioError]:
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
