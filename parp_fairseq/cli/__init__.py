"""The `parp` command."""

import sys

from parp_fairseq.errors import INTERRUPTED


def main() -> None:
    """Run the command; bad input ends in one line and exit code 2."""
    try:
        # Imported here, so that Ctrl-C has one answer as early as can be.
        from parp_fairseq.cli.entry_point import run

        sys.exit(run(_commands))
    except KeyboardInterrupt:
        print("parp: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _commands() -> None:
    from parp_fairseq.cli.commands import app

    app()
