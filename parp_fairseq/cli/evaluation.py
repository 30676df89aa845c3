"""`parp eval`: error rates of checkpoints."""

# No `from __future__ import annotations`: typer reads the annotations themselves.
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

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
    listed,
)
from parp_fairseq.errors import INTERRUPTED, UserError

if TYPE_CHECKING:
    from parp_fairseq.evaluation.score import Score

Weights = Enum("Weights", {name: name for name in ("subnetwork", "theta")}, type=str)


def evaluate(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CKPT", help="Fine-tuned checkpoints, runs' folders, or sparse files."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with the splits' manifests.")],
    split: Annotated[
        list[str],
        typer.Option(help="Splits: test-clean,test-other (repeatable)."),
    ],
    labels: Annotated[
        Optional[str],
        typer.Option(help="Ending of the label files (default: each checkpoint's own)."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Samples in a batch, padded.")] = 3_000_000,
    batch_size: Annotated[
        Optional[int],
        typer.Option(min=1, help="Utterances in a batch (default: any); 1: as parp transcribe."),
    ] = None,
    device: Annotated[
        Optional[str], typer.Option(help="cpu or cuda (default: a GPU if there is one).")
    ] = None,
    weights: Annotated[
        Weights,
        typer.Option(
            help="m⊙θ, or θ: the weights before masking, out of checkpoints that task parp wrote."
        ),
    ] = Weights.subnetwork,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read audio.")] = 1,
    sparsity: Sparsity = None,
    lm: Lm = None,
    lexicon: Lexicon = None,
    beam: Beam = 50,
    lm_weight: LmWeight = 2.0,
    word_score: WordScore = -1.0,
    transcripts: Annotated[
        Optional[Path],
        typer.Option(help="Folder for references and hypotheses: CKPT/SPLIT.tsv each."),
    ] = None,
    as_json: Annotated[
        Optional[Path],
        typer.Option("--json", help="File to write the scores into; - for standard output."),
    ] = None,
    png: Annotated[
        Optional[Path],
        typer.Option(help="File for a figure of a nested model: errors over time and size."),
    ] = None,
    force: Force = False,
) -> None:
    """Word, character or phone error rates, equal to those of fairseq's infer (viterbi, kenlm).

    With 95% bootstrap intervals over utterances. Of a nested training every level is scored and
    timed. Files are written when all is decoded (transcripts when their split is); after Ctrl-C the
    table shows what was done.

    Example: parp eval runs/*/*/checkpoints/checkpoint_best.pt --data data/10min
    --split test-clean,test-other --json scores.json
    """
    from parp_fairseq.checkpoints.formats import named_checkpoint
    from parp_fairseq.evaluation import score as scoring
    from parp_fairseq.evaluation.decode import evaluate_all
    from parp_fairseq.files import write_lines
    from parp_fairseq.report import level_curve, style

    language = language_model(lm, lexicon, beam, lm_weight, word_score)
    checkpoints = [named_checkpoint(checkpoint) for checkpoint in checkpoints]
    splits = listed(split)
    stdout = Path("-")
    heard = scoring.transcript_files(transcripts, checkpoints, splits) if transcripts else {}
    written = {"--json": [path for path in (as_json,) if path not in (None, stdout)]}
    read = (*checkpoints, lm, lexicon)
    models = [path for path in read if path is not None]
    written["--transcripts"] = list(heard.values())
    written["--png"] = [] if png is None else [png]
    scoring.check_outputs(written, models, data, splits, force)
    if png is not None:
        if len(checkpoints) != 1 or sparsity is not None:
            raise UserError("--png draws the levels of one checkpoint; leave --sparsity out")
        style.check_drawing()
        from parp_fairseq.checkpoints.finetuned import open_finetuned

        if not open_finetuned(checkpoints[0], data, labels).sparser:
            raise UserError(f"--png {png}: {checkpoints[0]} has one level, which is no curve")
    scores: list[Score] = []
    try:
        for score in evaluate_all(
            checkpoints=checkpoints,
            data=data,
            splits=splits,
            labels=labels,
            max_tokens=max_tokens,
            batch_size=batch_size,
            device=device,
            weights=weights.value,
            num_workers=workers,
            sparsity=sparsity,
            language=language,
        ):
            scores.append(score)
            # Of nested subnetworks, those that are named: the densest, or the one of --sparsity.
            if heard and score.sparsity == sparsity:
                scoring.write_transcripts(score, heard[score.checkpoint, score.split])
        if as_json == stdout:
            print(scoring.scores_as_json(scores))
        elif as_json is not None:
            write_lines(as_json, [scoring.scores_as_json(scores)])
    except KeyboardInterrupt:
        print(
            f"parp: interrupted; scores that were done: {len(scores)}; no JSON is written",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        # What was done, where it ended early too.
        if scores and as_json != stdout:
            print(scoring.render_scores(scores), flush=True)
    curves = level_curve.levels_of(scores)
    for checkpoint, levels in curves.items() if as_json != stdout or png is not None else ():
        from parp_fairseq.inference.budget import level_costs

        try:
            costs = level_costs(checkpoint)
        except UserError as error:
            if png is not None:
                raise
            print(f"parp: levels are not timed: {error}", file=sys.stderr)
            continue
        if as_json != stdout:
            print(f"\n{level_curve.render_levels(levels, costs)}")
        if png is not None:
            level_curve.draw_levels(levels, costs, png)
    if as_json != stdout:
        for path in filter(None, (transcripts, as_json, png)):
            print(f"written: {path}")
