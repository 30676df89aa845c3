from __future__ import annotations

import multiprocessing
import os

import parp_fairseq.demo.work as work_module
import pytest
from parp_fairseq.demo.work import WorkFolder

from parp_fairseq.errors import UserError


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="did not make"):
        WorkFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match=r"thesis\.tex is a file"):
        WorkFolder(tmp_path / "thesis.tex")


def test_clean_removes_what_the_demo_made_and_nothing_else(tmp_path):
    out = tmp_path / "demo"
    work = WorkFolder(out)
    for name in ("speech", "data", "logs", "report"):
        (out / name).mkdir()
        (out / name / "file").write_text("made")
    work.set_done("speech", {"a": 1})
    work.set_done("data", {"a": 1})
    work.open_run("runs/dense", {"a": 1})
    (out / ".speech.abc").mkdir()
    (out / "runs" / "mine").mkdir()
    (out / "runs" / "mine" / "checkpoint.pt").write_text("somebody's")
    (out / "notes.txt").write_text("somebody's")
    work.clean()
    left = {str(path.relative_to(out)) for path in out.rglob("*")}
    assert left == {"parp-demo.json", "notes.txt", "runs", "runs/mine", "runs/mine/checkpoint.pt"}
    # It is still the demo's, and can be used again.
    WorkFolder(out).clean()


def test_a_phase_is_done_with_its_settings_alone(tmp_path):
    work = WorkFolder(tmp_path / "demo")
    assert not work.is_done("speech", {"seed": 1})
    work.begin("speech")
    (work.path / "speech").mkdir()
    assert not work.is_done("speech", {"seed": 1})
    work.set_done("speech", {"seed": 1})
    assert WorkFolder(work.path).is_done("speech", {"seed": 1})
    assert not work.is_done("speech", {"seed": 2})
    work.begin("speech")
    assert not work.is_done("speech", {"seed": 1})
    assert not (work.path / "speech").exists()


def test_a_run_of_other_settings_is_begun_anew(tmp_path):
    work = WorkFolder(tmp_path / "demo")
    work.open_run("runs/parp", {"updates": 1})
    work.set_trained("runs/parp")
    (work.path / "runs/parp/result").write_text("one")
    work.open_run("runs/parp", {"updates": 1})
    assert work.is_trained("runs/parp")
    assert (work.path / "runs/parp/result").exists()
    work.open_run("runs/parp", {"updates": 2})
    assert not work.is_trained("runs/parp")
    assert not (work.path / "runs/parp/result").exists()
    (work.path / "runs/mine").mkdir()
    with pytest.raises(UserError, match="runs/mine is not the demo's"):
        work.open_run("runs/mine", {})


def hold(path, ready, leave):
    with WorkFolder(path).locked():
        ready.set()
        leave.wait(60)


def test_one_demo_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(work_module, "_PATIENCE_SECONDS", 0.0)
    spawn = multiprocessing.get_context("spawn")
    ready, leave = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(tmp_path / "demo", ready, leave))
    other.start()
    try:
        assert ready.wait(60)
        work = WorkFolder(tmp_path / "demo")
        with pytest.raises(UserError, match="another demo is at work"), work.locked():
            pass
    finally:
        leave.set()
        other.join()
    with WorkFolder(tmp_path / "demo").locked() as descriptor:
        assert os.fstat(descriptor)
