import json
import shutil

import pytest
from made_runs import write_run

from parp_fairseq.errors import UserError
from parp_fairseq.runs.reading import cost, find_runs, read_run


def test_runs_are_found_at_any_depth_and_once(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "deep" / "er" / "b", method="mpi")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes.txt").write_text("no run")
    found = find_runs([tmp_path, tmp_path / "deep", tmp_path / "a" / "checkpoints"])
    assert [run.folder.name for run in found] == ["a", "b"]
    assert [run.method for run in found] == ["parp", "mpi"]


def test_what_a_run_says(tmp_path):
    scores = {"dev-other": 41.5, "test-other": 44.25}
    run = read_run(write_run(tmp_path / "a", seed=7, scores=scores) / "checkpoints" / "run.json")
    assert (run.seed, run.total_updates, run.finished, run.metric) == (7, 40, True, "WER")
    assert run.sparsity == pytest.approx(0.9)
    assert run.valid_splits == ("dev-other",)
    assert run.valid_rate("dev-other") == 45.0
    assert run.valid_rate("dev-clean") is None
    assert {name: score["rate"] for name, score in run.scores.items()} == scores
    assert run.option("optimization.lr") == [0.0005]
    assert run.option("optimization.nothing", 3) == 3


def test_a_run_under_way_and_one_of_phones(tmp_path):
    folder = write_run(tmp_path / "a", done=20, post_process="none")
    run = read_run(folder / "checkpoints" / "run.json")
    assert (run.log.updates, run.finished, run.metric) == (20, False, "PER")


def test_the_last_checkpoint_is_the_one_reported(tmp_path):
    folder = write_run(tmp_path / "a", scores={"dev-other": 50.0})
    best = {"checkpoint": "checkpoint_best.pt", "split": "dev-other", "metric": "WER", "rate": 40.0}
    for name in ("a.json", "z.json"):
        (folder / "eval" / name).write_text(json.dumps([best]))
    assert read_run(folder / "checkpoints" / "run.json").scores["dev-other"]["rate"] == 50.0


@pytest.mark.parametrize("how", [{"weights": "theta"}, {"lm": "a.bin"}, {"sparsity": 0.9}])
def test_scores_of_something_else_than_the_subnetwork_are_left_out(tmp_path, how):
    folder = write_run(tmp_path / "a", scores={"dev-other": 65.1})
    other = json.loads((folder / "eval" / "dev-other.json").read_text())[0]
    other.update(rate=40.0, **how)
    lone = {**other, "split": "test-other"}
    (folder / "eval" / "dev-other_more.json").write_text(json.dumps([other, lone]))
    rates = {s: v["rate"] for s, v in read_run(folder / "checkpoints/run.json").scores.items()}
    assert rates == {"dev-other": 65.1}
    ours = {**other, "rate": 64.0, "weights": "subnetwork", "lm": None, "sparsity": None}
    (folder / "eval" / "z.json").write_text(json.dumps([ours]))
    assert read_run(folder / "checkpoints" / "run.json").scores["dev-other"]["rate"] == 64.0


def test_omp_costs_the_dense_run_too(tmp_path):
    write_run(tmp_path / "dense", method="dense", minutes=3.0)
    mask = "dense/checkpoints/checkpoint_last.pt"
    relative = write_run(tmp_path / "omp", method="omp", minutes=2.0, mask=mask)
    absolute = write_run(tmp_path / "omp2", method="omp", minutes=2.0, mask=str(tmp_path / mask))
    for folder in (relative, absolute):
        found = cost(read_run(folder / "checkpoints" / "run.json"))
        assert (found.fine_tunings, found.minutes, found.complete) == (2, 5.0, True)

    # Moved together, a relative mask is still found; alone, it is not.
    shutil.copytree(tmp_path, tmp_path.with_name("moved"))
    shutil.rmtree(tmp_path / "dense")
    moved = cost(read_run(tmp_path.with_name("moved") / "omp" / "checkpoints" / "run.json"))
    assert (moved.fine_tunings, moved.minutes, moved.complete) == (2, 5.0, True)
    alone = cost(read_run(relative / "checkpoints" / "run.json"))
    assert (alone.fine_tunings, alone.minutes, alone.complete) == (2, 2.0, False)


def test_a_run_that_names_itself_ends(tmp_path):
    mask = "omp/checkpoints/checkpoint_last.pt"
    folder = write_run(tmp_path / "omp", method="omp", mask=mask)
    assert cost(read_run(folder / "checkpoints" / "run.json")).fine_tunings == 1


def test_bad_folders_and_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"gone: no such folder"):
        find_runs([tmp_path / "gone"])
    with pytest.raises(UserError, match=r"no run in .*checkpoints/run\.json"):
        find_runs([tmp_path])
    folder = write_run(tmp_path / "a", scores={"dev-other": 1.0})
    score = folder / "eval" / "dev-other.json"
    score.write_text('[{"split": "dev-other"}]')
    with pytest.raises(UserError, match=r"dev-other\.json is not a score"):
        find_runs([tmp_path])
    score.unlink()
    for name in ("sparsity.json", "run.json"):
        (folder / "checkpoints" / name).write_text('{"cut')
        with pytest.raises(UserError, match=rf"{name} is damaged"):
            find_runs([tmp_path])
    (folder / "checkpoints" / "run.json").write_text("[]")
    with pytest.raises(UserError, match=r"run\.json is not a record of a run"):
        find_runs([tmp_path])
