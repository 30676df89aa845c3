"""All commands of `parp`: modules that parse options and call; each loads when it is used."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from parp_fairseq import __version__
from parp_fairseq.cli import interrupted
from parp_fairseq.errors import EXIT_CODE, UserError

# In the order of work: command, module and name of its function or its group, line in the help.
COMMANDS = {
    name: (module, attribute, line)
    for name, module, attribute, line in (
        ("demo", "demo", "demo", "Prune a tiny model on synthetic speech, as a first look."),
        ("configs", "configs", "app", "List, print and copy the yaml files."),
        ("manifest", "manifest", "app", "Turn a corpus into the files that fairseq reads."),
        ("mask", "mask", "app", "Make, describe and compare masks."),
        ("imp", "imp", "imp", "Prune in rounds of fine-tuning (IMP)."),
        ("eval", "evaluation", "evaluate", "Score checkpoints: WER, CER or PER."),
        ("inspect", "inspect", "inspect", "Show where a checkpoint's zeros are."),
        ("report", "demo", "report", "Compare runs: a table and figures."),
        ("export", "export", "export", "Write for fairseq, transformers or ONNX, or small."),
        ("transcribe", "transcribe", "transcribe", "Turn audio files into text."),
        ("repair", "export", "repair", "Convert checkpoints of other versions of fairseq."),
    )
}


class Commands(TyperGroup):
    """The `parp` command; Ctrl-C and wrong options end in one line, whichever typer runs it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = dict.fromkeys(COMMANDS)  # None: its module is not loaded.

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, without loading a module."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, whose module is loaded now, or None."""
        if cmd_name in COMMANDS and self.commands[cmd_name] is None:
            module, attribute, line = COMMANDS[cmd_name]
            found = getattr(importlib.import_module(f"parp_fairseq.cli.{module}"), attribute)
            self.commands[cmd_name] = _click_command(cmd_name, found, line)
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands in the help, without loading a module."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])

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
            raise UserError(f"{line}; see {command} --help") from None
        if standalone_mode:
            sys.exit(result if isinstance(result, int) else 0)
        return result

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(interrupted()) from None


def _version(value: bool) -> None:
    if value:
        print(f"parp-fairseq {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def _typer(**options: Any) -> typer.Typer:
    made = typer.Typer(
        no_args_is_help=True,
        add_completion="cls" in options,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )
    made.callback()(_options)
    return made


def _click_command(name: str, found: Any, line: str) -> Any:
    """A command from its function, or a group of commands from its `typer.Typer`."""
    parent = _typer()
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        parent.command(name)(found)
    command = typer.main.get_command(parent).commands[name]  # type: ignore[attr-defined]
    command.help, command.short_help = _help(command), line
    for inner in getattr(command, "commands", {}).values():
        # The whole first paragraph: typer would cut it off at the end of the line.
        inner.short_help = inner.short_help or " ".join((inner.help or "").split("\n\n")[0].split())
        inner.help = _help(inner)
    return command


def _help(command: Any) -> str:
    """Help whose example can be copied: on lines of its own, joined by backslashes."""
    paragraphs = (command.help or "").split("\n\n")
    for number, text in enumerate(paragraphs):
        if text.startswith("Example: "):
            example = text[len("Example: ") :].strip().replace("\n", " \\\n    ")
            paragraphs[number] = f"\b\nExample:\n  {example}"
    return "\n\n".join(paragraphs)


app = _typer(
    cls=Commands,
    help="Sparse subnetworks of self-supervised speech models: data, masks, scores, export.\n\n"
    "Training is fairseq's own command:\n\n"
    "\b\nfairseq-hydra-train --config-name parp_10min common.user_dir=parp_fairseq \\\n"
    "  task.data=DIR model.w2v_path=FILE.pt",
)
