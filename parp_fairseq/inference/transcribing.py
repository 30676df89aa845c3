"""`parp transcribe`: everything is checked first, then recordings are transcribed one by one."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.inference import transcript_files as forms
from parp_fairseq.inference.audio import SAMPLE_RATE, Recording, find_recordings, read_recording
from parp_fairseq.inference.engines import AUTO, ENGINES, run_sparse
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.sinks import Sink, check_dictionary, check_outputs, make_sink
from parp_fairseq.inference.subnetwork import check_model, open_subnetwork
from parp_fairseq.inference.windows import CONTEXT_SECONDS, SECONDS
from parp_fairseq.manifests.audio.convert import load_soxr

if TYPE_CHECKING:
    from parp_fairseq.inference.subnetwork import Subnetwork

SHORTEST_WINDOW = 3 * CONTEXT_SECONDS


@dataclass(frozen=True)
class Outcome:
    """What came of the recordings; `seconds` of audio, `computed` and `loading` of time."""

    transcribed: int
    failed: int
    seconds: float
    computed: float
    loading: float
    sparse: int

    def __str__(self) -> str:
        """A line for people."""
        what = "recording" if self.transcribed == 1 else "recordings"
        parts = [f"{self.transcribed:,} {what}, {self.seconds:,.1f} s of audio"]
        if self.seconds:
            factor = self.computed / self.seconds
            parts.append(f"computed in {self.computed:,.2f} s (real-time factor {factor:.3f})")
        parts.append(f"model opened in {self.loading:.2f} s")
        if self.sparse:
            parts.append(f"{self.sparse} groups of layers ran sparse")
        if self.failed:
            parts.append(f"{self.failed:,} FAILED, see above")
        return "; ".join(parts)


def transcribe_all(
    model: PathLike,
    audio: Sequence[PathLike],
    *,
    form: str = forms.TEXT,
    output: PathLike | None = None,
    engine: str = AUTO,
    window: float = SECONDS,
    force: bool = False,
    progress: bool | None = None,
) -> Outcome:
    """Transcribe files and folders of audio, and write what is said.

    Every file's header is checked before the model is opened. A file that turns out to be damaged
    later is told on standard error, and the others go on.

    Args:
        model: a fine-tuned checkpoint, sparse file, or folder of transformers.
        audio: files and folders.
        form: one of `forms.FORMATS`. Text is bare for one file, and behind its path for several or
            a folder's.
        output: file to write, for `srt` of several recordings a folder; standard output if None.
        engine: one of ENGINES.
        window: seconds that are run at a time.
        force: replace output that is there.
        progress: show a bar on stderr; None means where stderr is a terminal and text does not
            come between.

    Raises:
        UserError: a wrong option, model, output, or audio file; nothing was written then.
    """
    started = time.perf_counter()
    _check_options(form, engine, window)
    model = check_model(model)
    paths = find_recordings(audio)
    sink = make_sink(form, None if output is None else Path(output), audio, paths)
    check_outputs(sink, model, paths, force)
    recordings = _headers(paths)

    subnetwork = open_subnetwork(model)
    # Which file it is, only an opened model tells.
    check_dictionary(sink, subnetwork.dictionary, paths)
    sparse = run_sparse(subnetwork.model, engine)
    _tell_mixed(recordings)
    opened = time.perf_counter()
    done, failed, seconds = _run(subnetwork, recordings, window, sink, progress)
    sink.finish(done)
    ended = time.perf_counter()
    return Outcome(done, failed, seconds, ended - opened, opened - started, sparse)


def _check_options(form: str, engine: str, window: float) -> None:
    if form not in forms.FORMATS:
        raise UserError(f"--format is {form!r}; use one of {', '.join(forms.FORMATS)}")
    if engine not in ENGINES:
        raise UserError(f"--engine is {engine!r}; use one of {', '.join(ENGINES)}")
    if not SHORTEST_WINDOW <= window < float("inf"):
        raise UserError(
            f"--window is {window:g} seconds, expected {SHORTEST_WINDOW:g} or more: "
            f"{CONTEXT_SECONDS:g} on either side are context alone"
        )


def _headers(paths: Sequence[Path]) -> list[Recording]:
    """Every file's header; also that soxr is there if it is needed."""
    recordings, faults = [], []
    for path in paths:
        try:
            recordings.append(read_recording(path))
        except UserError as error:
            faults.append(error)
    if faults:
        others = f" ({len(faults) - 1:,} other files cannot be used either)"
        raise UserError(f"{faults[0]}{others if len(faults) > 1 else ''}") from faults[0]
    if any(recording.rate != SAMPLE_RATE for recording in recordings):
        load_soxr()
    return recordings


def _tell_mixed(recordings: Sequence[Recording]) -> None:
    mixed = [recording for recording in recordings if recording.channels > 1]
    if mixed:
        which = mixed[0].path if len(mixed) == 1 else f"{len(mixed):,} recordings"
        have = "has" if len(mixed) == 1 else "have"
        print(f"parp: {which} {have} several channels: they are mixed to one", file=sys.stderr)


def _run(
    subnetwork: Subnetwork,
    recordings: Sequence[Recording],
    window: float,
    sink: Sink,
    progress: bool | None,
) -> tuple[int, int, float]:
    """How many were transcribed, how many failed, and the seconds of the former."""
    done = failed = 0
    seconds = 0.0
    # On a terminal, lines of text would come between those of the bar.
    quiet = sink.output is not None or not sys.stdout.isatty()
    show = sys.stderr.isatty() and quiet if progress is None else progress
    bar = _bar(recordings) if show else None
    try:
        for recording in recordings:
            try:
                transcript = transcribe(subnetwork, recording, window)
            except UserError as error:
                failed += 1
                print(f"parp: error: {error}", file=sys.stderr, flush=True)
            else:
                sink.take(transcript)
                done += 1
                seconds += transcript.seconds
            if bar is not None:
                bar.update(round(recording.seconds, 1))
    finally:
        if bar is not None:
            bar.close()
    return done, failed, seconds


def _bar(recordings: Sequence[Recording]) -> Any:
    from tqdm import tqdm

    total = round(sum(recording.seconds for recording in recordings), 1)
    return tqdm(total=total, desc="transcribing", unit="s of audio", file=sys.stderr)
