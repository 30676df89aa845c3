"""What the demo runs, and what it does to its folder."""

from __future__ import annotations

import multiprocessing
import os

import pytest
import yaml

from parp_fairseq.config import shipped
from parp_fairseq.demo import demo as demo_module
from parp_fairseq.demo.demo import clean_folder, make_demo, run_demo, take_folder
from parp_fairseq.errors import UserError
from parp_fairseq.files import locked
from parp_fairseq.grid import command_lines as lines

CONFIG = yaml.safe_load(shipped.path_of("parp_demo").read_text())


def test_the_whole_demo_compares_the_methods_of_the_paper():
    demo = make_demo()
    assert [run.name for run in demo.runs] == [
        *("dense_seed1", "parp_0.9_seed1", "omp_0.9_seed1", "parp_p_0.9_seed1", "mpi_0.9_seed1"),
        *("rp_0.9_seed1", "parp_0.1_seed1"),
    ]
    assert demo.setup.updates == CONFIG["optimization"]["max_update"]
    assert demo.setup.overrides == ()


def test_runs_differ_in_what_is_compared_and_in_nothing_else():
    allowed = {"hydra.run.dir", "task.prune.method", "task.prune.sparsity", "task.prune.mask"}
    commands = [lines.training(run) for run in make_demo().runs]
    rest = [[one for one in command if one.split("=")[0] not in allowed] for command in commands]
    assert all(command == rest[0] for command in rest)
    assert rest[0] == [
        *("fairseq-hydra-train", "--config-name", "parp_demo", "task.data=data/1h"),
        *("model.w2v_path=tiny", "dataset.valid_subset=dev-clean", "common.seed=1"),
        "common.user_dir=parp_fairseq",
    ]


def test_omp_takes_the_dense_run_of_its_own_seed():
    demo = make_demo(seeds=3)
    names = [run.name for run in demo.runs]
    assert len(set(names)) == len(names) == 21
    for run in demo.runs:
        command = lines.training(run)
        assert f"common.seed={run.seed}" in command
        if run.method == "omp":
            assert f"task.prune.mask={lines.checkpoint(run.needs)}" in command
            assert names.index(f"dense_seed{run.seed}") < names.index(run.name)
    for seeds in (0, 99_999_999_999):
        with pytest.raises(UserError, match=rf"--seeds must be from 1 to 1000 \(got {seeds}\)"):
            make_demo(seeds=seeds)


def test_fast_is_dense_and_parp_with_fewer_updates_validated_as_often():
    demo = make_demo(fast=True)
    assert [run.method for run in demo.runs] == ["dense", "parp"]
    assert demo.setup.updates == 250 < make_demo().setup.updates
    assert "dataset.validate_interval_updates=62" in lines.training(demo.runs[0])


def test_test_data_is_not_what_settings_are_chosen_on():
    demo = make_demo()
    assert demo.setup.valid == CONFIG["dataset"]["valid_subset"]
    assert demo.test not in (demo.setup.valid, CONFIG["dataset"]["train_subset"])
    assert set(demo.setup.splits) < set(demo.utterances)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="did not make"):
        take_folder(tmp_path)
    with pytest.raises(UserError, match=r"thesis\.tex is a file"):
        take_folder(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_clean_removes_what_the_demo_made_and_nothing_else(tmp_path):
    out = tmp_path / "demo"
    take_folder(out)
    made = ("speech", "data", "logs", "report", "runs/parp_0.9_seed12", "runs/dense_seed1")
    for name in (*made, "runs/parp_0.5_seed1", "runs/mine"):
        (out / name).mkdir(parents=True)
        (out / name / "file").write_text("here")
    (out / "notes.txt").write_text("somebody's")
    clean_folder(out)
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert left == {"parp-demo.json", "notes.txt", "runs/mine/file", "runs/parp_0.5_seed1/file"}
    # It is still the demo's, and can be used again.
    take_folder(out)


def hold(path, ready, leave):
    with locked(path, "another demo"):
        ready.set()
        leave.wait(60)


def test_one_demo_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "_PATIENCE_SECONDS", 0.0)
    out = tmp_path / "demo"
    take_folder(out)
    spawn = multiprocessing.get_context("spawn")
    ready, leave = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(out, ready, leave))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UserError, match="another demo is using"):
            run_demo(out, make_demo())
    finally:
        leave.set()
        other.join()
    assert set(os.listdir(out)) == {"parp-demo.json", ".lock"}
