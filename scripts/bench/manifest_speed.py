#!/usr/bin/env python3
"""Time `parp manifest librispeech` against fairseq's wav2vec_manifest.py and libri_labels.py.

Both are timed as whole commands on the same tree of small FLAC files, which the page cache holds
after a first run that is not counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from parp_fairseq.table import aligned

_REPOSITORY = Path(__file__).resolve().parents[2]
_CHAPTER = 50
_SENTENCE = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"


def make_tree(root: Path, files: int) -> None:
    """LibriSpeech's layout: `files` utterances of half a second, 50 a chapter."""
    import numpy as np
    import soundfile

    sample = root / "sample.flac"
    root.mkdir(parents=True)
    soundfile.write(sample, np.random.default_rng(1).normal(0, 0.1, 8000), 16_000)
    audio = sample.read_bytes()
    sample.unlink()
    for start in range(0, files, _CHAPTER):
        speaker, chapter = 100 + start // (20 * _CHAPTER), start // _CHAPTER
        folder = root / str(speaker) / str(chapter)
        folder.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{n:04d}" for n in range(min(_CHAPTER, files - start))]
        for name in names:
            (folder / f"{name}.flac").write_bytes(audio)
        lines = "".join(f"{name} {_SENTENCE}\n" for name in names)
        (folder / f"{speaker}-{chapter}.trans.txt").write_text(lines, encoding="utf-8")


def fairseq_commands(tree: Path, out: Path) -> list[list[str]]:
    """What fairseq's README says, for one split."""
    package = Path(importlib.util.find_spec("fairseq").origin).parent
    scripts = package / "examples" / "wav2vec"
    manifest, labels = scripts / "wav2vec_manifest.py", scripts / "libri_labels.py"
    tsv = out / "train.tsv"
    return [
        [sys.executable, str(manifest), str(tree), "--dest", str(out), "--valid-percent", "0"],
        [sys.executable, str(labels), str(tsv), "--output-dir", str(out), "--output-name", "train"],
    ]


def our_commands(tree: Path, out: Path, jobs: int) -> list[list[str]]:
    """The same split."""
    code = "from parp_fairseq.cli import main; main()"
    options = ["--librispeech", str(tree.parent), "--split", f"train={tree.name}"]
    line = [sys.executable, "-c", code, "manifest", "librispeech", *options, "--out", str(out)]
    return [[*line, "--jobs", str(jobs), "--force"]]


def run(commands: list[list[str]]) -> tuple[float, int]:
    """Seconds for all of them, and the largest memory of one, in MiB."""
    began = time.perf_counter()
    most = 0
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=_REPOSITORY)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"this failed: {' '.join(command)}")
        most = max(most, usage.ru_maxrss)
    return time.perf_counter() - began, most // 1024


def same(ours: Path, theirs: Path) -> bool:
    """Whether both wrote the same, order aside."""
    return all(
        sorted((ours / f"train.{ending}").read_text(encoding="utf-8").splitlines())
        == sorted((theirs / f"train.{ending}").read_text(encoding="utf-8").splitlines())
        for ending in ("tsv", "ltr", "wrd")
    )


def main() -> None:
    """Make the tree, time each, print the table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="utterances (10,000)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, of which the median")
    parser.add_argument("--quick", action="store_true", help="300 files, once")
    arguments = parser.parse_args()
    files, repeat = (300, 1) if arguments.quick else (arguments.files, arguments.repeat)
    cores = os.cpu_count() or 1
    rows = []
    folder = Path(tempfile.mkdtemp(prefix="parp-bench-"))
    try:
        tree = folder / "speech" / "train"
        # In a process of its own: what a child's memory starts from is its parent's.
        maker = multiprocessing.get_context("spawn").Process(target=make_tree, args=(tree, files))
        maker.start()
        maker.join()
        ours, theirs = folder / "ours", folder / "theirs"
        methods = {"fairseq's two scripts": fairseq_commands(tree, theirs)}
        for jobs in sorted({1, 2, cores}):
            name = f"parp manifest librispeech --jobs {jobs}"
            methods[name] = our_commands(tree, ours, jobs)
        times: dict[str, list[float]] = {name: [] for name in methods}
        memory = {}
        for turn in range(repeat + 1):
            for name, commands in methods.items():
                seconds, memory[name] = run(commands)
                if turn:
                    times[name].append(seconds)
        if not same(ours, theirs):
            raise SystemExit("the two did not write the same")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rows.append(
            (
                name,
                f"{median:.2f}",
                f"{min(seconds):.2f}",
                f"{files / median:,.0f}",
                f"{memory[name]:,}",
            )
        )
    print(f"{files:,} FLAC files of half a second, {repeat} runs of each")
    print(aligned(("command", "median s", "least s", "files/s", "memory MiB"), rows))
    from machine import machine

    print(machine())


if __name__ == "__main__":
    main()
