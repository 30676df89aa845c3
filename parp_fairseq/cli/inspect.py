"""`parp inspect`: what a checkpoint holds."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from parp_fairseq.cli.options import AsJson, Force
from parp_fairseq.pruning.spec import PruningSpec


def inspect(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint, pre-trained or fine-tuned; a run's folder; a sparse file; tiny."
        ),
    ],
    lr: Annotated[
        Optional[float],
        typer.Option(
            help="Show instead whether pruned weights can regrow when the checkpoint is fine-tuned "
            "at this peak learning rate."
        ),
    ] = None,
    interval: Annotated[
        int, typer.Option(help="With --lr: updates between two prunings.")
    ] = PruningSpec.interval,
    sparsity: Annotated[
        Optional[float],
        typer.Option(help="Prune by magnitude to this first, 0 to 1; with --lr: at this only."),
    ] = None,
    png: Annotated[
        Optional[Path], typer.Option(help="With --lr: draw the curve into this file.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Where a checkpoint came from, where its zeros are, how large its weights are.

    Example: parp inspect checkpoint_best.pt
    """
    from parp_fairseq.checkpoints.formats import check_format, named_checkpoint
    from parp_fairseq.errors import UserError
    from parp_fairseq.files import PNG, check_output
    from parp_fairseq.report.style import check_drawing

    checkpoint = named_checkpoint(checkpoint)
    check_format(checkpoint)
    if png is not None:
        if lr is None:
            raise UserError("--png needs --lr, the learning rate to fine-tune with")
        check_drawing()
        check_output(png, PNG, inputs=[checkpoint], force=force, option="--png")

    from parp_fairseq.report.inspection import inspect_checkpoint
    from parp_fairseq.report.reach_curve import reach_curve

    if lr is None:
        inspection = inspect_checkpoint(checkpoint, sparsity=sparsity)
    else:
        inspection = reach_curve(checkpoint, lr, interval, sparsity)
        if png is not None:
            inspection.draw(png)
    print(json.dumps(inspection.to_json(), indent=1) if as_json else inspection.render())
