"""`parp transcribe`: transcripts of audio files."""

# No `from __future__ import annotations`: typer reads the annotations themselves.
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from parp_fairseq.cli.options import (
    Beam,
    Force,
    Lexicon,
    Lm,
    LmWeight,
    Sparsity,
    WordScore,
    language_model,
)
from parp_fairseq.errors import EXIT_CODE


def transcribe(
    model: Annotated[
        Path,
        typer.Argument(
            help="A fine-tuned checkpoint, a run's folder, a sparse file, or an export for "
            "transformers."
        ),
    ],
    audio: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO",
            help="Audio files (WAV, FLAC, MP3, OGG …), folders of them, or - for standard input.",
        ),
    ],
    form: Annotated[
        Optional[Literal["text", "jsonl", "srt"]],
        typer.Option(
            "--format",
            help="text (after path and tab for several files); jsonl with word times; srt: "
            "captions (default: what --out ends in, or text).",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--out",
            "-o",
            "--output",
            help="File to write (default: standard output); a folder for several files' captions.",
        ),
    ] = None,
    engine: Annotated[
        Literal["auto", "dense", "sparse"],
        typer.Option(
            help="dense; sparse: over the kept weights only where a measurement finds that "
            "faster; auto: where it clearly is, without measuring."
        ),
    ] = "auto",
    precision: Annotated[
        Optional[Literal["exact", "bf16"]],
        typer.Option(
            help="Run what else is measured faster by OpenVINO (or oneDNN) than in torch: "
            "exact is float32."
        ),
    ] = None,
    window: Annotated[
        float,
        typer.Option(help="Seconds run at a time; longer recordings in overlapping windows."),
    ] = 20.0,
    sparsity: Sparsity = None,
    budget: Annotated[
        Optional[str],
        typer.Option(
            help="Take the densest level of a nested training that needs no more: 200ms for a "
            "second of speech (measured here), or 30MB of a sparse file."
        ),
    ] = None,
    lm: Lm = None,
    lexicon: Lexicon = None,
    beam: Beam = 50,
    lm_weight: LmWeight = 2.0,
    word_score: WordScore = -1.0,
    force: Force = False,
) -> None:
    """Transcribe audio of any sample rate and length on this CPU, without fairseq.

    Greedy CTC decoding, or beam search with --lm and --lexicon, as parp eval. The real-time factor
    is printed on standard error. A file that cannot be used is reported, and the others are
    transcribed (exit code 2).

    Example: parp transcribe model.safetensors meeting.mp3 -o meeting.srt
    """
    from parp_fairseq.inference.transcribing import transcribe_all

    failed = transcribe_all(
        model,
        audio,
        form=form,
        output=output,
        engine=engine,
        precision=precision,
        window=window,
        force=force,
        sparsity=sparsity,
        budget=budget,
        language=language_model(lm, lexicon, beam, lm_weight, word_score),
    )
    if failed:
        raise typer.Exit(EXIT_CODE)
