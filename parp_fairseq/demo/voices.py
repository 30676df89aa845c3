"""Speakers: a voice of espeak-ng with a pitch, a speed and, for the "other" parts, noise."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.demo.sentences import word_lists
from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

SAMPLE_RATE = 16_000

_LANGUAGES = ("en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
_VARIANTS = Path(__file__).with_name("voices.txt")
_FAR_LANGUAGES = ("en-gb-scotland", "en-029")


@dataclass(frozen=True)
class Speaker:
    """One synthetic speaker."""

    voice: str  # espeak-ng's name, language and variant ("en-us+f3")
    pitch: int  # 0 to 100, espeak-ng's scale
    pitch_range: int  # 0 to 100, 0 is monotone
    words_per_minute: int  # speed, 80 to 450
    snr_db: float | None  # speech over white-to-pink noise in dB; None is clean
    seed: int  # of the voice's own randomness and the noise


def draw_speakers(
    rng: np.random.Generator,
    clean: int,
    other: int,
    *,
    odd: bool = False,
    near: Sequence[str] = _LANGUAGES,
    far: Sequence[str] = _FAR_LANGUAGES,
) -> tuple[list[Speaker], list[Speaker]]:
    """`clean` plain speakers and `other` ones with far accents and noise.

    No voice comes twice before all are used. With `odd`, voices that hardly sound human are among
    the others. `near` and `far` are espeak-ng's languages of the two; by default English.
    """
    variants = word_lists(_VARIANTS)
    plain = [f"{language}+{variant}" for variant in variants["plain"] for language in near]
    others = [f"{language}+{variant}" for variant in variants["plain"] for language in far]
    if odd:
        others = [
            f"{language}+{variant}" for variant in variants["odd"] for language in near
        ] + others
    return (
        [_speaker(rng, voice, noisy=False) for voice in _cycle(rng, plain, clean)],
        [_speaker(rng, voice, noisy=True) for voice in _cycle(rng, others, other)],
    )


def _cycle(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    chosen: list[str] = []
    while len(chosen) < count:
        chosen += [names[i] for i in rng.permutation(len(names))]
    return chosen[:count]


def _speaker(rng: np.random.Generator, voice: str, *, noisy: bool) -> Speaker:
    return Speaker(
        voice=voice,
        pitch=int(rng.integers(25, 75)),
        pitch_range=int(rng.integers(30, 70)),
        words_per_minute=int(rng.integers(145, 185)),
        snr_db=float(rng.uniform(15.0, 30.0)) if noisy else None,
        seed=int(rng.integers(1, 2**31)),
    )


def espeak_paths() -> tuple[str, str]:
    """Shared library and data folder of espeak-ng.

    Raises:
        UserError: the package espeakng-loader is not installed.
    """
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "espeakng-loader is missing: `pip install espeakng-loader` brings the speech "
            "synthesiser that the demo's audio is made with"
        ) from None
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


def speak(speaker: Speaker, texts: Sequence[str]) -> list[np.ndarray]:
    """Say `texts`, in order, as `speaker`.

    Returns:
        Per text a float32 array (samples,) at 16 kHz within [-1, 1], a function of the arguments.

    Raises:
        UserError: espeakng-loader is missing or espeak-ng fails.
    """
    import numpy as np

    rng = np.random.default_rng(speaker.seed)
    speeds = speaker.words_per_minute * rng.uniform(0.92, 1.08, len(texts))
    library, data = espeak_paths()
    job = {
        "library": library,
        "data": data,
        "voice": speaker.voice,
        "pitch": speaker.pitch,
        "range": speaker.pitch_range,
        "seed": speaker.seed,
        "texts": [[text.lower(), int(speed)] for text, speed in zip(texts, speeds)],
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("espeak_worker.py"))],
        input=json.dumps(job).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(reason[-1] if reason else f"espeak-ng ended with {done.returncode}")
    rate, *spoken = _unpack(done.stdout)
    return [_finish(samples, rate, speaker.snr_db, rng) for samples in spoken]


def _unpack(stream: bytes) -> list:
    import numpy as np

    parts: list = [struct.unpack_from("<i", stream)[0]]
    at = 4
    while at < len(stream):
        count = struct.unpack_from("<i", stream, at)[0]
        parts.append(np.frombuffer(stream, dtype="<i2", count=count, offset=at + 4))
        at += 4 + 2 * count
    return parts


def _finish(
    samples: np.ndarray, rate: int, snr_db: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Resample to 16 kHz, add the noise, set the level; a sixth of a second of quiet around it."""
    import math

    import numpy as np
    from scipy.signal import resample_poly

    common = math.gcd(rate, SAMPLE_RATE)
    speech = resample_poly(samples / 32768.0, SAMPLE_RATE // common, rate // common)
    speech = np.concatenate([np.zeros(1600), speech, np.zeros(1120)])
    power = float(np.mean(speech**2)) + 1e-12
    tilt = rng.uniform(0.0, 0.9) if snr_db is not None else 0.0
    noise = rng.standard_normal(len(speech) + 1)
    noise = noise[1:] + tilt * noise[:-1]
    level = power / 10 ** ((50.0 if snr_db is None else snr_db) / 10)
    speech = speech + noise * math.sqrt(level / float(np.mean(noise**2)))
    peak = rng.uniform(0.3, 0.8)
    return (speech * (peak / np.abs(speech).max())).astype(np.float32)
