"""`parp manifest`: what fairseq reads, from a corpus."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from parp_fairseq.cli.options import (
    AsJson,
    Force,
    Jobs,
    Units,
    UnitsName,
    listed,
)

app = typer.Typer(no_args_is_help=True, help="Build what fairseq reads from a corpus.")

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")]
Seed = Annotated[int, typer.Option(help="Random seed for what is sampled.")]
Repeated = "repeat the option, or separate with commas"


def _build(module: str, builder: str, options: dict[str, Any]) -> None:
    """Call a builder, whose arguments are a command's options, and print its summary."""
    module = import_module(f"parp_fairseq.manifests.corpora.{module}")
    print(getattr(module, builder)(**options).render())


@app.command("librilight")
def manifest_librilight(
    librilight: Annotated[Path, typer.Option(help="The folder librispeech_finetuning.")],
    librispeech: Annotated[Path, typer.Option(help="LibriSpeech, for dev and test sets.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write 10min/, 1h/ and 10h/ into.")
    ],
    sets: Annotated[list[str], typer.Option("--set", help=f"Which to write ({Repeated}).")] = [  # noqa: B006
        "10min",
        "1h",
        "10h",
    ],
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """10 minutes, 1 hour and 10 hours of labelled English (paper, section 4.1).

    Example: parp manifest librilight --librilight librispeech_finetuning --librispeech LibriSpeech
    --out data
    """
    _build("librilight", "build_librilight", {**locals(), "sets": listed(sets)})


@app.command("librispeech")
def manifest_librispeech(
    librispeech: Annotated[Path, typer.Option(help="The LibriSpeech folder.")],
    splits: Annotated[
        list[str],
        typer.Option(
            "--split",
            help="A part (dev-other), or several under one name "
            f"(train=train-clean-100+train-clean-360); {Repeated}.",
        ),
    ],
    out: Out,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Parts of LibriSpeech.

    Example: parp manifest librispeech --librispeech LibriSpeech --split train=train-clean-100
    --split dev-other --out data/100h
    """
    _build("librispeech", "build_librispeech", {**locals(), "splits": listed(splits)})


@app.command("commonvoice")
def manifest_commonvoice(
    release: Annotated[
        Path, typer.Option(help="A language's folder of a Common Voice release, or one above it.")
    ],
    lang: Annotated[str, typer.Option(help="The release's code of the language: nl, zh-TW, …")],
    out: Out,
    hours: Annotated[
        Optional[float],
        typer.Option(
            help="Hours of training, chosen speaker by speaker (default: the release's own splits)."
        ),
    ] = None,
    seed: Seed = 1,
    voice: Annotated[
        Optional[str], typer.Option(help="espeak-ng's voice, where --lang does not tell.")
    ] = None,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Phones for a language of Common Voice (paper, section 4.1).

    Phones are espeak-ng's. Rerun the same command to resume; audio that was converted is kept.

    Example: parp manifest commonvoice --release cv-corpus-6.1-2020-12-11 --lang nl --hours 1
    --out data/nl
    """
    _build("commonvoice", "build_commonvoice", locals())


@app.command("table")
def manifest_table(
    table: Annotated[
        Path, typer.Argument(help="TSV, CSV or JSON lines: path, text (split, speaker).")
    ],
    out: Out,
    units: UnitsName = "letters",
    lang: Annotated[
        Optional[str],
        typer.Option(help="Language of --units phones; without it the texts are phones already."),
    ] = None,
    valid_share: Annotated[
        Optional[float],
        typer.Option(help="Without a column split: how much is for validation (default: 0.1)."),
    ] = None,
    seed: Seed = 1,
    convert: Annotated[
        bool, typer.Option("--convert", help="Make 16 kHz mono FLAC in OUT/audio where needed.")
    ] = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Any corpus, from a table of its audio and texts; relative paths start from its folder.

    Example: parp manifest table corpus/corpus.tsv --out data/mine
    """
    _build("own_table", "build_table", locals())


@app.command("joint")
def manifest_joint(
    out: Out,
    languages: Annotated[
        Optional[list[str]],
        typer.Option(
            "--in", help="A language's manifests: FOLDER or NAME=FOLDER (repeat, or list them)."
        ),
    ] = None,
    more: Annotated[Optional[list[str]], typer.Argument(metavar="FOLDER", help="As --in.")] = None,
    labels: Annotated[
        Optional[str], typer.Option(help="Ending of the label files, where there are several.")
    ] = None,
    force: Force = False,
) -> None:
    """One training set and dictionary of several languages (paper, section 4.4).

    Validation and test sets stay apart as dev-nl, test-nl, …; a joint dev is written too.

    Example: parp manifest joint --in data/nl data/fr data/ru --out data/joint
    """
    options = {"out": out, "labels": labels, "force": force}
    folders = [*(languages or []), *(more or [])]
    _build("joint", "build_joint", {**options, "folders": folders})


def _corpus(name: str, about: str) -> None:
    """Make the command of a corpus that one folder holds: `manifests/corpora/{name}.py`."""

    @app.command(name, help=f"{about}\n\nExample: parp manifest {name} {name} --out data/{name}")
    def command(
        folder: Annotated[Path, typer.Argument(help="The corpus.")],
        out: Out,
        units: Annotated[
            Optional[Units],
            typer.Option(help="What labels hold (default: the corpus' usual ones)."),
        ] = None,
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
        seed: Seed = 1,
        jobs: Jobs = None,
        force: Force = False,
    ) -> None:
        options = {k: v for k, v in locals().items() if k != "name"}
        corpus = import_module(f"parp_fairseq.manifests.corpora.{name}").CORPUS
        _build("corpus", "build_corpus", {**options, "corpus": corpus})


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

    Exits with code 1 where something would break a run; training refuses the same.

    Example: parp manifest check data/10min
    """
    from parp_fairseq.manifests.check.findings import check_folder

    report = check_folder(data, labels=labels, decode=decode, jobs=jobs)
    print(json.dumps(report.to_json(), indent=1) if as_json else report.render())
    if not report.ok:
        raise typer.Exit(1)
