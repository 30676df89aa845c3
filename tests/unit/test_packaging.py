"""Packaging: what a wheel holds, and where fairseq and Hydra find this package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("parp_fairseq", "hydra_plugins")
BUILD = "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))"


def copy_of_the_sources(to: Path) -> Path:
    """The files that make a wheel, away from the clone."""
    to.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / name, to / name)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    return to


def test_a_wheel_holds_the_package_and_its_kernels(tmp_path: Path) -> None:
    source = copy_of_the_sources(tmp_path / "source")
    stale = source / "build" / "lib" / "parp_fairseq" / "renamed_since.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    run = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)], capture_output=True, text=True, cwd=source
    )
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / run.stdout.splitlines()[-1]) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    assert {name for name in files if ".dist-info/" not in name} == {
        path.relative_to(source).as_posix()
        for folder in FOLDERS
        for path in (source / folder).rglob("*")
        if path.is_file()
    } | {"parp_fairseq/kernels/libparp_kernels.so"}
    # hydra_plugins is a namespace shared with other distributions.
    assert "hydra_plugins/__init__.py" not in files
    assert re.search(r"-py3-none-(?!any)", run.stdout)
    entry_points = next(name for name in files if name.endswith("entry_points.txt"))
    assert b"parp = parp_fairseq.cli:main" in files[entry_points]


def test_the_set_up_links_both_folders_where_fairseq_and_hydra_look() -> None:
    import fairseq

    import hydra_plugins

    beside = Path(fairseq.__file__).parents[1] / "parp_fairseq"
    assert beside.samefile(ROOT / "parp_fairseq")
    plugins = [Path(folder) / "parp_searchpath" for folder in hydra_plugins.__path__]
    assert any(p.is_dir() and p.samefile(ROOT / "hydra_plugins/parp_searchpath") for p in plugins)
    # What pip installed are no files of ours, so that removing it removes none of them.
    recorded = metadata.files("parp-fairseq") or []
    assert not [path for path in recorded if path.suffix == ".yaml" or path.name == "pruner.py"]


def test_locks_pin_everything_to_one_version() -> None:
    """Each line of a lock is NAME==VERSION, once, and names no index."""
    for lock in (ROOT / "requirements").glob("lock*.txt"):
        lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
        names = [re.fullmatch(r"([A-Za-z0-9_.-]+)==[0-9][\w.]*", line) for line in lines]
        assert all(names), [line for line, name in zip(lines, names) if not name]
        assert len({name.group(1).lower() for name in names}) == len(lines)
