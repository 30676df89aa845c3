import subprocess
from pathlib import Path

import pytest

from parp_fairseq.runs import record

PACKAGE = Path(record.__file__).resolve().parents[1]


def test_the_commit_is_found_through_a_link(tmp_path):
    command = ["git", "-C", str(PACKAGE), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True)
    if head.returncode:
        pytest.skip("these sources are no git checkout")
    (tmp_path / "site-packages").mkdir()
    link = tmp_path / "site-packages" / "parp_fairseq"
    link.symlink_to(PACKAGE)
    for place in (PACKAGE, link):
        assert record.git_state(place / "runs")["commit"] == head.stdout.strip()


def test_a_folder_of_somebody_elses_has_none(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert record.git_state(tmp_path) is None
