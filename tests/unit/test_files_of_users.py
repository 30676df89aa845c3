import errno
import os
import subprocess
import sys

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.files import (
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


@pytest.mark.parametrize("name", ["a.json", "link.json", "hard.json", "sub/../a.json"])
def test_an_input_is_never_an_output_under_any_name(tmp_path, name):
    given = tmp_path / "a.json"
    given.write_text("{}")
    (tmp_path / "link.json").symlink_to(given)
    os.link(given, tmp_path / "hard.json")
    with pytest.raises(UserError, match="is also an input"):
        check_output(tmp_path / name, JSON, inputs=[given], force=True)


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
    told = pytest.raises(UserError, match=r"cannot be written \(No space left.*; free some space")
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
        told = pytest.raises(UserError, match="a test is using this folder")
        with told, locked(tmp_path, "a test"):
            pass
    finally:
        holder.kill()
        holder.wait()
    with locked(tmp_path, "a test"):
        pass


def test_a_stage_replaces_its_own_names_only_and_nothing_where_it_fails(tmp_path):
    def found():
        return {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*.txt")}

    (tmp_path / "kept.txt").write_text("old")
    (tmp_path / "replaced.txt").write_text("old")
    with staged(tmp_path) as stage:
        (stage / "replaced.txt").write_text("new")
        (stage / "sub").mkdir()
        (stage / "sub" / "x.txt").write_text("new")
    assert found() == {"kept.txt": "old", "replaced.txt": "new", "sub/x.txt": "new"}
    with pytest.raises(RuntimeError), staged(tmp_path / "made" / "mine") as stage:
        (stage / "lost.txt").write_text("half")
        (tmp_path / "made" / "other").mkdir()
        (tmp_path / "made" / "other" / "theirs.txt").write_text("x")
        raise RuntimeError
    assert found().pop("made/other/theirs.txt") == "x" and len(found()) == 4
    assert not list(tmp_path.rglob(".partial-*"))
