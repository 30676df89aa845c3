"""What the command says, read before Hydra reads it, and what Hydra finds wrong with it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path


def config_folder() -> Path:
    """The folder of the yaml files, absolute.

    It is found relative to this file, in a clone as in site-packages: importing `parp_fairseq` here
    would make fairseq refuse it later as a user dir ("not globally unique").
    """
    return Path(__file__).resolve().parents[2] / "parp_fairseq" / "config"


def is_ours(argv: list[str]) -> bool:
    """Whether this is a training that names this project: its user dir, a yaml file, an option."""
    if not Path(argv[0]).stem.startswith(("fairseq-hydra-train", "hydra_train")):
        return False
    return any("parp" in argument for argument in argv[1:])


def unknown_config(argv: list[str]) -> str | None:
    """Say what is wrong if `argv` is a training of this project without such a --config-name.

    fairseq registers a schema under whatever name is asked for, so that Hydra never misses a
    file and the user sees an error about a missing `model` instead.

    Returns:
        None where nothing is wrong: another program, another user dir, or a config that exists.
    """
    if not is_ours(argv):
        return None
    name = option(argv, "--config-name", "-cn")
    if name is None or option(argv, "--config-path", "-cp") is not None:
        # A --config-path means a folder in fairseq's own package: Hydra's to find.
        return None
    asked = name[: -len(".yaml")] if name.endswith(".yaml") else name
    folders = [config_folder()]
    own = option(argv, "--config-dir", "-cd")
    if own is not None:
        folders.append(Path(own))
    if any((folder / f"{asked}.yaml").is_file() for folder in folders):
        return None
    known = sorted(path.stem for path in config_folder().glob("*.yaml"))
    close = difflib.get_close_matches(asked, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return f"no config named {name!r}; {hint} (your own: --config-dir FOLDER)"


def option(argv: list[str], long: str, short: str) -> str | None:
    """The value of an option, in any of its spellings; None where it is not given."""
    for position, argument in enumerate(argv):
        if argument in (long, short) and position + 1 < len(argv):
            return argv[position + 1]
        if argument.startswith(f"{long}="):
            return argument.partition("=")[2]
    return None


def refused(error: Exception) -> str:
    """Say in a line what Hydra found wrong while it composed the configuration."""
    lines = [line.strip(" .") for line in str(error).splitlines()] or [type(error).__name__]
    if "Could not load 'hydra/launcher/submitit" in str(error):
        install = "in the clone of parp-fairseq: pip install '.[slurm]'"
        return f"hydra/launcher: submitit is missing; {install}"
    unknown = re.match(r"Could not (?:override|delete) '([^']+)'", lines[0])
    if unknown:
        return (
            f"{unknown[1]}: no such option; `parp configs show NAME` lists those of pruning, and "
            f"+{unknown[1]}=… adds one of fairseq that the config leaves out"
        )
    if lines[0].startswith("Error merging override"):
        cause = str(error.__cause__ or "").strip().splitlines() or lines[1:]
        return ": ".join([lines[0].replace("Error merging override ", ""), *cause[:1]])
    return lines[0]
