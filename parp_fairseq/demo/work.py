"""The demo's own folder: whose it is, what in it is complete, and one demo at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parp_fairseq.demo.plan import DATA, RUNS
from parp_fairseq.errors import UserError
from parp_fairseq.files import LOCK_FILE, locked, write_json

MARKER = "parp-demo.json"
SPEECH = "speech"
LOGS = "logs"
REPORT = "report"
STAMP = "demo.json"

# A training that was killed with its demo may need a moment to be gone.
_PATIENCE_SECONDS = 5.0


class WorkFolder:
    """A folder that the demo made, and no other."""

    def __init__(self, path: Path) -> None:
        """Take the folder, making it where it is not there.

        Raises:
            UserError: it holds something that the demo did not make, or cannot be written.
        """
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; give a folder as --out")
        marker = self.path / MARKER
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not marker.is_file():
                # What a demo that was killed as it began leaves.
                partial = f".{Path(MARKER).stem}."
                names = set(os.listdir(self.path)) - {LOCK_FILE}
                if not all(name.startswith(partial) for name in names):
                    raise UserError(
                        f"{self.path} holds something that the demo did not make; give a new "
                        "folder as --out"
                    )
                write_json(marker, {"what": "made by parp demo; parp demo --clean empties it"})
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be written ({error.strerror}); give another folder as --out"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep other demos out; gives the lock's file descriptor.

        A child that inherits it keeps the lock for as long as it lives.

        Raises:
            UserError: another demo is at work in the folder.
        """
        with locked(self.path, "another demo", _PATIENCE_SECONDS) as descriptor:
            yield descriptor

    def clean(self) -> None:
        """Remove what the demo made, and nothing that somebody else put there."""
        for name in (SPEECH, DATA, LOGS, REPORT):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for stamp in self.path.glob(f"{RUNS}/*/{STAMP}"):
            shutil.rmtree(stamp.parent, ignore_errors=True)
        for name in (SPEECH, DATA):
            (self.path / f"{name}.json").unlink(missing_ok=True)
        self.sweep()
        runs = self.path / RUNS
        if runs.is_dir() and not any(runs.iterdir()):
            runs.rmdir()

    def sweep(self) -> None:
        """Remove what a demo that was killed had half written."""
        for partial in self.path.glob(f".{SPEECH}.*"):
            shutil.rmtree(partial, ignore_errors=True)

    def is_done(self, phase: str, settings: Any) -> bool:
        """Whether a phase's folder is complete, made with these very settings."""
        return (self.path / phase).is_dir() and _read(self.path / f"{phase}.json") == settings

    def begin(self, phase: str) -> None:
        """Make room for a phase that is not complete."""
        (self.path / f"{phase}.json").unlink(missing_ok=True)
        shutil.rmtree(self.path / phase, ignore_errors=True)

    def set_done(self, phase: str, settings: Any) -> None:
        """Note that a phase's folder is complete."""
        write_json(self.path / f"{phase}.json", settings)

    def open_run(self, folder: str, settings: Any) -> None:
        """Prepare a run's folder: what was made with other settings goes.

        Raises:
            UserError: the folder is not the demo's.
        """
        run = self.path / folder
        stamp = run / STAMP
        if run.exists() and not stamp.is_file():
            raise UserError(f"{run} is not the demo's; move it away")
        if run.exists() and _read(stamp).get("settings") != settings:
            shutil.rmtree(run)
        if not run.exists():
            # The stamp comes with the folder, so that no folder is ever without its owner.
            fresh = run.with_name(f".{run.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            write_json(fresh / STAMP, {"settings": settings, "trained": False})
            os.replace(fresh, run)

    def is_trained(self, folder: str) -> bool:
        """Whether a run's training came to its end."""
        return bool(_read(self.path / folder / STAMP).get("trained"))

    def set_trained(self, folder: str) -> None:
        """Note that it did."""
        stamp = self.path / folder / STAMP
        write_json(stamp, {**_read(stamp), "trained": True})


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
