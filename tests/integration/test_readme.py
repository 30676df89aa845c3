"""README.md: what it shows runs as printed, where it can run here; the rest names what exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from running import MAIN_JOB
from torch import nn
from typer.main import get_command

from parp_fairseq.cli.commands import app
from parp_fairseq.config import shipped

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.M | re.S)
LINES = "".join(block for kind, block in BLOCKS if kind == "sh").replace("\\\n", " ").splitlines()
SHELL = [" ".join(words) for words in (shlex.split(line, comments=True) for line in LINES) if words]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
# In text and tables, such as `parp eval CKPT --data DIR`; a table writes \| for a choice.
INLINE = [s for s in re.findall(r"`((?:parp|scripts/)[^`\n]*)`", README) if "\\|" not in s]
RUNNABLE = r"fairseq-hydra-train|parp (eval|transcribe|export|inspect|report|mask|configs)"


def check_parp(words: list[str]) -> None:
    """Every command and option exists."""
    command = get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        inner = command.get_command(None, words[0])
        assert inner is not None, f"no command {words[0]!r} of {command.name}"
        command, words = inner, words[1:]
    known = {"--help"}.union(*(option.opts + option.secondary_opts for option in command.params))
    for word in words:
        assert not word.startswith("-") or word.split("=")[0] in known, (
            f"{command.name} has no {word}"
        )


@pytest.mark.parametrize("line", sorted({*SHELL, *INLINE}))
def test_every_command_and_option_exists(line):
    program, *words = line.split()
    if program == "parp":
        check_parp(words)
    elif program.startswith("scripts/"):
        assert os.access(ROOT / program, os.X_OK)
        if program == "scripts/demo.sh":
            check_parp(["demo", *words])
        else:
            text = (ROOT / program).read_text(encoding="utf-8")
            assert all(word in text for word in words if word.startswith("-"))
    elif program == "fairseq-hydra-train":
        assert words[words.index("--config-name") + 1] in shipped.names()


def test_every_option_of_pruning_exists():
    options = yaml.safe_load(shipped.path_of("parp_10min").read_text(encoding="utf-8"))
    named = re.findall(r"task\.prune\.(\w+)", README)
    assert named and set(named) <= set(options["task"]["prune"])
    configs = set(re.findall(r"`(parp_\w+)`", README)) - {"parp_p", "parp_ctc", "parp_fairseq"}
    assert configs and configs <= set(shipped.names())


def test_the_shell_commands_run_in_their_order(main_job, speech):
    recording = next((speech / "LibriSpeech" / "dev-other").rglob("*.flac"))
    soundfile.write(main_job / "talk.mp3", *soundfile.read(recording), format="MP3")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    first, *lines = [line for line in SHELL if re.match(RUNNABLE, line)]
    assert first == MAIN_JOB
    for line in lines:
        command = ["bash", "-c", line]
        done = subprocess.run(
            command, cwd=main_job, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (line, done.stdout[-1000:], done.stderr[-1000:])


@pytest.mark.parametrize("block", PYTHON)
def test_the_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    model = nn.ModuleDict({"fc1": nn.Linear(8, 16), "fc2": nn.Linear(16, 8)})
    names = {"torch": torch, "model": model, "batches": [torch.randn(4, 8) for _ in range(1000)]}
    names["optimizer"] = torch.optim.Adam(model.parameters(), lr=1e-3)
    names["loss"] = lambda model, x: (model["fc2"](model["fc1"](x).relu()) - x).square().mean()
    if "trainer" in block:
        pytest.importorskip("transformers")
        from trainings import tiny_bert, trainer

        names["trainer"] = trainer(tmp_path / "trainer", tiny_bert())
    exec(compile(block, "README.md", "exec"), names)
    model = names["trainer"].model if "trainer" in block else model
    pruned = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    zeros = sum(int((p == 0).sum()) for p in pruned) / sum(p.numel() for p in pruned)
    assert 0.65 < zeros <= 0.9, zeros
