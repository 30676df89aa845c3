"""What no command should have to think of: streams that fail, Ctrl-C, files that cannot be read."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from parp_fairseq import __version__, cli
from parp_fairseq.cli.commands import COMMANDS
from parp_fairseq.config import shipped
from parp_fairseq.table import aligned

ROOT = Path(__file__).resolve().parents[3]
PARP = [sys.executable, "-c", "from parp_fairseq.cli import main; main()"]


def start(*arguments, stdout=subprocess.PIPE, **environment):
    """Run `parp` in a process of its own."""
    return subprocess.run(
        [*PARP, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
        timeout=120,
    )


def fails_with(monkeypatch, error):
    """Let `parp configs ls` raise `error`."""
    monkeypatch.setattr(shipped, "names", mock.Mock(side_effect=error))


@pytest.mark.parametrize("arguments", ["--help", "configs show parp_1h"])
def test_a_standard_output_that_fails(arguments):
    """A full disk is an error; a closed pipe, as of `head`, is none to speak of."""
    with open("/dev/full", "w") as full:
        done = start(*arguments.split(), stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("parp: error: No space left on device")
    assert done.stderr.count("\n") == 1
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = start(*arguments.split(), stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_terminal_of_ascii(tmp_path):
    """Help, an error and a path that hold what ASCII cannot write."""
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = start("manifest", "commonvoice", "--help", **ascii_only)
    assert (done.returncode, done.stderr) == (0, "") and "nl, " in done.stdout
    done = start("configs", "show", "parp_é", **ascii_only)
    assert done.returncode == 2
    assert done.stderr.startswith("parp: error: no config named") and done.stderr.count("\n") == 1
    done = start("configs", "cp", "parp_1h", str(tmp_path / "é.yaml"), **ascii_only)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("\\xe9.yaml\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "a.tsv"), 2, "error: a.tsv: Permission denied"),
        (OSError(24, "Too many open files"), 2, "error: Too many open files"),
        (
            UnicodeEncodeError("utf-8", "a/caf\udce9.wav", 5, 6, "surrogates not allowed"),
            2,
            r"error: .*'a/caf\\udce9\.wav' cannot be written as utf-8; rename the file.*",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(parp, monkeypatch, error, code, said):
    fails_with(monkeypatch, error)
    ended, out, err = parp("configs", "ls")
    assert (ended, out) == (code, "")
    assert re.fullmatch(f"parp: {said}\n", err), err


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError("no errno")])
def test_bugs_are_not_hidden(monkeypatch, bug):
    fails_with(monkeypatch, bug)
    monkeypatch.setattr(sys, "argv", ["parp", "configs", "ls"])
    with pytest.raises(type(bug)):
        cli.main()


def test_version(parp):
    assert parp("--version")[:2] == (0, f"parp-fairseq {__version__}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("parp ma", ["manifest", "mask"]),
        ("parp mask make --gran", ["--granularity"]),
        ("parp export run --format ", ["fairseq", "sparse", "hf", "onnx"]),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words, expected):
    count = str(len(words.split(" ")) - 1)
    asked = {"_PARP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    parp = Path(sys.executable).with_name("parp")
    done = subprocess.run([parp], env={**os.environ, **asked}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, expected), done.stderr


def test_a_table_of_long_paths_fits_a_terminal():
    rows = [["runs/" + 100 * "x", "dev", "1"], ["runs/" + 100 * "x", "test", "22"]]
    lines = ["  split  WER", "runs/" + 100 * "x", "  dev      1", "  test    22"]
    assert aligned(["checkpoint", "split", "WER"], rows, left=2).splitlines() == lines


def test_the_list_of_commands_is_whole_and_loads_none_of_them():
    code = (
        "import sys; from parp_fairseq.cli import run\n"
        "from parp_fairseq.cli.commands import COMMANDS, app\n"
        "sys.argv = ['parp', '--help']; run(app)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    for name, (_, _, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", done.stdout, re.M)
    own = [name for name in done.stderr.split() if name.startswith("parp_fairseq.cli.")]
    assert own == ["parp_fairseq.cli.commands"]


@pytest.mark.parametrize("module", ["parp_fairseq.cli.commands", "parp_fairseq.pruning"])
def test_ctrl_c_while_modules_are_imported(module):
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "sys.argv = ['parp', 'mask', 'make', 'tiny', '--sparsity', '0.5', '-o', '/gone/m']\n"
        "from parp_fairseq.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "parp: interrupted\n")
