"""What no command should have to think of: streams that fail, Ctrl-C, files that cannot be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path, PurePath

import pytest
import yaml
from typer.main import get_command

from parp_fairseq import cli
from parp_fairseq.cli.commands import COMMANDS, app
from parp_fairseq.config import shipped

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

    def names():
        raise error

    monkeypatch.setattr(shipped, "names", names)


@pytest.mark.parametrize("arguments", ["--help", "configs ls", "configs show parp_1h"])
def test_a_full_disk_behind_standard_output(arguments):
    with open("/dev/full", "w") as full:
        done = start(*arguments.split(), stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("parp: error: standard output cannot be written (No space")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["configs", "show", "parp_1h"]])
def test_a_closed_pipe_is_no_error_to_speak_of(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = start(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1


@pytest.mark.parametrize("command", [["manifest", "commonvoice"], ["manifest", "joint"]])
def test_a_terminal_of_ascii_reads_the_help(command):
    done = start(*command, "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nl, " in done.stdout


def test_an_error_that_names_what_ascii_cannot_write():
    done = start("configs", "show", "parp_é", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith("parp: error: no config named") and done.stderr.count("\n") == 1


def test_a_path_that_ascii_cannot_write(tmp_path):
    done = start("configs", "cp", "parp_1h", str(tmp_path / "é.yaml"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\\xe9.yaml\n")


def test_ctrl_c(parp, monkeypatch):
    fails_with(monkeypatch, KeyboardInterrupt())
    assert parp("configs", "ls") == (130, "", "parp: interrupted\n")


def test_a_file_that_cannot_be_read(parp, monkeypatch):
    fails_with(monkeypatch, PermissionError(13, "Permission denied", "data/train.tsv"))
    assert parp("configs", "ls") == (2, "", "parp: error: data/train.tsv: Permission denied\n")
    fails_with(monkeypatch, OSError(24, "Too many open files"))
    assert parp("configs", "ls") == (2, "", "parp: error: Too many open files\n")


def test_a_name_that_cannot_be_encoded(parp, monkeypatch):
    fails_with(monkeypatch, UnicodeEncodeError("ascii", "naïve", 2, 3, "ordinal not in range"))
    code, said, error = parp("configs", "ls")
    assert (code, said) == (2, "")
    assert "'ï' cannot be written as ascii" in error.replace("\\xef", "ï")
    assert "PYTHONUTF8=1" in error and error.count("\n") == 1
    for encoding in ("utf-8", "UTF8"):
        name = UnicodeEncodeError(encoding, "a/caf\udce9.wav", 5, 6, "surrogates not allowed")
        fails_with(monkeypatch, name)
        code, said, error = parp("configs", "ls")
        assert (code, said) == (2, "") and error.count("\n") == 1
        assert r"'a/caf\udce9.wav' cannot be written as UTF-8; rename the file" in error
        assert "PYTHONUTF8" not in error


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError("no errno")])
def test_bugs_are_not_hidden(monkeypatch, bug):
    fails_with(monkeypatch, bug)
    monkeypatch.setattr(sys, "argv", ["parp", "configs", "ls"])
    with pytest.raises(type(bug)):
        cli.main()


def test_usage(parp):
    code, _, error = parp("configs", "lss")
    assert code == 2 and "lss" in error
    assert parp("--version")[0] == 0


def commands(group, path=()):
    """Every command's path and help."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command.help


@pytest.mark.parametrize(("path", "help_text"), commands(get_command(app)))
def test_every_command_has_an_example(path, help_text):
    assert f"Example: parp {' '.join(path)} " in " ".join(help_text.split()) + " "


@pytest.mark.parametrize("columns", ["80", "100"])
def test_the_list_of_commands_is_whole_and_loads_none_of_them(columns):
    code = (
        "import sys; from parp_fairseq.cli.entry_point import run\n"
        "from parp_fairseq.cli.commands import COMMANDS, app\n"
        "sys.argv = ['parp', '--help']; run(app)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "COLUMNS": columns}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    for name, (_, _, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", done.stdout, re.M)
    own = [name for name in done.stderr.split() if name.startswith("parp_fairseq.cli.")]
    assert own == ["parp_fairseq.cli.entry_point", "parp_fairseq.cli.commands"]


@pytest.mark.parametrize(
    "page", ["parp_fairseq/cli/evaluation.py", "docs/evaluation.md", "README.md"]
)
def test_checkpoints_to_score_are_named_as_the_configs_lay_them_out(page):
    (pattern,) = re.findall(r"parp eval (\S+checkpoint_best\.pt)", (ROOT / page).read_text())
    hydra = yaml.safe_load(shipped.path_of("parp_10min").read_text())["hydra"]
    assert PurePath(hydra["run"]["dir"], "checkpoints", "checkpoint_best.pt").match(pattern)


@pytest.mark.parametrize(
    "module", ["parp_fairseq.cli.entry_point", "typer", "parp_fairseq.pruning"]
)
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
