"""Lets ``--config-name`` find this project's yaml files from any folder."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


def config_folder() -> Path:
    """The folder of the yaml files, absolute.

    It is found beside this file, in a clone as in site-packages: importing ``parp_fairseq`` here
    would make fairseq refuse it later as a user dir ("not globally unique").
    """
    return Path(__file__).resolve().parents[2] / "parp_fairseq" / "config"


class ParpSearchPath(SearchPathPlugin):
    """Appends our yaml files to Hydra's search path, after those of the application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder; called by Hydra once per run, before it composes the config."""
        search_path.append(provider="parp-fairseq", path=f"file://{config_folder()}")
