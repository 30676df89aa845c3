"""Corpora of synthetic speech: written whole or not at all, with a note of their settings."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.demo.voices import SAMPLE_RATE, Speaker, espeak_paths, speak
from parp_fairseq.errors import UserError
from parp_fairseq.files import first_missing, remove_empty

STAMP = "corpus.json"


@dataclass(frozen=True)
class Spoken:
    """What one speaker says: a file of audio, relative to the corpus, for each text."""

    speaker: Speaker
    files: tuple[str, ...]
    texts: tuple[str, ...]


def check_numbers(seed: int, **counts: int) -> None:
    """Raise UserError for a seed below 0 or a count below 1."""
    for name, number, least in [("seed", seed, 0), *((*one, 1) for one in counts.items())]:
        if number < least:
            raise UserError(f"{name} must be at least {least} (got {number})")


def write_corpus(
    out: Path,
    settings: Mapping[str, Any],
    parts: Iterable[Spoken],
    jobs: int,
    write_texts: Callable[[Path], None],
) -> None:
    """Speak a corpus into a new folder; nothing where that was done already.

    Args:
        out: the folder.
        settings: what decides its content, as JSON; noted in `corpus.json` there.
        parts: what is spoken, as FLAC or MP3 files.
        jobs: speakers at a time.
        write_texts: adds the transcripts to the folder that it is given.

    Raises:
        UserError: `out` holds something else.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if _stamp(out) == settings:
            return
        raise UserError(f"{out} holds something else; choose another folder or remove it")
    espeak_paths()
    made = first_missing(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    partial.chmod(0o755)
    try:
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            list(pool.map(lambda part: _write_audio(partial, part), parts))
        write_texts(partial)
        (partial / STAMP).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        try:
            os.replace(partial, out)
        except OSError:
            # Another process was first.
            if _stamp(out) != settings:
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        remove_empty(out.parent, made)


def _write_audio(root: Path, part: Spoken) -> None:
    import soundfile

    for name, samples in zip(part.files, speak(part.speaker, part.texts)):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(file), samples, SAMPLE_RATE)


def _stamp(out: Path) -> Any:
    try:
        return json.loads((out / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
