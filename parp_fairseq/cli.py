"""The `parp` command: parses and calls, nothing else."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from parp_fairseq import __version__, configs
from parp_fairseq.errors import reported
from parp_fairseq.table import aligned

if TYPE_CHECKING:
    from parp_fairseq.manifests.summary import BuildSummary

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sparse subnetworks of self-supervised speech models: data, configs, scores.\n\n"
    "Training itself is fairseq's: fairseq-hydra-train --config-name parp_10min "
    "common.user_dir=parp_fairseq task.data=DIR model.w2v_path=FILE.pt",
)
manifest_app = typer.Typer(no_args_is_help=True, help="Build what fairseq reads from a corpus.")
configs_app = typer.Typer(no_args_is_help=True, help="Find, print and copy the yaml files.")
app.add_typer(manifest_app, name="manifest")
app.add_typer(configs_app, name="configs")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Jobs = Annotated[
    Optional[int], typer.Option("--jobs", "-j", help="Threads that read audio headers.")
]
AllowMissing = Annotated[
    bool,
    typer.Option(help="Leave out transcripts that have no audio, and count them."),
]


def _version(value: bool) -> None:
    if value:
        print(f"parp-fairseq {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@manifest_app.command("librilight")
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


@manifest_app.command("librispeech")
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


@app.command("eval")
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A fine-tuned checkpoint.")],
    data: Annotated[Path, typer.Option(help="Folder with the split's manifest.")],
    split: Annotated[str, typer.Option(help="Name of the split, such as test-clean.")],
    labels: Annotated[
        Optional[str],
        typer.Option(help="Ending of the label file (default: the checkpoint's own)."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Samples in a batch, padded.")] = 3_000_000,
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda (default: a GPU if there is one).")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read audio.")] = 1,
    w2v_path: Annotated[
        Optional[Path],
        typer.Option(help="The pre-trained file, where the checkpoint lacks its architecture."),
    ] = None,
    transcripts: Annotated[
        Optional[Path], typer.Option(help="Folder for hypotheses and references.")
    ] = None,
    as_json: Annotated[
        Optional[Path],
        typer.Option("--json", help="File to write the score into; - for standard output."),
    ] = None,
) -> None:
    """Word or phone error rate, equal to fairseq's own infer with a Viterbi decoder.

    Example: parp eval checkpoints/checkpoint_best.pt --data data/10min --split test-clean
    """
    from parp_fairseq.evaluation.decode import evaluate as decode
    from parp_fairseq.evaluation.score import render_scores, write_transcripts
    from parp_fairseq.records import write_json

    score = decode(
        checkpoint,
        data,
        split,
        labels=labels,
        max_tokens=max_tokens,
        device=device,
        num_workers=workers,
        w2v_path=w2v_path,
    )
    if transcripts is not None:
        write_transcripts(score, transcripts)
    if as_json is not None and str(as_json) != "-":
        write_json(as_json, [score.to_json()])
    print(
        json.dumps([score.to_json()], indent=1) if str(as_json) == "-" else render_scores([score])
    )


@app.command("demo")
def demo(
    out: Annotated[
        Optional[Path],
        typer.Option(help="Folder to work in (default: parp-demo, with --fast parp-demo-fast)."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Dense and PARP alone, fewer updates.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Repeat every method with so many seeds.")] = 1,
    jobs: Annotated[
        Optional[int],
        typer.Option("--jobs", "-j", help="Programs at a time, each on one core (default: all)."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what an earlier demo left there first.")
    ] = False,
) -> None:
    """Find subnetworks of a tiny model on synthetic speech: no download, about ten minutes.

    It ends with a table, figures and a page. Stopped, it goes on with the same command.

    Example: parp demo --fast
    """
    from parp_fairseq.demo.plan import make_plan
    from parp_fairseq.demo.runs import run_demo

    plan = make_plan(fast=fast, seeds=seeds)
    folder = out or Path("parp-demo-fast" if fast else "parp-demo")
    report = run_demo(folder, plan, clean=clean, jobs=jobs)
    print(report.render())
    print(f"\nthe page: {report.page}")


@app.command("report")
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders with runs, at any depth.")],
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for a page, figures and the table's files.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Of what is printed: text, markdown, csv or json.")
    ] = "text",
) -> None:
    """Table, figures and a page about runs, from what training and parp eval wrote.

    Scores are read from eval/*.json in a run's folder (parp eval --json RUN/eval/SPLIT.json).

    Example: parp report runs --out report
    """
    from parp_fairseq.analysis import make_report
    from parp_fairseq.analysis.table import check_format

    check_format(form)
    print(make_report(folders, out).render(form))


@configs_app.command("ls")
def configs_ls(as_json: AsJson = False) -> None:
    """List the configs.

    Example: parp configs ls
    """
    found = [configs.summary(name) for name in configs.names()]
    if as_json:
        print(json.dumps([asdict(config) for config in found], indent=1))
        return
    rows = [(c.name, c.title, f"{c.updates:,}", f"{c.learning_rate:g}", c.interval) for c in found]
    print(aligned(("config", "what it is", "updates", "lr", "prunes every"), rows, left=2))


@configs_app.command("show")
def configs_show(
    name: Annotated[str, typer.Argument(help="The config's name.")],
    gpus: Annotated[
        Optional[int],
        typer.Option(
            help="Print only the overrides that keep the effective batch on so many GPUs."
        ),
    ] = None,
) -> None:
    """Print a config, or what to override for another number of GPUs.

    Example: parp configs show parp_10min --gpus 1
    """
    if gpus is None:
        sys.stdout.write(configs.path_of(name).read_text(encoding="utf-8"))
    else:
        print(" ".join(configs.overrides_for_gpus(name, gpus)))


@configs_app.command("cp")
def configs_cp(
    name: Annotated[str, typer.Argument(help="The config's name.")],
    to: Annotated[Path, typer.Argument(help="A folder, or a file ending in .yaml.")] = Path("."),
    force: Annotated[
        bool, typer.Option("--force", help="Write over a file that is there.")
    ] = False,
) -> None:
    """Copy a config, to change it: fairseq-hydra-train --config-dir FOLDER --config-name NAME.

    Example: parp configs cp parp_10min configs/my_10min.yaml
    """
    print(configs.copy(name, to, force))


def _show_summary(summary: "BuildSummary", as_json: bool) -> None:
    print(json.dumps(summary.to_json(), indent=1) if as_json else summary.render())


def main() -> None:
    """Run the command; bad input ends in one line and exit code 2."""
    with reported():
        app()
