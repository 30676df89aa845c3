"""The `parp` command: parses and calls, nothing else. A module a group of commands."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import sys
from typing import Annotated

import typer

from parp_fairseq import __version__
from parp_fairseq.cli import (
    configs,
    demo,
    evaluation,
    export,
    glue,
    imp,
    inspect,
    manifest,
    mask,
)
from parp_fairseq.cli.outermost import Commands, run

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sparse subnetworks of self-supervised speech models: data, configs, scores.\n\n"
    "Training itself is fairseq's: fairseq-hydra-train --config-name parp_10min "
    "common.user_dir=parp_fairseq task.data=DIR model.w2v_path=FILE.pt",
)
app.add_typer(manifest.app, name="manifest")
app.command("eval")(evaluation.evaluate)
app.add_typer(mask.app, name="mask")
app.command("imp")(imp.imp)
app.command("inspect")(inspect.inspect)
app.command("demo")(demo.demo)
app.command("report")(demo.report)
app.command("export")(export.export)
app.command("repair")(export.repair)
app.add_typer(glue.app, name="glue")
app.add_typer(configs.app, name="configs")


def _version(value: bool) -> None:
    if value:
        print(f"parp-fairseq {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; bad input ends in one line and exit code 2."""
    sys.exit(run(app))
