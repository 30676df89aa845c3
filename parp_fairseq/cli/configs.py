"""`parp configs`: the yaml files."""

# No `from __future__ import annotations`: typer reads the annotations as they are.
import re
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from parp_fairseq.cli.options import Force
from parp_fairseq.config import shipped as configs
from parp_fairseq.table import aligned

app = typer.Typer(no_args_is_help=True, help="Find, print and copy the yaml files.")


@app.command("ls")
def configs_ls() -> None:
    """List the configs.

    Example: parp configs ls
    """
    summaries = [configs.summary(name) for name in configs.names()]
    rows = []
    for c in summaries:
        title = re.split(r" \(paper|;|, on", c.title.replace("wav2vec 2.0 ", ""))[0].rstrip(".")
        rows.append((c.name, title, f"{c.updates:,}", f"{c.learning_rate:g}", c.interval))
    print(aligned(("config", "what it is", "updates", "lr", "prunes every"), rows, left=2))


@app.command("show")
def configs_show(
    name: Annotated[str, typer.Argument(help="The config's name.")],
    gpus: Annotated[
        Optional[int],
        typer.Option(
            help="Print only the overrides that keep the effective batch on this number of GPUs."
        ),
    ] = None,
) -> None:
    """Print a config, or what to override for another number of GPUs.

    Example: parp configs show parp_10min --gpus 1
    """
    if gpus is None:
        sys.stdout.write(configs.path_of(name).read_text(encoding="utf-8"))
    else:
        print(" ".join(configs.overrides_for_gpus(name, gpus)))


@app.command("cp")
def configs_cp(
    name: Annotated[str, typer.Argument(help="The config's name.")],
    to: Annotated[Path, typer.Argument(help="A folder, or a file ending in .yaml.")] = Path("."),
    force: Force = False,
) -> None:
    """Copy a config, to change it: fairseq-hydra-train --config-dir FOLDER --config-name NAME.

    The copy's runs go into runs/NAME, so give it a name of its own.

    Example: parp configs cp parp_10min configs/my_10min.yaml
    """
    print(configs.copy(name, to, force))
