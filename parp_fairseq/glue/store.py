"""The folder that holds runs on GLUE: one experiment, a folder a run, and masks of tasks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import Kind, PathLike, begins_with, write_json
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.specs import Source, Spec
from parp_fairseq.glue.tasks import TASKS
from parp_fairseq.runs.settings import flat

EXPERIMENT = "glue.json"
RUN = "run.json"
RESULT = "result.json"
MODEL = "model"
MASK = "mask.safetensors"
MASKS = "masks"
OVERLAP = "overlap_"

RUNS_JSON = Kind("a file of GLUE runs", begins_with(b'[\n {\n  "task":'))
TRANSFER_JSON = Kind("a file of a GLUE transfer", begins_with(b'{\n "tasks": ['))


class Store:
    """Where runs lie below a folder; settings that all of them share are in its `glue.json`."""

    def __init__(self, root: Path) -> None:
        """Take the folder; nothing is made."""
        self.root = root

    def folder(self, spec: Spec) -> Path:
        """A run's folder."""
        return self.root / spec.task.name / spec.name / f"seed{spec.seed}"

    def mask(self, source: Source, sparsity: float, seed: int) -> Path:
        """The file of the mask that a task's fine-tuning led to."""
        name = f"{source.task}_{source.kind}_{sparsity:g}_seed{seed}.safetensors"
        return self.root / MASKS / name

    def check_other(self, path: PathLike, option: str) -> None:
        """Raise UserError where `path` is, or will be, a file that runs leave in the folder."""
        root, place = os.path.realpath(self.root), os.path.realpath(path)
        first = os.path.relpath(place, root).split(os.sep)[0]
        if first in (EXPERIMENT, MASKS, *TASKS) or first.startswith(OVERLAP):
            raise UserError(f"{option} {path} is for the runs in {self.root}; give another name")

    def check(self, settings: Settings, model: str) -> dict[str, Any]:
        """See that the folder is new or this experiment's own; return what describes that.

        Args:
            settings: of every run.
            model: the digest of the pre-trained model.

        Raises:
            UserError: it holds another experiment, or something else.
        """
        wanted = {"settings": asdict(settings), "model": model}
        file = self.root / EXPERIMENT
        if file.is_file():
            _same(self.root, read_object(file), wanted)
        elif self.root.is_dir() and any(self.root.iterdir()):
            raise UserError(f"{self.root} holds something else; give a new folder as --out")
        elif self.root.exists() and not self.root.is_dir():
            raise UserError(f"--out {self.root} is a file; give the name of a folder")
        return wanted

    def begin(self, settings: Settings, model: str) -> None:
        """Make the folder and say which experiment it holds. Raises what `check` raises."""
        wanted = self.check(settings, model)
        if not (self.root / EXPERIMENT).is_file():
            write_json(self.root / EXPERIMENT, wanted)

    def settings(self) -> Settings:
        """The settings of the experiment in the folder.

        Raises:
            UserError: there is none.
        """
        file = self.root / EXPERIMENT
        if not file.is_file():
            raise UserError(f"{self.root} holds no runs on GLUE ({EXPERIMENT} is missing)")
        try:
            return Settings(**read_object(file)["settings"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{file}: not what parp glue wrote; take another folder") from error

    def result(self, spec: Spec, wanted: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """What a finished run left; None before it is finished.

        Args:
            spec: the run.
            wanted: what decides its outcome, to be compared; None: not compared.

        Raises:
            UserError: the folder's run was another one.
        """
        folder = self.folder(spec)
        if wanted is not None and (folder / RUN).is_file():
            _same(folder, read_object(folder / RUN), wanted)
        if not (folder / RESULT).is_file():
            return None
        return read_object(folder / RESULT)


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: the file is damaged.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not readable JSON; remove it or take another folder") from error
    if not isinstance(record, dict):
        raise UserError(f"{file}: not what parp glue wrote; take another folder")
    return record


def _same(folder: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UserError where `saved`, once written as JSON, is not `wanted`."""
    ours = flat(json.loads(json.dumps(wanted, default=str)))
    theirs = flat(saved)
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise UserError(
                f"{folder} holds another experiment: {key} was {theirs.get(key)} and is now "
                f"{value}; put it back or give another folder as --out"
            )
