"""`parp imp`: iterative magnitude pruning."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import sys
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from parp_fairseq.errors import INTERRUPTED
from parp_fairseq.table import aligned


def imp(
    overrides: Annotated[
        Optional[list[str]],
        typer.Argument(help="key=value for every fine-tuning, as for fairseq-hydra-train."),
    ] = None,
    config_name: Annotated[str, typer.Option(help="The yaml file's name.")] = "parp_10min",
    config_dir: Annotated[
        Optional[Path], typer.Option(help="Its folder, if it is not in this package.")
    ] = None,
    out: Annotated[
        Optional[Path],
        typer.Option("--out", "-o", help="Folder to work in (default: runs/CONFIG/imp_SPARSITY)."),
    ] = None,
    sparsity: Annotated[float, typer.Option(help="The sparsity to reach.")] = 0.9,
    step: Annotated[float, typer.Option(help="The share of weights that a round prunes.")] = 0.1,
    of: Annotated[
        Literal["original", "remaining"],
        typer.Option(help="Which weights --step is a share of."),
    ] = "original",
    round_updates: Annotated[
        Optional[int], typer.Option(help="Updates in a round (default: the config's).")
    ] = None,
    rewind_update: Annotated[
        int,
        typer.Option(
            help="Begin rounds with the weights that the dense one had after so many updates "
            "(default 0: with the pre-trained ones)."
        ),
    ] = 0,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep the rounds' checkpoints.")
    ] = False,
) -> None:
    """Prune in rounds, a fine-tuning each, then fine-tune what is left (IMP, paper section 2.3).

    Nine rounds and a last fine-tuning lead to 90%. Rerun the same command to resume.

    Example: parp imp --config-name parp_10min --sparsity 0.9 task.data=data/10min
    model.w2v_path=wav2vec_small.pt
    """
    from parp_fairseq.runs.imp import Series, run_imp

    series = Series(
        config_name,
        tuple(overrides or ()),
        sparsity,
        step,
        of,
        round_updates,
        rewind_update,
        str(config_dir.resolve()) if config_dir else None,
    )
    folder = out or Path("runs", config_name, f"imp_{sparsity:g}")
    try:
        result = run_imp(series, folder, keep_checkpoints)
    except KeyboardInterrupt:
        print("stopped; rerun the same command to resume", file=sys.stderr, flush=True)
        raise typer.Exit(INTERRUPTED) from None
    rows = [(str(n), f"{s:g}", str(m)) for n, (s, m) in enumerate(result.masks, start=1)]
    print(aligned(("round", "sparsity", "mask"), rows, left=1))
    print(f"\nthe subnetwork, fine-tuned: {result.final / 'checkpoints'}")
