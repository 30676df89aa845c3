from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import parp_fairseq.runs.progress as progress_module
from parp_fairseq.errors import UserError
from parp_fairseq.runs import children
from parp_fairseq.runs.progress import Progress, duration, updates_done

SLEEPER = "print('up', flush=True); import time; time.sleep(99)"


@pytest.fixture
def lock(tmp_path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def run(code, folder, lock, environment=None):
    log = folder / "logs" / "x.log"
    child = children.start([sys.executable, "-c", code], folder, log, lock, environment)
    child.process.wait(60)
    return child


def test_a_child_runs_in_its_folder_with_what_it_is_given(tmp_path, lock):
    code = "import os; print(os.getcwd(), os.environ['OMP_NUM_THREADS'])"
    child = run(code, tmp_path, lock, {"OMP_NUM_THREADS": "1"})
    assert child.exit_code == 0
    assert child.log.read_text().splitlines()[-1] == f"{tmp_path} 1"


def test_the_failure_of_this_start_is_named(tmp_path, lock):
    run("print('parp: error: of an earlier start'); raise SystemExit(2)", tmp_path, lock)
    child = run("raise ValueError('a bad number')", tmp_path, lock)
    assert child.exit_code not in (0, None)
    assert child.failure() == "ValueError: a bad number"


def test_stop_ends_even_those_that_do_not_listen(tmp_path, lock, monkeypatch):
    monkeypatch.setattr(children, "_SECONDS_TO_LEAVE", 0.2)
    deaf = f"import signal; signal.signal(15, signal.SIG_IGN); {SLEEPER}"
    started = [
        children.start([sys.executable, "-c", code], tmp_path, tmp_path / f"{n}.log", lock)
        for n, code in enumerate((deaf, SLEEPER))
    ]
    for child in started:
        wait_for(lambda c=child: "up" in c.log.read_text().splitlines())
    children.stop(started)
    assert [child.exit_code for child in started] == [-signal.SIGKILL, -signal.SIGTERM]


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
from parp_fairseq.runs import children
folder = Path({str(tmp_path)!r})
lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
command = [sys.executable, "-c", {SLEEPER!r}]
child = children.start(command, folder, folder / "log", lock)
(folder / "pid").write_text(str(child.process.pid))
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
        children.program("no-such-program")


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
