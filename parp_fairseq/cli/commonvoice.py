"""`parp manifest commonvoice`: phones for a language of Common Voice."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from parp_fairseq.cli.options import AsJson, Force


def commonvoice(
    release: Annotated[
        Path, typer.Option(help="A language's folder of a Common Voice release, or one above it.")
    ],
    lang: Annotated[str, typer.Option(help="The release's code of the language: nl, zh-TW, …")],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    splits: Annotated[
        Optional[Path],
        typer.Option(help="The published splits and phones: common_voices_splits(.tar.gz)."),
    ] = None,
    hours: Annotated[
        Optional[float],
        typer.Option(
            help="Hours of training: 1 (default) or 5 with --splits; else any number, chosen "
            "speaker by speaker (default: the release's own train, dev and test)."
        ),
    ] = None,
    dev_hours: Annotated[
        Optional[float], typer.Option(help="At most so much dev, where hours are chosen (0.3).")
    ] = None,
    test_hours: Annotated[
        Optional[float], typer.Option(help="At most so much test, where hours are chosen (1).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of hours.")] = 1,
    voice: Annotated[
        Optional[str], typer.Option(help="espeak-ng's voice, where --lang does not tell.")
    ] = None,
    audio: Annotated[
        Optional[Path], typer.Option(help="Folder for the 16 kHz FLAC files (OUT/audio).")
    ] = None,
    jobs: Annotated[
        Optional[int], typer.Option("--jobs", "-j", help="Threads that convert audio.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Phones for a language of Common Voice (paper, section 4.1).

    With --splits the published clips and phones, else those of the release with phones by
    espeak-ng. A build that was stopped goes on with the audio that it had converted.

    Example: parp manifest commonvoice --release cv-corpus-6.1-2020-12-11 --lang nl --hours 1
    --out data/nl
    """
    from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice

    summary = build_commonvoice(
        release,
        lang,
        out,
        splits=splits,
        hours=hours,
        dev_hours=dev_hours,
        test_hours=test_hours,
        seed=seed,
        voice=voice,
        audio=audio,
        jobs=jobs,
        force=force,
    )
    print(json.dumps(summary.to_json(), indent=1) if as_json else summary.render())
