"""`parp inspect`: what a checkpoint holds."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from parp_fairseq.cli.options import AsJson, Force, check_picture


def inspect(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint, pre-trained or fine-tuned; a run's folder; a sparse file; tiny."
        ),
    ],
    against: Annotated[
        Optional[Path],
        typer.Option(help="A mask file or another checkpoint to compare its zeros with."),
    ] = None,
    png: Annotated[
        Optional[Path], typer.Option(help="Draw maps of layers and matrices into this file.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Where a checkpoint came from, where its zeros are, how large its weights are.

    Example: parp inspect checkpoint_best.pt --against mask_first.safetensors --png zeros.png
    """
    from parp_fairseq.checkpoints.formats import check_format, named_checkpoint
    from parp_fairseq.errors import UserError

    checkpoint = named_checkpoint(checkpoint)
    check_format(checkpoint)
    if against is not None:
        against = named_checkpoint(against)
        if not against.exists():
            raise UserError(f"--against {against}: no such mask or checkpoint")
    check_picture(png, [checkpoint, *([] if against is None else [against])], force)

    from parp_fairseq.report.drawing import check_drawing
    from parp_fairseq.report.inspection import inspect_checkpoint

    if png is not None:
        check_drawing()
    inspection = inspect_checkpoint(checkpoint, against)
    if png is not None:
        inspection.draw(png)
    print(json.dumps(inspection.to_json(), indent=1) if as_json else inspection.render())
