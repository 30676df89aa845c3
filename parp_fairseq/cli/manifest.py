"""`parp manifest`: what fairseq reads, from a corpus."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parp_fairseq.cli.options import AllowMissing, AsJson, Jobs

if TYPE_CHECKING:
    from parp_fairseq.manifests.summary import BuildSummary

app = typer.Typer(no_args_is_help=True, help="Build what fairseq reads from a corpus.")


@app.command("librilight")
def manifest_librilight(
    librilight: Annotated[Path, typer.Option(help="The folder librispeech_finetuning.")],
    librispeech: Annotated[Path, typer.Option(help="LibriSpeech, for dev and test sets.")],
    out: Annotated[Path, typer.Option(help="Folder to write 10min/, 1h/ and 10h/ into.")],
    sets: Annotated[
        list[str], typer.Option("--set", help="Which to write (repeat for several).")
    ] = ["10min", "1h", "10h"],  # noqa: B006
    folds: Annotated[
        list[int], typer.Option("--fold", help="Which of 1h's folds, 0 to 5, make ten minutes.")
    ] = [0],  # noqa: B006
    jobs: Jobs = None,
    allow_missing_audio: AllowMissing = False,
    as_json: AsJson = False,
) -> None:
    """Letters for 10 minutes, 1 hour and 10 hours of English (paper, section 4.1).

    Example: parp manifest librilight --librilight librispeech_finetuning --librispeech LibriSpeech
    --out data
    """
    from parp_fairseq.manifests.librilight import build_librilight

    summary = build_librilight(
        librilight,
        librispeech,
        out,
        sets=sets,
        folds=folds,
        jobs=jobs,
        allow_missing_audio=allow_missing_audio,
    )
    _show_summary(summary, as_json)


@app.command("librispeech")
def manifest_librispeech(
    librispeech: Annotated[Path, typer.Option(help="The LibriSpeech folder.")],
    splits: Annotated[
        list[str],
        typer.Option(
            "--split",
            help="A part (dev-other), or several under one name "
            "(train=train-clean-100+train-clean-360).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    jobs: Jobs = None,
    allow_missing_audio: AllowMissing = False,
    as_json: AsJson = False,
) -> None:
    """Letters for parts of LibriSpeech.

    Example: parp manifest librispeech --librispeech LibriSpeech --split train=train-clean-100
    --split dev-other --out data/100h
    """
    from parp_fairseq.manifests.librispeech import build_librispeech

    summary = build_librispeech(
        librispeech, splits, out, jobs=jobs, allow_missing_audio=allow_missing_audio
    )
    _show_summary(summary, as_json)


def _show_summary(summary: "BuildSummary", as_json: bool) -> None:
    print(json.dumps(summary.to_json(), indent=1) if as_json else summary.render())
