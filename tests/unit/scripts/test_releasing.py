"""scripts/docs.sh and scripts/release.sh: the site builds strictly, a release could be uploaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parp_fairseq import __version__

ROOT = Path(__file__).resolve().parents[3]


def run(script: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run([script], env=environment, capture_output=True, text=True, timeout=600)


def test_the_pages_and_the_api_reference_build_without_a_warning():
    pytest.importorskip("mkdocstrings")
    done = run(ROOT / "scripts" / "docs.sh")
    assert done.returncode == 0, done.stderr[-2000:]
    page = (ROOT / "build" / "site" / "docs" / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("pruning.Pruner", "hf.PruningCallback", "engine.accelerate", "evaluation.Score"):
        assert f'id="parp_fairseq.{name}"' in page


def test_the_version_is_in_the_changelog_and_the_citation():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (day,) = re.findall(rf"^## {re.escape(__version__)} \(([\d-]+)\)", changes, re.M)
    assert f"version: {__version__}\ndate-released: {day}\n" in citation


@pytest.mark.slow
def test_a_release_could_be_uploaded(tmp_path):
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    done = run(tmp_path / "clone" / "scripts" / "release.sh")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("PASSED") == 2
    wheel, sdist = sorted(path.name for path in (tmp_path / "clone" / "dist").iterdir())
    assert re.fullmatch(rf"parp_fairseq-{__version__}-py3-none-manylinux_\d+_\d+_\w+\.whl", wheel)
    assert sdist == f"parp_fairseq-{__version__}.tar.gz"
    (tmp_path / "clone" / "README.md").write_text("changed\n")
    done = run(tmp_path / "clone" / "scripts" / "release.sh")
    assert done.returncode == 2 and "has changes" in done.stderr
