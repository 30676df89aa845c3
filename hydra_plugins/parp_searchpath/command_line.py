"""What the command says, read before Hydra reads it."""

from __future__ import annotations

import difflib
from pathlib import Path


def config_folder() -> Path:
    """The folder of the yaml files, absolute.

    It is found beside this file, in a clone as in site-packages: importing `parp_fairseq` here
    would make fairseq refuse it later as a user dir ("not globally unique").
    """
    return Path(__file__).resolve().parents[2] / "parp_fairseq" / "config"


def is_ours(argv: list[str]) -> bool:
    """Whether this is a training that names this project: its user dir, a yaml file, an option."""
    if not Path(argv[0]).stem.startswith(("fairseq-hydra-train", "hydra_train")):
        return False
    return any("parp" in argument for argument in argv[1:])


def unknown_config(argv: list[str]) -> str | None:
    """Say what is wrong if `argv` is a training of ours whose --config-name does not exist.

    fairseq registers a schema under whatever name is asked for, so that Hydra never misses a
    file and the user sees an error about a missing `model` instead.

    Args:
        argv: the program and its arguments.

    Returns:
        One line, or None where there is nothing to say: another program, another user dir, or a
        config of the user's own that exists.
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
