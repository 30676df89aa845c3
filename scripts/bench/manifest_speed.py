#!/usr/bin/env python3
"""Time `parp manifest librispeech` against fairseq's wav2vec_manifest.py and libri_labels.py.

    .venv/bin/python scripts/bench/manifest_speed.py

Both are timed as whole commands on the same tree of small FLAC files, which the page cache holds
after a first run that is not counted.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import PARP, Process, in_own_process, in_turn, machine, parser, run

from parp_fairseq.table import aligned

CHAPTER = 50
SENTENCE = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"


def make_tree(root: Path, files: int) -> None:
    """LibriSpeech's layout: `files` utterances of half a second, 50 a chapter."""
    import numpy as np
    import soundfile

    sample = root / "sample.flac"
    root.mkdir(parents=True)
    soundfile.write(sample, np.random.default_rng(1).normal(0, 0.1, 8000), 16_000)
    audio = sample.read_bytes()
    sample.unlink()
    for start in range(0, files, CHAPTER):
        speaker, chapter = 100 + start // (20 * CHAPTER), start // CHAPTER
        folder = root / str(speaker) / str(chapter)
        folder.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{n:04d}" for n in range(min(CHAPTER, files - start))]
        for name in names:
            (folder / f"{name}.flac").write_bytes(audio)
        lines = "".join(f"{name} {SENTENCE}\n" for name in names)
        (folder / f"{speaker}-{chapter}.trans.txt").write_text(lines, encoding="utf-8")


def both(first: Sequence[str | Path], second: Sequence[str | Path]) -> Process:
    """Run two commands, one after the other."""
    one, two = run(first), run(second)
    peak = max(one.peak_bytes, two.peak_bytes)
    return Process(one.seconds + two.seconds, one.cpu_seconds + two.cpu_seconds, peak, "")


def main() -> None:
    """Make the tree, time each, print the table and the machine."""
    options = parser(__doc__, 5, "300 files, once")
    options.add_argument("--files", type=int, default=10_000, help="utterances (10,000)")
    given = options.parse_args()
    files, rounds = (300, 1) if given.quick else (given.files, given.rounds)
    scripts = Path(importlib.util.find_spec("fairseq").origin).parent / "examples" / "wav2vec"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree, ours, theirs = folder / "speech" / "train", folder / "ours", folder / "theirs"
        in_own_process(make_tree, tree, files)
        # What fairseq's README says, for one split.
        manifest = (scripts / "wav2vec_manifest.py", tree, "--dest", theirs, "--valid-percent", 0)
        labels = (scripts / "libri_labels.py", theirs / "train.tsv", "--output-dir", theirs)
        ways = {
            "fairseq's two scripts": lambda: both(
                [sys.executable, *manifest], [sys.executable, *labels, "--output-name", "train"]
            )
        }
        command = (PARP, "manifest", "librispeech", "--librispeech", tree.parent, "--split")
        for jobs in sorted({1, 2, os.cpu_count() or 1}):
            line = (*command, f"train={tree.name}", "--out", ours, "--jobs", jobs, "--force")
            ways[f"parp manifest librispeech --jobs {jobs}"] = lambda line=line: run(line)
        in_turn(ways, 1)
        found = in_turn(ways, rounds)
        for ending in ("tsv", "ltr", "wrd"):
            one, two = ((out / f"train.{ending}").read_text() for out in (ours, theirs))
            if sorted(one.splitlines()) != sorted(two.splitlines()):
                raise SystemExit(f"the two did not write the same train.{ending}")
    rows = []
    for name, runs in found.items():
        median = statistics.median(each.seconds for each in runs)
        peak = max(each.peak_bytes for each in runs) / 2**20
        least = min(each.seconds for each in runs)
        rows.append(
            (name, f"{median:.2f}", f"{least:.2f}", f"{files / median:,.0f}", f"{peak:.0f}")
        )
    print(f"{files:,} FLAC files of half a second, {rounds} rounds, in turn")
    print(aligned(("command", "median s", "least s", "files/s", "memory MiB"), rows))
    print(machine())


if __name__ == "__main__":
    main()
