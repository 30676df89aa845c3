"""`parp inspect`: what a checkpoint holds."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from parp_fairseq.cli.options import AsJson


def inspect(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A fairseq checkpoint, pre-trained or fine-tuned, or a sparse file."),
    ],
    against: Annotated[
        Optional[Path],
        typer.Option(help="A mask file or another checkpoint to hold its zeros against."),
    ] = None,
    png: Annotated[
        Optional[Path], typer.Option(help="Draw maps of layers and matrices into this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Where a checkpoint came from, where its zeros are, how large its weights are.

    Example: parp inspect checkpoint_best.pt --against mask_first.safetensors --png zeros.png
    """
    from parp_fairseq.analysis.inspect import inspect_checkpoint

    found = inspect_checkpoint(checkpoint, against)
    if png is not None:
        found.draw(png)
    print(json.dumps(found.to_json(), indent=1) if as_json else found.render())
