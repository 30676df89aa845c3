"""`parp manifest`: what fairseq reads, from a corpus."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from parp_fairseq.cli import commonvoice
from parp_fairseq.cli.options import (
    AllowMissing,
    AsJson,
    Force,
    Jobs,
    UnitsName,
    VocabSize,
    listed,
    listed_numbers,
)

if TYPE_CHECKING:
    from parp_fairseq.manifests.summary import BuildSummary

app = typer.Typer(no_args_is_help=True, help="Build what fairseq reads from a corpus.")
app.command("commonvoice")(commonvoice.commonvoice)


@app.command("librilight")
def manifest_librilight(
    librilight: Annotated[Path, typer.Option(help="The folder librispeech_finetuning.")],
    librispeech: Annotated[Path, typer.Option(help="LibriSpeech, for dev and test sets.")],
    out: Annotated[Path, typer.Option(help="Folder to write 10min/, 1h/ and 10h/ into.")],
    sets: Annotated[
        list[str], typer.Option("--set", help="Which to write (several: repeat, or commas).")
    ] = ["10min", "1h", "10h"],  # noqa: B006
    folds: Annotated[
        list[str],
        typer.Option("--fold", help="Which of 1h's folds, 0 to 5, make ten minutes (as --set)."),
    ] = ["0"],  # noqa: B006
    units: UnitsName = "letters",
    vocab_size: VocabSize = None,
    jobs: Jobs = None,
    allow_missing_audio: AllowMissing = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """10 minutes, 1 hour and 10 hours of labelled English (paper, section 4.1).

    Example: parp manifest librilight --librilight librispeech_finetuning --librispeech LibriSpeech
    --out data
    """
    from parp_fairseq.manifests.corpora.librilight import build_librilight

    summary = build_librilight(
        librilight,
        librispeech,
        out,
        sets=listed(sets),
        folds=listed_numbers(folds, "--fold"),
        units=units,
        vocab_size=vocab_size,
        jobs=jobs,
        allow_missing_audio=allow_missing_audio,
        force=force,
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
            "(train=train-clean-100+train-clean-360); several: repeat, or commas.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    units: UnitsName = "letters",
    vocab_size: VocabSize = None,
    jobs: Jobs = None,
    allow_missing_audio: AllowMissing = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Parts of LibriSpeech.

    Example: parp manifest librispeech --librispeech LibriSpeech --split train=train-clean-100
    --split dev-other --out data/100h
    """
    from parp_fairseq.manifests.corpora.librispeech import build_librispeech

    summary = build_librispeech(
        librispeech,
        listed(splits),
        out,
        units=units,
        vocab_size=vocab_size,
        jobs=jobs,
        allow_missing_audio=allow_missing_audio,
        force=force,
    )
    _show_summary(summary, as_json)


@app.command("table")
def manifest_table(
    table: Annotated[
        Path, typer.Argument(help="TSV, CSV or JSON lines: path, text (split, speaker).")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    units: UnitsName = "letters",
    vocab_size: VocabSize = None,
    lang: Annotated[
        Optional[str],
        typer.Option(help="Language of --units phones; without it the texts are phones already."),
    ] = None,
    valid_share: Annotated[
        Optional[float],
        typer.Option(help="Without a column split: how much is for validation (default: 0.1)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of speakers for validation.")] = 1,
    convert: Annotated[
        bool, typer.Option("--convert", help="Make 16 kHz mono FLAC in OUT/audio where needed.")
    ] = False,
    jobs: Jobs = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Any corpus, from a table of its audio and texts; relative paths start from its folder.

    Example: parp manifest table corpus/corpus.tsv --out data/mine --units spm --vocab-size 500
    """
    from parp_fairseq.manifests.corpora.table import build_table

    summary = build_table(
        table,
        out,
        units=units,
        vocab_size=vocab_size,
        lang=lang,
        valid_share=valid_share,
        seed=seed,
        convert=convert,
        jobs=jobs,
        force=force,
    )
    _show_summary(summary, as_json)


@app.command("joint")
def manifest_joint(
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    languages: Annotated[
        Optional[list[str]],
        typer.Option(
            "--in", help="A language's manifests: FOLDER or NAME=FOLDER (repeat, or list them)."
        ),
    ] = None,
    more: Annotated[Optional[list[str]], typer.Argument(metavar="FOLDER", help="As --in.")] = None,
    temperature: Annotated[
        float,
        typer.Option(help="T: language l gets the share (n_l/N)^(1/T) of train, n_l its audio."),
    ] = 1.0,
    labels: Annotated[
        Optional[str], typer.Option(help="Ending of the label files, where there are several.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """One training set and dictionary of several languages (paper, section 4.4).

    Validation and test sets stay apart as dev-nl, test-nl, …; a joint dev is written too.

    Example: parp manifest joint --in data/nl data/fr data/ru --out data/joint
    """
    from parp_fairseq.manifests.corpora.joint import build_joint

    folders = [*(languages or []), *(more or [])]
    summary = build_joint(folders, out, temperature=temperature, labels=labels, force=force)
    _show_summary(summary, as_json)


def _corpus(name: str, about: str) -> None:
    """Make the command of a corpus that one folder holds: `manifests/corpora/{name}.py`."""

    @app.command(name, help=f"{about}\n\nExample: parp manifest {name} {name} --out data/{name}")
    def command(
        folder: Annotated[Path, typer.Argument(help="The corpus.")],
        out: Annotated[Path, typer.Option(help="Folder to write into.")],
        units: Annotated[
            Optional[str],
            typer.Option(help="letters, phones or spm (default: the corpus' usual ones)."),
        ] = None,
        vocab_size: VocabSize = None,
        valid_share: Annotated[
            Optional[float],
            typer.Option(
                help="How much of train becomes valid (default: 0.1, or nothing where the corpus "
                "has a split for it)."
            ),
        ] = None,
        hours: Annotated[
            Optional[float], typer.Option(help="At most so much train, in hours (default: all).")
        ] = None,
        seed: Annotated[int, typer.Option(help="Of the choice of valid and hours.")] = 1,
        jobs: Jobs = None,
        force: Force = False,
        as_json: AsJson = False,
    ) -> None:
        from importlib import import_module

        from parp_fairseq.manifests.corpora.corpus import build_corpus

        summary = build_corpus(
            import_module(f"parp_fairseq.manifests.corpora.{name}").CORPUS,
            folder,
            out,
            units=units,
            vocab_size=vocab_size,
            valid_share=valid_share,
            hours=hours,
            seed=seed,
            jobs=jobs,
            force=force,
        )
        _show_summary(summary, as_json)


_corpus("speechocean762", "English read by 250 speakers of Mandarin, 5.6 hours: words and phones.")
_corpus("mboshi", "Mboshi, a Bantu language of Congo, 4.5 hours: letters without tones.")


@app.command("check")
def manifest_check(
    data: Annotated[Path, typer.Argument(help="Folder with manifests.")],
    labels: Annotated[
        Optional[str],
        typer.Option(help="Ending of the label files (default: each that has a dictionary)."),
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode all audio too: finds files that end early.")
    ] = False,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Check manifests, labels and dictionary against the audio.

    Leaves with code 1 where something would break a run; training refuses the same.

    Example: parp manifest check data/10min
    """
    from parp_fairseq.manifests.check.folder import check_folder

    report = check_folder(data, labels=labels, decode=decode, jobs=jobs)
    print(json.dumps(report.to_json(), indent=1) if as_json else report.render())
    if not report.ok:
        raise typer.Exit(1)


def _show_summary(summary: "BuildSummary", as_json: bool) -> None:
    print(json.dumps(summary.to_json(), indent=1) if as_json else summary.render())
