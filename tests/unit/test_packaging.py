"""Packaging: what a wheel holds, and where fairseq and Hydra find this package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

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


def build_wheel(source: Path, to: Path, **environment: str) -> Path:
    """Build a wheel as pip does, with what is installed here."""
    run = subprocess.run(
        [sys.executable, "-c", BUILD, str(to)],
        capture_output=True,
        text=True,
        cwd=source,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr
    return to / run.stdout.splitlines()[-1]


def install(wheel: Path, to: Path) -> Path:
    """An environment with that wheel and all else that is installed here; gives its Python."""
    venv.create(to, symlinks=True)
    python = to / "bin" / "python"
    (site,) = (to / "lib").glob("python3*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("parp_fairseq", "hydra_plugins", "__editable__")):
            (site / entry.name).symlink_to(entry)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return python


def run_elsewhere(python: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run Python in an empty folder; gives its exit code and errors."""
    folder = python.parents[1] / "elsewhere"
    folder.mkdir(exist_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    run = subprocess.run(
        [str(python), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**clean, **environment},
        timeout=300,
    )
    return run.returncode, run.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of sources in which an earlier build has left a file, next to the folder source."""
    folder = tmp_path_factory.mktemp("wheel")
    # Not optimised, and without the levels that take longest.
    fast = folder / "c++"
    fast.write_text(
        '#!/bin/sh\ncase "$*" in *mavx*) echo "error: no AVX" >&2; exit 1;; esac\n'
        'exec c++ "$@" -O0\n'
    )
    fast.chmod(0o755)
    source = copy_of_the_sources(folder / "source")
    stale = source / "build" / "lib" / "parp_fairseq" / "renamed_since.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    return build_wheel(source, folder, CXX=str(fast))


def test_a_wheel_holds_the_package_and_its_kernels(wheel: Path) -> None:
    source = wheel.parent / "source"
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert {name for name in files if ".dist-info/" not in name} == {
        path.relative_to(source).as_posix()
        for folder in FOLDERS
        for path in (source / folder).rglob("*")
        if path.is_file()
    } | {"parp_fairseq/kernels/libparp_kernels.so"}
    # hydra_plugins is a namespace shared with other distributions.
    assert "hydra_plugins/__init__.py" not in files
    assert re.search(r"-py3-none-(?!any)", wheel.name)
    entry_points = next(name for name in files if name.endswith("entry_points.txt"))
    assert b"parp = parp_fairseq.cli:main" in files[entry_points]


def test_what_is_installed_trains_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    """fairseq finds the user dir, Hydra the config, and the first thing missing is the data."""
    python = install(wheel, tmp_path / "environment")
    train = ("-m", "fairseq_cli.hydra_train", "--config-name", "parp_10min")
    files = ("task.data=/nowhere", "model.w2v_path=/nowhere.pt")
    code, errors = run_elsewhere(python, *train, "common.user_dir=parp_fairseq", *files)
    last = errors.splitlines()[-1]
    assert (code, last) == (
        2,
        "parp: error: /nowhere: no such folder; give the folder that holds train.tsv",
    )


def test_without_a_compiler_a_wheel_is_pure_and_says_once_what_to_install(tmp_path: Path) -> None:
    source = copy_of_the_sources(tmp_path / "source")
    (tmp_path / "empty").mkdir()
    no_compiler = {"PATH": str(tmp_path / "empty"), "CXX": ""}
    built = build_wheel(source, tmp_path, **no_compiler)
    assert built.name.endswith("-py3-none-any.whl")
    python = install(built, tmp_path / "environment")
    make = ["mask", "make", "tiny", "--sparsity", "0.5", "-o", "mask.safetensors"]
    program = "from parp_fairseq.cli import main; main()"
    code, errors = run_elsewhere(python, "-c", program, *make, **no_compiler)
    (line,) = errors.splitlines()
    assert code == 0
    assert line.startswith("parp: the kernels are not built") and "apt-get install g++" in line


def test_the_set_up_links_both_folders_where_fairseq_and_hydra_look() -> None:
    import hydra_plugins

    # Importing fairseq takes seconds.
    linked = Path(find_spec("fairseq").origin).parents[1] / "parp_fairseq"
    assert linked.samefile(ROOT / "parp_fairseq")
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
