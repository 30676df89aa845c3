#!/usr/bin/env python3
"""Measure this project's size against its targets: .venv/bin/python scripts/targets.py

The walk is what a tiny fairseq-hydra-train and parp eval of its checkpoint run of this project.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "parp_fairseq" / "checkpoints" / "tiny.pt"
PRODUCT = ("parp_fairseq", "hydra_plugins", "examples", "tools", "scripts")
SOURCES = (".py", ".cpp", ".h")  # As the targets were set: without shell and Snakemake.
OPTIONS = {"interval", "initial", "schedule", "granularity", "include", "exclude"}
PATCHED = ("fairseq", "fairseq_cli", "hydra", "numpy", "omegaconf")
# Python imports this at its start: it notes the lines of all functions that are called.
HOOK = """import atexit, os, sys, tempfile
called = set()
def note(frame, event, arg):
    if event == "call" and frame.f_code.co_flags & 1:  # A function, not a module or a class.
        called.add(frame.f_code)
def write():
    sys.setprofile(None)
    with tempfile.NamedTemporaryFile("w", dir=os.environ["PARP_WALK"], delete=False) as file:
        for code in called:
            last = max(line for _, _, line in code.co_lines() if line)
            print(code.co_filename, code.co_firstlineno, last, sep="\\t", file=file)
atexit.register(write)
sys.setprofile(note)
"""


def lines(paths: Iterable[Path]) -> int:
    """How many lines files have together."""
    return sum(len(Path(ROOT, path).read_bytes().splitlines()) for path in paths)


def repeated(paths: Iterable[Path]) -> list[str]:
    """Names that two or more source files or pages share, but for those that must."""
    names = Counter(path.name for path in paths if path.name.endswith((*SOURCES, ".md")))
    return sorted(n for n in names if names[n] > 1 and n not in ("__init__.py", "README.md"))


def schemas(tree: ast.AST) -> Iterator[str]:
    """Classes with a field for every option of pruning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = {ast.unparse(n.target) for n in node.body if isinstance(n, ast.AnnAssign)}
            if fields >= OPTIONS:
                yield node.name


def patches(tree: ast.AST) -> Iterator[str]:
    """Attributes of what was imported from PATCHED that are assigned to."""
    nodes, imported = list(ast.walk(tree)), set()
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                origin = getattr(node, "module", None) or alias.name
                if origin.split(".")[0] in PATCHED and not getattr(node, "level", 0):
                    imported.add(alias.asname or alias.name.split(".")[0])
    for node in nodes:
        targets = [ast.unparse(n) for n in node.targets] if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
            targets = [".".join(ast.unparse(argument) for argument in node.args[:2])]
        yield from {name for name in targets if "." in name and name.split(".")[0] in imported}


def walk() -> dict[Path, set[int]]:
    """The lines of this project's functions that the walk calls."""
    import numpy as np
    import soundfile

    with tempfile.TemporaryDirectory() as name:
        folder, noted = Path(name), Path(name, "called")
        noted.mkdir()
        (folder / "sitecustomize.py").write_text(HOOK)
        noise = np.random.default_rng(1).normal(0, 0.1, 32_000)
        soundfile.write(folder / "a.wav", noise, 16_000)
        for split in ("train", "dev"):
            (folder / f"{split}.tsv").write_text(f"{folder}\na.wav\t32000\n")
            (folder / f"{split}.ltr").write_text("N O | Y E S |\n")
        (folder / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in "|ENOSY"))
        train = f"--config-name parp_demo common.user_dir=parp_fairseq hydra.run.dir={name}/run "
        train += f"task.data={name} model.w2v_path={TINY} optimization.max_update=2 "
        train += "task.prune.interval=1 common.cpu=true dataset.valid_subset=dev"
        score = f"eval {name}/run/checkpoints/checkpoint_last.pt --data {name} --split dev"
        environment = {**os.environ, "PYTHONPATH": name, "PARP_WALK": str(noted)}
        for program, arguments in (("fairseq-hydra-train", train), ("parp", score)):
            command = [Path(sys.executable).with_name(program), *arguments.split()]
            done = subprocess.run(
                command, cwd=name, env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(f"{program} failed: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        rows = [
            row.split("\t") for path in noted.iterdir() for row in path.read_text().splitlines()
        ]
    found: dict[Path, set[int]] = {}
    for file, first, last in rows:
        path = Path(file).resolve()
        if any(path.is_relative_to(ROOT / part) for part in PRODUCT[:2]):
            found.setdefault(path.relative_to(ROOT), set()).update(range(int(first), int(last) + 1))
    return found


def measure(with_walk: bool) -> list[tuple[str, str, int, list[str]]]:
    """Rows: what is measured, its target, what it is now, and what was counted."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [Path(name) for name in names if Path(ROOT, name).is_file()]
    product = [p for p in paths if p.parts[0] in PRODUCT and p.name.endswith(SOURCES)]
    trees = {p: ast.parse(Path(ROOT, p).read_bytes()) for p in product if p.suffix == ".py"}
    twice = repeated(paths)
    known = [f"{p}: {name}" for p, tree in trees.items() for name in schemas(tree)]
    patched = [f"{p}: {name}" for p, tree in trees.items() for name in patches(tree)]
    patched = [
        place for place in patched if not place.startswith("parp_fairseq/fairseq_patches.py")
    ]
    results = [p for p in paths if p == Path("examples/wav2vec/RESULTS.md")]
    kilobytes = sum(Path(ROOT, p).stat().st_size for p in results) // 1000
    rows = [
        ("product lines", "24,000", lines(product), []),
        (
            "test lines",
            "15,000",
            lines(p for p in paths if p.parts[0] == "tests" and p.suffix == ".py"),
            [],
        ),
        ("schemas of the pruning options", "1", len(known), known),
        ("file names in two or more places", "10", len(twice), twice),
        ("patches outside of fairseq_patches", "0", len(patched), patched),
        ("lines of README.md", "110", lines([Path("README.md")]), []),
        ("KB of RESULTS.md", "25", kilobytes, [str(p) for p in results]),
    ]
    if with_walk:
        found = walk()
        rows.append(("files of the walk", "25", len(found), sorted(map(str, found))))
        rows.append(("lines of these files", "4,000", lines(found), []))
        rows.append(("lines of the functions called", "", sum(map(len, found.values())), []))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-walk", action="store_true", help="leave out the training (a minute)")
    parser.add_argument("--json", action="store_true", help="print JSON, with what was counted")
    options = parser.parse_args()
    rows = measure(not options.no_walk)
    if options.json:
        names = ("what", "target", "now", "counted")
        print(json.dumps([dict(zip(names, row)) for row in rows], indent=1))
        return
    print(f"{'':36}{'target':>8}{'now':>8}")
    for what, target, now, _ in rows:
        print(f"{what:36}{target:>8}{now:>8,}")


if __name__ == "__main__":
    main()
