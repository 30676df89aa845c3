"""All commands of `parp`: a module a group of them, which parses and calls, nothing else."""

# No `from __future__ import annotations`: typer reads the annotations as they stand.
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parp_fairseq import __version__
from parp_fairseq.cli import (
    configs,
    demo,
    evaluation,
    export,
    imp,
    inspect,
    manifest,
    mask,
    transcribe,
)
from parp_fairseq.cli.outermost import interrupted
from parp_fairseq.errors import EXIT_CODE, UserError


class Commands(TyperGroup):
    """Commands that Ctrl-C and wrong options end in one line, whichever typer runs them."""

    def main(self, *arguments: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Parse and run; a wrong option or argument is reported as any other bad input is."""
        try:
            result = super().main(*arguments, standalone_mode=False, **options)
        except Exception as error:
            # Not by its class: some versions of typer have a click of their own.
            message = getattr(error, "format_message", None)
            if message is None:
                raise
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()  # type: ignore[attr-defined]
                raise SystemExit(EXIT_CODE) from None
            context = getattr(error, "ctx", None)
            command = context.command_path if context is not None else "parp"
            line = " ".join(message().split()).rstrip(".")
            raise UserError(f"{line}; {command} --help tells more") from None
        if standalone_mode:
            sys.exit(result if isinstance(result, int) else 0)
        return result

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(interrupted()) from None


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
app.command("transcribe")(transcribe.transcribe)
app.command("repair")(export.repair)
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
