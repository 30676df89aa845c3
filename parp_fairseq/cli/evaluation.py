"""`parp eval`: error rates of checkpoints."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
from pathlib import Path
from typing import Annotated, Optional

import typer


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
