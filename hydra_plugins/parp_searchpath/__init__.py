"""Lets `--config-name` find this project's yaml files, and checks a training before it starts."""

from __future__ import annotations

import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from .launching import config_folder, install, leave, unknown_config
from .naming import register


class ParpSearchPath(SearchPathPlugin):
    """Appends our yaml files to Hydra's search path, after those of the application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder; called by Hydra once per run, before it composes the config."""
        search_path.append(provider="parp-fairseq", path=f"file://{config_folder()}")
        register()
        problem = unknown_config(sys.argv)
        if problem:
            leave(problem)
        install()
