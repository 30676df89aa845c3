"""Options that several commands share."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    from parp_fairseq.inference.beam_search import LanguageModel

Sparsity = Annotated[
    Optional[float],
    typer.Option(
        help="Prune by magnitude to this sparsity first, 0 to 1: a level of a nested training."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Jobs = Annotated[
    Optional[int], typer.Option("--jobs", "-j", help="Threads that read audio headers.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that already exists.")]
Units = Literal["letters", "phones"]
UnitsName = Annotated[Units, typer.Option("--units", help="What labels hold.")]

Lm = Annotated[
    Optional[Path],
    typer.Option(help="KenLM n-gram of words (binary or ARPA) for beam search; with --lexicon."),
]
Lexicon = Annotated[
    Optional[Path], typer.Option(help="Words to choose from: a word and its symbols a line.")
]
Beam = Annotated[int, typer.Option(help="Hypotheses kept after each frame.")]
LmWeight = Annotated[float, typer.Option(help="Weight of the n-gram.")]
WordScore = Annotated[float, typer.Option(help="Added for each word.")]


def language_model(
    lm: Optional[Path], lexicon: Optional[Path], beam: int, *weights: float
) -> Optional["LanguageModel"]:
    """From the five options above; None where no language model was asked for.

    Raises:
        UserError: one file without the other, or a number out of its range.
    """
    if lm is None and lexicon is None:
        return None
    if lm is None or lexicon is None:
        raise UserError("--lm and --lexicon need each other: docs/evaluation.md makes both")
    if beam < 1:
        raise UserError(f"--beam must be at least 1 (got {beam})")
    if not all(map(math.isfinite, weights)):
        raise UserError(f"--lm-weight and --word-score are {weights}; give finite numbers")
    from parp_fairseq.inference.beam_search import LanguageModel

    return LanguageModel(lm, lexicon, beam, *weights)


def listed(values: Iterable[str]) -> list[str]:
    """The values of an option that may be repeated and may hold several, separated by commas."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]
