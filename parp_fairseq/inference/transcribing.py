"""`parp transcribe`: everything is checked first, then recordings are transcribed one by one."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from parp_fairseq.checkpoints.formats import check_format, named_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.inference.audio import STANDARD_INPUT, find_recordings
from parp_fairseq.inference.beam_search import BeamSearch, LanguageModel
from parp_fairseq.inference.budget import Budget, within
from parp_fairseq.inference.recognise import CONTEXT_SECONDS, SECONDS, transcribe
from parp_fairseq.inference.subnetwork import AUTO, DENSE, open_subnetwork, run_sparse
from parp_fairseq.inference.transcript_files import Output, choose_format
from parp_fairseq.manifests.audio.convert import load_soxr
from parp_fairseq.manifests.audio.headers import (
    SAMPLE_RATE,
    AudioError,
    Recording,
    check_length,
    opened,
)

SHORTEST_WINDOW = 3 * CONTEXT_SECONDS


def transcribe_all(
    model: PathLike,
    audio: Sequence[PathLike],
    *,
    form: str | None = None,
    output: PathLike | None = None,
    engine: str = AUTO,
    precision: str | None = None,
    window: float = SECONDS,
    force: bool = False,
    sparsity: float | None = None,
    budget: str | None = None,
    language: LanguageModel | None = None,
) -> int:
    """Transcribe files and folders of audio, and write what is said; return how many failed.

    A file that cannot be used is reported on standard error, and the others are transcribed. The
    arguments are the options of `parp transcribe`. UserError where an option, model or output is
    wrong; nothing was written then.
    """
    started = time.perf_counter()
    form = choose_format(form, output)
    if not SHORTEST_WINDOW <= window < float("inf"):
        raise UserError(
            f"--window must be at least {SHORTEST_WINDOW:g} seconds (got {window:g}): "
            f"{CONTEXT_SECONDS:g} on either side are only context"
        )
    if budget is not None and sparsity is not None:
        raise UserError("--budget chooses the sparsity: leave it or --sparsity out")
    if precision is not None and engine == DENSE:
        raise UserError("--precision is for --engine auto or sparse; leave one of the two out")
    limit = None if budget is None else Budget.parse(budget)
    model = named_checkpoint(model)
    check_format(model)
    paths, unread = find_recordings(audio)
    written = Output(form, output, audio, paths)
    read = [] if language is None else [Path(language.lm), Path(language.lexicon)]
    written.check([*paths, *read, *(model.iterdir() if model.is_dir() else [model])], force)
    recordings: list[Recording] = []
    # Removed when it is closed, at the end of this function.
    spool = tempfile.NamedTemporaryFile(prefix="standard-input-")  # noqa: SIM115
    spooled = Path(spool.name)
    if STANDARD_INPUT in paths:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.flush()
    for path in paths:
        place = spooled if path == STANDARD_INPUT else path
        with _reported(), opened(place) as (_, recording):
            check_length(place, recording.samples)
            recordings.append(recording)
    if not recordings:
        return len(paths)
    if any(recording.rate != SAMPLE_RATE for recording in recordings):
        load_soxr()

    if limit is None:
        subnetwork = open_subnetwork(model, sparsity)
        groups = run_sparse(subnetwork.model, engine, precision)
    else:
        subnetwork, groups, level, taken = within(model, limit, engine, precision, window)
        print(f"parp: sparsity {level:g} takes {limit.shown(taken)}", file=sys.stderr)
    # Only an opened model says which file it is.
    written.check_not(subnetwork.dictionary)
    search = None if language is None else BeamSearch(language, subnetwork.symbols)
    if unread:
        print(
            f"parp: {sum(unread.values()):,} files that end in {', '.join(sorted(unread))} are not "
            "read; convert them to FLAC",
            file=sys.stderr,
        )
    ready = time.perf_counter()
    done: list[float] = []
    # On a terminal, lines of text would come between those of the bar.
    hidden = True if output is None and sys.stdout.isatty() else None
    total = round(sum(recording.seconds for recording in recordings), 1)
    with tqdm(total=total, desc="transcribing", unit="s of audio", disable=hidden) as bar:
        for recording in recordings:
            with _reported():
                transcript = transcribe(subnetwork, recording, window, search=search)
                if recording.path == spooled:
                    named = replace(recording, path=STANDARD_INPUT)
                    transcript = replace(transcript, recording=named)
                written.take(transcript)
                done.append(transcript.seconds)
                if transcript.silent:
                    print(f"parp: {recording.path} holds nothing to hear", file=sys.stderr)
            bar.update(round(recording.seconds, 1))
    written.finish(len(done))
    failed = len(paths) - len(done)
    if done:
        seconds, computed = sum(done), time.perf_counter() - ready
        print(
            f"parp: {len(done):,} recording{'s' * (len(done) > 1)}, {seconds:,.1f} s of audio; "
            f"computed in {computed:,.2f} s (real-time factor {computed / seconds:.3f}); model "
            f"opened in {ready - started:.2f} s"
            + (f"; {groups} groups of layers ran sparse" if groups else "")
            + ("" if output is None else f"; written: {output}")
            + (f"; {failed:,} FAILED, see above" if failed else ""),
            file=sys.stderr,
        )
    return failed


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Report an audio file that cannot be used."""
    try:
        yield
    except AudioError as error:
        print(f"parp: error: {error}", file=sys.stderr, flush=True)
