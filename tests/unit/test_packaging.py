"""Packaging: what an editable install leaves for fairseq and Hydra, and what a wheel holds."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build_backend"
NO_PATH = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

# What fairseq's import_user_module does with a relative user_dir, in its own order: it imports the
# folder beside its package, then every file that it lists in that folder's tasks/ and models/.
LIKE_FAIRSEQ = """
import importlib, os, sys
site, preload = sys.argv[1], sys.argv[2]
sys.path.append(site)
if preload:
    importlib.import_module(preload)
folder = os.path.join(site, "fairseq", "..", "parp_fairseq")
sys.path.insert(0, os.path.join(site, "fairseq", ".."))
package = importlib.import_module("parp_fairseq")
for kind in ("tasks", "models"):
    for file in os.listdir(os.path.join(folder, kind)):
        if file[0] not in "_.":
            importlib.import_module("parp_fairseq.%s.%s" % (kind, file[: file.find(".py")]))
import importlib.resources
print(sorted(n for n in sys.modules if n.startswith("parp_fairseq.tasks.")))
print(package.__file__)
print(importlib.resources.files("parp_fairseq") / "config")
print(any(os.path.samefile(folder, known) for known in package.__path__))
"""


def editable(tmp_path: Path) -> tuple[Path, Path]:
    """A made-up clone with two task files, and site-packages with its stand-ins."""
    clone, site = tmp_path / "a clone", tmp_path / "site"
    for path, text in {
        "parp_fairseq/__init__.py": "from parp_fairseq._version import __version__\n",
        "parp_fairseq/_version.py": "__version__ = '9'\n",
        "parp_fairseq/tasks/__init__.py": "",
        "parp_fairseq/tasks/one.py": "from parp_fairseq.tasks import two\n",
        "parp_fairseq/tasks/two.py": "",
        "parp_fairseq/tasks/_private.py": "raise AssertionError('not to be imported')\n",
        "parp_fairseq/config/a.yaml": "",
        "hydra_plugins/parp_searchpath/__init__.py": "HERE = __file__\n",
    }.items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text)
    code = "import sys, json; sys.path.insert(0, sys.argv[1]); import parp_build, pathlib; "
    code += "print(json.dumps(parp_build.stand_ins(pathlib.Path(sys.argv[2]))))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(BUILD), str(clone)],
        capture_output=True,
        text=True,
        check=True,
    )
    for path, text in json.loads(run.stdout).items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (site / "fairseq").mkdir()
    return clone, site


@pytest.mark.parametrize("preload", ["", "parp_fairseq", "parp_fairseq.tasks.one"])
def test_editable_install_serves_fairseq(tmp_path: Path, preload: str) -> None:
    """The folder beside fairseq's package leads to the clone's files, whoever imported first."""
    clone, site = editable(tmp_path)
    run = subprocess.run(
        [sys.executable, "-S", "-c", LIKE_FAIRSEQ, str(site), preload],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=NO_PATH,
    )
    assert run.returncode == 0, run.stderr
    modules, file, config, known = run.stdout.splitlines()
    assert "parp_fairseq.tasks.one" in modules and "parp_fairseq.tasks.two" in modules
    assert "_private" not in modules
    assert file == str(clone / "parp_fairseq" / "__init__.py")
    assert config == str(clone / "parp_fairseq" / "config")
    assert known == "True"


def test_editable_install_serves_hydra(tmp_path: Path) -> None:
    """Hydra lists hydra_plugins' folders; the plugin found there thinks it is in the clone."""
    clone, site = editable(tmp_path)
    code = (
        "import pkgutil, sys; sys.path.insert(0, sys.argv[1]); import hydra_plugins; "
        "spec = [i.find_spec(n) for i, n, _ in "
        "pkgutil.walk_packages(hydra_plugins.__path__, 'hydra_plugins.')][0]; "
        "import importlib.util as u; m = u.module_from_spec(spec); "
        "spec.loader.exec_module(m); print(m.HERE)"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-c", code, str(site)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=NO_PATH,
    )
    assert run.returncode == 0, run.stderr
    expected = clone / "hydra_plugins" / "parp_searchpath" / "__init__.py"
    assert run.stdout.strip() == str(expected)


def test_editable_install_of_a_folder_that_is_gone(tmp_path: Path) -> None:
    """The error names the folder."""
    clone, site = editable(tmp_path)
    shutil.rmtree(clone)
    run = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[0] = {str(site)!r}; import parp_fairseq",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=NO_PATH,
    )
    assert run.returncode != 0
    assert str(clone / "parp_fairseq") in run.stderr.splitlines()[-1]


def copy_of_the_sources(to: Path) -> Path:
    """The files that make a wheel, away from the clone."""
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / name, to / name)
    for name in ("build_backend", "parp_fairseq", "hydra_plugins"):
        shutil.copytree(
            ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
    return to


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_wheel(tmp_path: Path, kind: str) -> None:
    """A wheel holds every file of the package and kernels for this platform, an editable one
    stand-ins; RECORD fits both."""
    source = tmp_path / "source"
    source.mkdir()
    copy_of_the_sources(source)
    stale = source / "build" / "lib" / "parp_fairseq" / "renamed_since.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    code = "import sys; sys.path.insert(0, 'build_backend'); import parp_build; "
    code += f"print(parp_build.build_{kind}(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=source
    )
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / run.stdout.splitlines()[-1]) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    ours = {name for name in files if ".dist-info/" not in name}
    if kind == "wheel":
        assert ours == {
            path.relative_to(source).as_posix()
            for folder in ("parp_fairseq", "hydra_plugins")
            for path in (source / folder).rglob("*")
            if path.is_file()
        } | {"parp_fairseq/kernels/libparp_kernels.so"}
        assert re.search(r"-py3-none-(?!any)", run.stdout)
    else:
        assert (source / "parp_fairseq/kernels/libparp_kernels.so").is_file()
        assert all(len(files[name]) < 2000 for name in ours)
        assert {"parp_fairseq/__init__.py", "hydra_plugins/parp_searchpath/__init__.py"} <= ours
    assert "hydra_plugins/__init__.py" not in files

    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    rows = list(csv.reader(io.StringIO(files[record].decode())))
    assert {row[0] for row in rows} == set(files)
    for name, digest, size in rows:
        if name != record:
            expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest())
            assert digest == "sha256=" + expected.decode().rstrip("=")
            assert int(size) == len(files[name])
    entry_points = next(name for name in files if name.endswith("entry_points.txt"))
    assert b"parp = parp_fairseq.cli:main" in files[entry_points]


def test_locks_pin_everything_to_one_version() -> None:
    """Each line of a lock is NAME==VERSION, once, and names no index."""
    for lock in (ROOT / "requirements").glob("lock*.txt"):
        lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
        names = [re.fullmatch(r"([A-Za-z0-9_.-]+)==[0-9][\w.]*", line) for line in lines]
        assert all(names), [line for line, name in zip(lines, names) if not name]
        assert len({name.group(1).lower() for name in names}) == len(lines)
