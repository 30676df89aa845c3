from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.files import (
    PNG,
    Kind,
    begins_with,
    check_output,
    locked,
    replacing,
    staged,
    write_json,
    write_lines,
)

JSON = Kind("a JSON file", begins_with(b"{", b"["))


def test_an_input_is_never_an_output_under_any_name(tmp_path):
    given = tmp_path / "a.json"
    given.write_text("{}")
    (tmp_path / "link.json").symlink_to(given)
    os.link(given, tmp_path / "hard.json")
    for name in ("a.json", "link.json", "hard.json", "sub/../a.json"):
        with pytest.raises(UserError, match="is also an input"):
            check_output(tmp_path / name, JSON, inputs=[given], force=True)


def test_an_existing_output_needs_force_and_another_kind_is_refused(tmp_path):
    file = tmp_path / "scores.json"
    assert check_output(file, JSON) == file
    file.write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"scores\.json is there already; .*--force"):
        check_output(file, JSON)
    check_output(file, JSON, force=True)
    with pytest.raises(UserError, match="is there and is not a PNG picture"):
        check_output(file, PNG, force=True)
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path, JSON, force=True)
    with pytest.raises(UserError, match="is a file, not a folder"):
        check_output(file / "below.json", JSON)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    with pytest.raises(RuntimeError), replacing(file) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert file.read_text() == '{\n "a": 1\n}\n'
    assert os.listdir(tmp_path) == ["x.json"]
    with pytest.raises(RuntimeError), replacing(tmp_path / "new" / "deep" / "y") as partial:
        raise RuntimeError
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_full_disk_is_told_as_one(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = pytest.raises(UserError, match=r"cannot be written \(No space left.*; make room")
    with told, replacing(tmp_path / "x"):
        raise full


def test_lines_end_in_lf(tmp_path):
    write_lines(tmp_path / "x", ["a", "ü"])
    assert (tmp_path / "x").read_bytes() == "a\nü\n".encode()


HOLD = """
import sys
from parp_fairseq.files import locked
with locked(sys.argv[1], "a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_locked_until_its_holder_is_gone(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        told = pytest.raises(UserError, match="a test is at work there already")
        with told, locked(tmp_path, "a test"):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locked(tmp_path, "a test"):
        pass


def test_a_stage_that_fails_leaves_what_others_made_below_its_folders(tmp_path):
    out = tmp_path / "made" / "mine"
    with pytest.raises(RuntimeError), staged(out):
        other = tmp_path / "made" / "other"
        other.mkdir()
        (other / "train.tsv").write_text("x")
        raise RuntimeError
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "made",
        "made/other",
        "made/other/train.tsv",
    ]


def test_a_stage_replaces_its_own_names_alone(tmp_path):
    (tmp_path / "kept").write_text("old")
    (tmp_path / "replaced").write_text("old")
    with staged(tmp_path) as stage:
        (stage / "replaced").write_text("new")
        (stage / "sub").mkdir()
        (stage / "sub" / "x").write_text("new")
    found = {p.name: p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"kept": "old", "replaced": "new", "x": "new"}
    assert not list(Path(tmp_path).glob(".partial-*"))
