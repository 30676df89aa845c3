"""Lets `--config-name` find this project's yaml files, and checks a training before it starts."""

from __future__ import annotations

import contextlib
import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from .launching import config_folder, install, leave, unknown_config
from .naming import changes


class ParpSearchPath(SearchPathPlugin):
    """Appends our yaml files to Hydra's search path, after those of the application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder; called by Hydra once per run, before it composes the config."""
        search_path.append(provider="parp-fairseq", path=f"file://{config_folder()}")
        _register()
        problem = unknown_config(sys.argv)
        if problem:
            leave(problem)
        install()


def _register() -> None:
    """Let OmegaConf resolve `${parp:changes}`; calling it again does nothing new."""
    if hasattr(OmegaConf, "register_new_resolver"):
        OmegaConf.register_new_resolver("parp", _resolve, replace=True)
    else:
        # OmegaConf 2.0 refuses a second registration.
        with contextlib.suppress(AssertionError):
            OmegaConf.register_resolver("parp", _resolve)


def _resolve(what: str) -> str:
    if what != "changes":
        raise ValueError(f"there is no ${{parp:{what}}}; write ${{parp:changes}}")
    return changes([str(override) for override in HydraConfig.get().overrides.task])
