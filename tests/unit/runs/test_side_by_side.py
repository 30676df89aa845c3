"""Programs side by side: order, number at a time, failures."""

from __future__ import annotations

import os
import sys

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.runs.side_by_side import Step, run_steps


def step(folder, name, code, after=(), **more):
    code = f"import pathlib, time, sys; {code}"
    return Step(
        *(name, [sys.executable, "-c", code], folder / f"{name}.log", folder / name, 1.0),
        after=after,
        **more,
    )


@pytest.fixture
def lock(tmp_path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


# Leaves its file, with the names of those that are there.
SEEN = (
    "there = sorted(path.name for path in pathlib.Path('.').glob('[a-d]')); "
    "pathlib.Path({0!r}).write_text(' '.join(there))"
)


def test_each_begins_once_those_before_it_are_done(tmp_path, lock, capsys):
    first = step(tmp_path, "a", SEEN.format("a"), announced=True)
    second = step(tmp_path, "b", SEEN.format("b"), [first])
    third = step(tmp_path, "c", SEEN.format("c"), [second], announced=True, then=lambda: "good")
    there = step(tmp_path, "d", "sys.exit(1)", done=True)
    run_steps([third, second, first, there], tmp_path, 3, lock)
    assert [(tmp_path / name).read_text() for name in "abc"] == ["", "a", "a b"]
    assert "c is done (2 of 2): good" in capsys.readouterr().err
    # What is done is not run again.
    (tmp_path / "a").unlink()
    run_steps([first], tmp_path, 1, lock)
    assert not (tmp_path / "a").exists()


def test_no_more_at_a_time_than_asked_for(tmp_path, lock):
    code = (
        "p = pathlib.Path('running'); p.mkdir(); time.sleep(0.2); p.rmdir(); "
        "pathlib.Path({0!r}).touch()"
    )
    run_steps([step(tmp_path, name, code.format(name)) for name in "abc"], tmp_path, 1, lock)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("print('parp: error: no such mask'); sys.exit(2)", r"a failed: no such mask .*a\.log"),
        ("pass", r"a left no .*; its output is .*a\.log"),
    ],
)
def test_a_failure_is_told_and_ends_the_others(tmp_path, lock, code, told):
    other = step(tmp_path, "b", "time.sleep(99)")
    with pytest.raises(UserError, match=told):
        run_steps([other, step(tmp_path, "a", code)], tmp_path, 2, lock)
    assert other.child.exit_code not in (None, 0)
