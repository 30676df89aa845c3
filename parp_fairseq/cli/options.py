"""Options that several commands share."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
from typing import Annotated, Optional

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Jobs = Annotated[
    Optional[int], typer.Option("--jobs", "-j", help="Threads that read audio headers.")
]
AllowMissing = Annotated[
    bool,
    typer.Option(help="Leave out transcripts that have no audio, and count them."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what an earlier call wrote there.")]
UnitsName = Annotated[str, typer.Option("--units", help="letters, phones or spm (pieces).")]
VocabSize = Annotated[
    Optional[int], typer.Option(help="Pieces that --units spm learns from the training split.")
]
