"""What the demo runs, and what it does to its folder."""

import multiprocessing
import os

import pytest
import yaml

from parp_fairseq.config import shipped
from parp_fairseq.demo import demo as demo_module
from parp_fairseq.demo.demo import make_demo, run_demo, take_folder
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
    # Test data is not what settings are chosen on.
    assert demo.setup.valid == CONFIG["dataset"]["valid_subset"]
    assert demo.test not in (demo.setup.valid, CONFIG["dataset"]["train_subset"])
    assert set(demo.setup.splits) < set(demo.utterances)
    # Runs differ in what is compared and in nothing else.
    allowed = {"hydra.run.dir", "task.prune.method", "task.prune.sparsity", "task.prune.mask"}
    for run in demo.runs:
        assert [one for one in lines.training(run) if one.split("=")[0] not in allowed] == [
            *("fairseq-hydra-train", "--config-name", "parp_demo", "task.data=data/1h"),
            *("model.w2v_path=tiny", "dataset.valid_subset=dev-clean", "common.seed=1"),
            "common.user_dir=parp_fairseq",
        ]


def test_omp_takes_the_dense_run_of_its_own_seed():
    demo = make_demo(seeds=3)
    names = [run.name for run in demo.runs]
    assert len(set(names)) == len(names) == 21
    for run in demo.runs:
        assert f"common.seed={run.seed}" in lines.training(run)
        if run.method == "omp":
            assert f"task.prune.mask={lines.checkpoint(run.needs)}" in lines.training(run)
            assert names.index(f"dense_seed{run.seed}") < names.index(run.name)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for folder, message in ((tmp_path, "did not make"), (tmp_path / "thesis.tex", "is a file")):
        with pytest.raises(UserError, match=message):
            take_folder(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


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
