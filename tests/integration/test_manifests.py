"""The builders against fairseq's own scripts, run from the installed package."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parp_fairseq.manifests import build_librilight, check_manifest

WORDS = ["THE", "QUICK", "BROWN", "FOX", "DIDN'T", "JUMP", "OVER", "A", "LAZY", "DOG"]


def fairseq_script(name: str) -> Path:
    """A file below fairseq's examples, without importing fairseq (it takes seconds)."""
    package = Path(importlib.util.find_spec("fairseq").origin).parent
    return package / "examples" / "wav2vec" / name


def run(script: Path, *arguments: object) -> None:
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def corpora(tmp_path):
    random = np.random.default_rng(3)
    parts = [f"librispeech_finetuning/1h/{f}/{k}" for f in range(6) for k in ("clean", "other")]
    parts += ["librispeech_finetuning/9h/clean", "librispeech_finetuning/9h/other"]
    parts += ["LibriSpeech/dev-other", "LibriSpeech/test-clean"]
    for number, part in enumerate(parts):
        speaker, chapter = 100 - number, 7 * number
        folder = tmp_path / part / str(speaker) / str(chapter)
        folder.mkdir(parents=True)
        lines = []
        for index in range(3):
            name = f"{speaker}-{chapter}-{index:04d}"
            wave = random.normal(0, 0.1, int(random.integers(500, 3000)))
            soundfile.write(folder / f"{name}.flac", wave, 16_000)
            lines.append(f"{name} {' '.join(random.choice(WORDS, random.integers(1, 5)))}\n")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def content(folder: Path, split: str) -> tuple[str, set]:
    """A split's root, and its rows with their labels, in no order."""
    read = {e: (folder / f"{split}.{e}").read_text().splitlines() for e in ("tsv", "ltr", "wrd")}
    rows = list(zip(read["tsv"][1:], read["ltr"], read["wrd"]))
    assert len(rows) == len(read["tsv"]) - 1 == len(read["ltr"]) == len(read["wrd"])
    return read["tsv"][0], set(rows)


@pytest.mark.legacy
def test_same_content_as_fairseqs_scripts(corpora, tmp_path):
    finetuning, speech = corpora / "librispeech_finetuning", corpora / "LibriSpeech"
    build_librilight(finetuning, speech, tmp_path / "ours")
    compared = 0
    for folder, split, root, below, count in (
        ("10min", "train", finetuning, "/1h/0/", 6),
        ("1h", "train", finetuning, "/1h/", 36),
        ("10h", "train", finetuning, None, 42),
        ("10h", "dev-other", speech / "dev-other", None, 3),
        ("1h", "test-clean", speech / "test-clean", None, 3),
    ):
        theirs = tmp_path / "theirs" / folder / split
        only = ["--path-must-contain", below] if below else []
        manifest = fairseq_script("wav2vec_manifest.py")
        run(manifest, root, "--dest", theirs, "--ext", "flac", "--valid-percent", 0, *only)
        (theirs / "train.tsv").rename(theirs / f"{split}.tsv")
        labels = fairseq_script("libri_labels.py")
        run(labels, theirs / f"{split}.tsv", "--output-dir", theirs, "--output-name", split)
        ours = content(tmp_path / "ours" / folder, split)
        assert ours == content(theirs, split)
        assert len(ours[1]) == count
        compared += 1
    assert compared == 5


@pytest.mark.legacy
def test_what_is_built_passes_the_check(corpora, tmp_path):
    summary = build_librilight(corpora, corpora, tmp_path / "ours")
    assert {Path(part).name for part in summary.missing_parts} == {"dev-clean", "test-other"}
    for split in summary.splits:
        checked = check_manifest(tmp_path / "ours" / split.folder, split.split, "ltr")
        assert len(checked.labels) == split.utterances
        assert all(
            os.path.isfile(f"{checked.manifest.root}/{r.path}") for r in checked.manifest.rows
        )
