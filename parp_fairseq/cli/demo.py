"""`parp demo` and `parp report`."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from parp_fairseq.cli.options import Force
from parp_fairseq.errors import INTERRUPTED


def demo(
    out: Annotated[
        Optional[Path],
        typer.Option(
            "--out",
            "-o",
            help="Folder to work in (default: parp-demo, with --fast parp-demo-fast).",
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only dense and PARP, fewer updates.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds for every method.")] = 1,
    jobs: Annotated[
        Optional[int],
        typer.Option(
            *("--jobs", "-j"), min=1, help="Programs at a time, each on one core (default: all)."
        ),
    ] = None,
) -> None:
    """Find subnetworks of a tiny model on synthetic speech: no download, about ten minutes.

    It ends with a table and figures. Rerun the same command to resume.

    Example: parp demo --fast
    """
    from parp_fairseq.demo.demo import REPORT, make_demo, run_demo

    demo = make_demo(fast=fast, seeds=seeds)
    folder = out or Path("parp-demo-fast" if fast else "parp-demo")
    try:
        table = run_demo(folder, demo, jobs=jobs)
    except KeyboardInterrupt:
        print("stopped; rerun the same command to resume", file=sys.stderr, flush=True)
        raise typer.Exit(INTERRUPTED) from None
    print(table.render())
    print(f"\ntable and figures: {folder / REPORT}")


def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders with runs, at any depth.")],
    out: Annotated[
        Optional[Path],
        typer.Option("--out", "-o", help="Folder for figures and the table's files."),
    ] = None,
    force: Force = False,
) -> None:
    """Table and figures of runs, from what training and parp eval wrote.

    Scores are read from eval/*.json in a run's folder (parp eval --json RUN/eval/SPLIT.json).

    Example: parp report runs -o report
    """
    from parp_fairseq.report import make_report

    print(make_report(folders, out, force=force).render())
    if out is not None:
        print(f"\nwritten: {out}")
