"""Programs side by side: order, number at a time, failures, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.runs import progress as progress_module
from parp_fairseq.runs import side_by_side
from parp_fairseq.runs.progress import Progress, duration, updates_done
from parp_fairseq.runs.side_by_side import Step, cause, program_path, run_steps, stop

SLEEPER = "print('up', flush=True); import time; time.sleep(99)"


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
    assert other.exit_code not in (None, 0)


def test_the_failure_of_this_start_is_named(tmp_path, lock):
    for code in ("print('parp: error: of an earlier start')", "import os; int(os.environ['N'])"):
        begun = step(tmp_path / "logs", "x", code)
        begun.start(tmp_path, lock, {"N": "one"})
        begun.process.wait(60)
    assert begun.exit_code == 1
    assert begun.failure() == "ValueError: invalid literal for int() with base 10: 'one'"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", "no output"),
        ("begun\n\nkilled by its scheduler\n\n", "killed by its scheduler"),
        ("parp: error: first\nparp: error: last\nTraceback (most recent call last):\n", "last"),
        (f"Traceback (most recent call last):\n  File\nErrorError: {'x' * 999}", None),
        # What is printed after it, as by Hydra or by a thread at exit, hides nothing.
        ('  File "a"\nValueError: 0\nKeyError: 1\n\nSet HYDRA_FULL_ERROR=1', "KeyError: 1"),
        ("torch.cuda.OutOfMemoryError: more\nwarning", "torch.cuda.OutOfMemoryError: more"),
    ],
)
def test_a_cause_in_one_line(output, line):
    assert cause(output) == (line or f"ErrorError: {'x' * 388}…")


def test_stop_ends_even_those_that_do_not_listen(tmp_path, lock, monkeypatch):
    monkeypatch.setattr(side_by_side, "_SECONDS_TO_LEAVE", 0.2)
    deaf = f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEPER}"
    steps = [step(tmp_path, name, code) for name, code in (("a", deaf), ("b", SLEEPER))]
    for one in steps:
        one.start(tmp_path, lock)
        wait_for(lambda s=one: "up" in s.log.read_text().splitlines())
    stop(steps)
    assert [one.exit_code for one in steps] == [-signal.SIGKILL, -signal.SIGTERM]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
def test_a_child_dies_with_its_parent(tmp_path):
    code = f"""
import os, sys, time
from pathlib import Path
from parp_fairseq.runs.side_by_side import Step
folder = Path({str(tmp_path)!r})
lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
step = Step("x", [sys.executable, "-c", {SLEEPER!r}], folder / "log", folder / "x", 1.0)
step.start(folder, lock)
(folder / "pid").write_text(str(step.process.pid))
time.sleep(99)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "log"
    wait_for(lambda: log.exists() and "up" in log.read_text().splitlines())
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()

    def gone():
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    wait_for(gone)


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no-such-program was not found"):
        program_path("no-such-program")


def test_updates_are_read_from_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert updates_done(log) == 0
    log.write_text("x" * 50_000 + '{"num_updates": "50"}\n{"dev_num_updates": "75", "wer": "4"}\n')
    assert updates_done(log) == 50
    with log.open("a") as stream:
        stream.write('[train_inner][INFO] - {"lr": "1", "num_updates": "100"}\nnoise\n')
    assert updates_done(log) == 100


def test_durations():
    found = [duration(seconds) for seconds in (0, 9.6, 60, 3601, -1)]
    assert found == ["0:00", "0:10", "1:00", "60:01", "0:00"]


def test_without_a_terminal_there_are_plain_lines(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    with Progress(total=100, done=40) as progress:
        progress.say("begun")
        progress.show(40, {"dense": (0, 50)})
        now[0] += 31
        # 20 of the 60 that were left took 31 seconds.
        progress.show(60, {"dense": (25, 50)})
        for done, seconds in ((70, 15), (71, 30), (80, 14)):
            now[0] += seconds
            progress.show(done, {"omp": (done, 100)})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "[0:00] begun",
        "[0:31] dense 50%; about 1:02 left",
        # One slow stretch moves the median little.
        "[1:16] omp 71%; about 0:45 left",
    ]
