"""`parp eval`: error rates of checkpoints."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from parp_fairseq.cli.options import Force, listed
from parp_fairseq.errors import INTERRUPTED

if TYPE_CHECKING:
    from parp_fairseq.evaluation.score import Score


def evaluate(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(metavar="CKPT", help="Fine-tuned checkpoints, or sparse files of them."),
    ],
    data: Annotated[Path, typer.Option(help="Folder with the splits' manifests.")],
    split: Annotated[
        list[str],
        typer.Option(help="Splits, with commas between: test-clean,test-other. May be repeated."),
    ],
    labels: Annotated[
        Optional[str],
        typer.Option(help="Ending of the label files (default: each checkpoint's own)."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Samples in a batch, padded.")] = 3_000_000,
    batch_size: Annotated[
        Optional[int],
        typer.Option(help="Utterances in a batch (default: no limit); 1 is as parp transcribe."),
    ] = None,
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda (default: a GPU if there is one).")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="dense, or sparse: over the kept weights alone where that is faster (on a CPU)."
        ),
    ] = "dense",
    weights: Annotated[
        str,
        typer.Option(
            help="subnetwork (m⊙θ), or theta: what moves freely between two prunings, out of "
            "checkpoints that task parp wrote."
        ),
    ] = "subnetwork",
    workers: Annotated[int, typer.Option(help="Processes that read audio.")] = 1,
    w2v_path: Annotated[
        Optional[Path],
        typer.Option(help="The pre-trained file, where a checkpoint lacks its architecture."),
    ] = None,
    transcripts: Annotated[
        Optional[Path],
        typer.Option(help="Folder for references and hypotheses: CKPT/SPLIT.tsv each."),
    ] = None,
    as_json: Annotated[
        Optional[Path],
        typer.Option("--json", help="File to write the scores into; - for standard output."),
    ] = None,
    as_csv: Annotated[
        Optional[Path],
        typer.Option("--csv", help="The same as a table of comma-separated values."),
    ] = None,
    force: Force = False,
) -> None:
    """Word, character or phone error rates, equal to fairseq's infer with a Viterbi decoder.

    With 95% bootstrap intervals over utterances. Files are written when all is decoded (transcripts
    when their split is); after Ctrl-C the table shows what was done.

    Example: parp eval runs/*/*/checkpoints/checkpoint_best.pt --data data/10min
    --split test-clean,test-other --json scores.json
    """
    scores: list[Score] = []
    splits = listed(split)
    outputs = {"--json": as_json, "--csv": as_csv}
    try:
        _evaluate(
            scores,
            outputs,
            transcripts,
            force,
            checkpoints=checkpoints,
            data=data,
            splits=splits,
            labels=labels,
            max_tokens=max_tokens,
            batch_size=batch_size,
            device=device,
            engine=engine,
            weights=weights,
            num_workers=workers,
            w2v_path=w2v_path,
        )
    except BaseException as error:
        if scores and Path("-") not in outputs.values():
            _show_table(scores)
        if not isinstance(error, KeyboardInterrupt):
            raise
        total = len(checkpoints) * len(splits)
        print(
            f"parp: interrupted: {len(scores)} of {total} scores were done; no JSON or CSV is "
            "written",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    if Path("-") not in outputs.values():
        _show_table(scores)


def _evaluate(
    scores: "list[Score]",
    outputs: dict[str, Optional[Path]],
    transcripts: Optional[Path],
    force: bool,
    **options: Any,
) -> None:
    """Fill `scores` and write the files."""
    from parp_fairseq.errors import UserError
    from parp_fairseq.evaluation import score_files as output
    from parp_fairseq.evaluation.decode import evaluate_all
    from parp_fairseq.files import write_lines

    if all(path == Path("-") for path in outputs.values()):
        raise UserError("--json and --csv cannot both be standard output; name a file for one")
    checkpoints, splits = options["checkpoints"], options["splits"]
    files: dict[tuple[str, str], Path] = {}
    if transcripts is not None:
        files = output.transcript_files(transcripts, checkpoints, splits)
    as_json, as_csv = (None if path == Path("-") else path for path in outputs.values())
    inputs = output.files_read(checkpoints, options["data"], splits, options["w2v_path"])
    output.check_outputs(as_json, as_csv, files.values(), inputs, force)
    for score in evaluate_all(**options):
        scores.append(score)
        if files:
            output.write_transcripts(score, files[score.checkpoint, score.split])
    forms = {"--json": output.scores_as_json, "--csv": output.scores_as_csv}
    for option, path in outputs.items():
        if path == Path("-"):
            print(forms[option](scores))
        elif path is not None:
            write_lines(path, [forms[option](scores)])


def _show_table(scores: "list[Score]") -> None:
    from parp_fairseq.evaluation.score_files import render_scores

    print(render_scores(scores), flush=True)
