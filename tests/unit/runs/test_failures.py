"""The one line that stands for a failed program, of output that real programs print."""

from __future__ import annotations

import subprocess
import sys

import pytest

from parp_fairseq.runs.children import cause

# What Hydra prints depends on how it is entered, so it is: as a program, with a config of its own.
APPLICATION = """
import sys
import hydra


def main(cfg):
    if cfg.what == "key":
        cfg.model.size
    if cfg.what == "lines":
        raise RuntimeError("cannot load:\\n\\tsize mismatch for proj\\n\\tMissing keys: a, b")
    if cfg.what == "cause":
        try:
            open("/gone.pt")
        except OSError as error:
            raise LookupError("no checkpoint") from error
    if cfg.what == "interpolation":
        cfg.bad


if __name__ == "__main__":
    newer = {} if hydra.__version__ < "1.2" else {"version_base": "1.1"}
    if not newer:
        # As this project's plugin: Hydra 1.0 calls it in a way that Python 3.10 does not know.
        import traceback

        import hydra._internal.utils as utils

        utils.print_exception = lambda etype, value, tb: traceback.print_exception(
            type(value), value, tb
        )
    hydra.main(config_path=None if newer else ".", config_name="settings", **newer)(main)()
"""


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    folder = tmp_path_factory.mktemp("application")
    (folder / "application.py").write_text(APPLICATION)
    (folder / "settings.yaml").write_text(
        "what: nothing\nbad: ${no.such}\nmodel:\n  layers: 1\nhydra:\n  run:\n    dir: out\n"
    )
    return folder


@pytest.mark.legacy
@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("what=key", ["ConfigAttributeError: Key 'size' is not in struct", "model.size"]),
        ("what=lines", ["RuntimeError: cannot load: size mismatch for proj", "a, b"]),
        ("what=cause", ["LookupError: no checkpoint"]),
        ("what=interpolation", ["'no.such' not found", "full_key: bad"]),
        ("model.size=1", ["Could not override 'model.size'.", "Key 'size' is not in struct"]),
        ("--config-name=none", ["Cannot find primary config", "none"]),
    ],
)
def test_what_hydra_makes_of_an_error(application, argument, parts):
    done = subprocess.run(
        [sys.executable, "application.py", "--config-dir", str(application), argument],
        cwd=application,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    line = cause(done.stdout)
    assert all(part in line for part in parts), done.stdout
    assert "\n" not in line and "HYDRA_FULL_ERROR" not in line and "https:" not in line


WORKER = """
import torch


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise OSError("a.flac is cut")


list(torch.utils.data.DataLoader(Broken(), num_workers=1))
"""


def test_an_error_in_a_data_loader_worker_is_the_worker_s():
    done = subprocess.run([sys.executable, "-c", WORKER], stderr=subprocess.PIPE, text=True)
    assert cause(done.stderr) == "OSError: a.flac is cut"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", "no output"),
        ("begun\n\nkilled by its scheduler\n\n", "killed by its scheduler"),
        ("parp: error: first\nparp: error: last\nTraceback (most recent call last):\n", "last"),
        ("Traceback (most recent call last):\n", "Traceback (most recent call last):"),
        (f"Traceback (most recent call last):\nError: {'x' * 999}", f"Error: {'x' * 393}…"),
        # What is printed after it, as by a thread at exit, hides nothing.
        ('Traceback (most recent call last):\n  File "a"\nKeyError: 1\n\nwarning', "KeyError: 1"),
    ],
)
def test_other_output(output, line):
    assert cause(output) == line
