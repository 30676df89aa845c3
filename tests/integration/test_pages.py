"""The pages: their commands run as printed, where they can run here; the rest names what exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from running import MAIN_JOB, SMALL
from small_corpora import (
    write_audio,
    write_chapter,
    write_librilight,
    write_mboshi,
    write_speechocean,
)
from torch import nn
from typer.main import get_command

from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.cli.commands import app
from parp_fairseq.config import shipped

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = r"parp |fairseq-hydra-train |python |scripts/|tools/|snakemake |pip "
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
# In the order in which one page's files are another's inputs.
PAGES = [
    *("README.md", "CONTRIBUTING.md", "manifests/README.md"),
    *("docs/install.md", "docs/data.md", "docs/data-commonvoice.md", "docs/pruning.md"),
    *("docs/masks.md", "docs/runs.md", "docs/evaluation.md", "docs/engine.md", "docs/export.md"),
    *("docs/transcribe.md", "docs/transformers.md", "docs/benchmarks.md", "docs/kernels.md"),
    "docs/sparse-format.md",
    *(f"examples/{name}/README.md" for name in ("glue", "wav2vec", "whisper_ctc")),
    *("examples/wav2vec/REAL_SPEECH.md", "tools/tiny_model/README.md"),
]
# What does not run here, and what sees to it.
ELSEWHERE = {
    r"\bpip |git clone |source ": "installs or fetches; scripts/setup.sh is run by scripts/test.sh",
    r"scripts/(demo|test|setup|docs|release)\.sh|bench\.py": "tests of their own, or minutes",
    r"tools/|examples/(glue|wav2vec|whisper)|whisper\.pt|snakemake": "tests of their own",
    r"--install-completion": "changes the user's shell",
    r"ffmpeg ": "not installed everywhere; test_transcribe has standard input",
    r"cv-corpus|/nl\b|parp manifest joint": "test_commonvoice_builder, test_joint",
    r"--hours ": "needs an hour of speech",
    r"decoding\.type=kenlm": "needs a language model",
    r"parp imp|hydra-train -m|…": "test_imp, test_multirun, or not a whole command",
}


def commands(page: str, *, inline: bool) -> list[str]:
    """The commands of a page, an item each, without comments; `inline`: those in its text too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [block for kind, block in FENCED.findall(text) if kind == "sh"]
    prose = FENCED.sub("", text)
    blocks += re.findall(rf"^    (?:{PROGRAMS}).*(?:\n      .*)*", prose, re.M)
    lines = "".join(f"{block}\n" for block in blocks).replace("\\\n", " ").splitlines()
    if inline:
        # A table writes \| for a choice.
        found = re.findall(rf"`((?:{PROGRAMS})[^`\n]*)`", prose)
        lines += [line for line in found if "|" not in line and "…" not in line]
    lines = [re.sub(r"(^| +)# .*", "", line) for line in lines]
    return [" ".join(line.split()) for line in lines if line.strip()]


README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = [block for kind, block in FENCED.findall(README) if kind == "python"]
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


@pytest.mark.parametrize(
    "line", sorted({line for page in PAGES for line in commands(page, inline=True)})
)
def test_every_command_and_option_exists(line):
    program, *words = line.split()
    if program == "parp":
        check_parp(words)
    elif program.startswith(("scripts/", "tools/")):
        assert os.access(ROOT / program, os.X_OK)
        if program == "scripts/demo.sh":
            check_parp(["demo", *words])
        else:
            text = (ROOT / program).read_text(encoding="utf-8")
            assert all(word in text for word in words if word.startswith("-"))
    elif program == "fairseq-hydra-train" and "--config-name" in words:
        assert words[words.index("--config-name") + 1] in shipped.names()


def test_every_option_of_pruning_exists():
    options = yaml.safe_load(shipped.path_of("parp_10min").read_text(encoding="utf-8"))
    named = re.findall(r"task\.prune\.(\w+)", README)
    assert named and set(named) <= set(options["task"]["prune"])
    configs = set(re.findall(r"`(parp_\w+)`", README)) - {"parp_p", "parp_ctc", "parp_fairseq"}
    assert configs and configs <= set(shipped.names())


def run_all(lines: list[str], folder: Path) -> list[str]:
    """Run commands one after the other; return those that failed, with what they said."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    failed = []
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            failed.append(f"{line}\n{done.stdout[-500:]}{done.stderr[-1000:]}")
    return failed


def test_the_commands_of_the_readme_run_in_their_order(main_job, speech):
    recording = next((speech / "LibriSpeech" / "dev-other").rglob("*.flac"))
    soundfile.write(main_job / "talk.mp3", *soundfile.read(recording), format="MP3")
    first, *lines = [
        line for line in commands("README.md", inline=False) if re.match(RUNNABLE, line)
    ]
    assert first == MAIN_JOB
    assert run_all(lines, main_job) == []


def newcomers_folder(folder: Path, run: Path, recording: Path) -> Path:
    """What a reader of all pages has by their names, small: corpora, checkpoints, recordings."""
    write_librilight(folder)
    write_chapter(folder / "LibriSpeech" / "train-clean-100", 300, 1, 3)
    write_speechocean(folder / "speechocean762")
    write_mboshi(folder / "mboshi-french-parallel-corpus")
    rows = [f"a/{number}.flac\tgoedemorgen\t{'ab'[number % 2]}" for number in range(6)]
    for number in range(6):
        write_audio(folder / f"corpus/a/{number}.flac", 16_000)
    table = "\n".join(["path\ttext\tspeaker", *rows])
    (folder / "corpus" / "corpus.tsv").write_text(f"{table}\n", encoding="utf-8")
    shutil.copytree(run / "runs", folder / "runs")
    (folder / "DIR").symlink_to((run / "DIR").resolve())
    shutil.copytree(run / "DIR", folder / "data" / "10min")
    for file in list((folder / "data" / "10min").glob("test-clean.*")):
        for split in ("test-other", "dev-clean"):
            shutil.copy(file, file.with_name(f"{split}{file.suffix}"))
    (folder / "examples").symlink_to(ROOT / "examples")
    checkpoint = next(folder.rglob("checkpoint_best.pt"))
    for name in ("CKPT", "CKPT.pt", "runs/es/checkpoints/checkpoint_best.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkpoint, folder / name)
    shutil.copy(checkpoint.with_name("mask_first.safetensors"), folder)
    shutil.copy(TINY_MODEL, folder / "wav2vec_small.pt")
    (folder / "words.txt").write_text("HELLO\nWORLD\n")
    (folder / "recordings").mkdir()
    for name in ("talk.mp3", "meeting.mp3", "recordings/1.mp3"):
        soundfile.write(folder / name, *soundfile.read(recording), format="MP3")
    return folder


@pytest.mark.slow
def test_a_newcomer_can_paste_every_command_of_every_page(main_job, speech, tmp_path):
    recording = next((speech / "LibriSpeech" / "dev-other").rglob("*.flac"))
    folder = newcomers_folder(tmp_path / "newcomer", main_job, recording)
    failed = []
    for page in PAGES:
        lines = commands(page, inline=False)
        lines = [line for line in lines if not re.search("|".join(ELSEWHERE), line)]
        if find_spec("kenlm") is None:
            lines = [line for line in lines if "--lm " not in line]
        small = [
            " ".join([line, *map(shlex.quote, SMALL)] if line.startswith("fairseq-") else [line])
            for line in lines
        ]
        failed += [
            f"{page}: {text}"
            for text in run_all([re.sub(r"\bNAME\b", "dev-other", line) for line in small], folder)
        ]
    assert not failed, "\n\n".join(failed)


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
