"""Finished runs as rows: what is refused instead of recorded."""

import json
from dataclasses import replace

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.grid import command_lines as lines
from parp_fairseq.grid.collect import Tables, comparisons, rows_of
from parp_fairseq.grid.setups import Grid, Run, Setup, Target
from parp_fairseq.report.tidy import Score, read_table, write_table

SETUP = Setup("s", "parp_demo", "data/s", "models/m.pt", "dev", ("test",))
DENSE = Run(SETUP, "dense", 0.0, 1)
OMP = Run(SETUP, "omp", 0.5, 1)


def grid_of(*runs, masks=()):
    return Grid("g", {"s": SETUP}, {"t": Target("t", runs, masks)})


def leave(work, run, command=None, digest="abc", rate=40.0):
    """Leave what a finished run leaves."""
    folder = work / lines.folder(run)
    for name in ("checkpoints", "eval"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    record = {
        "command": command or ["/bin/fairseq-hydra-train", *lines.training(run)[1:]],
        "config": {"optimization": {"max_update": 800}},
        "versions": {"torch": "2"},
        "contents": {"model.w2v_path": digest},
    }
    (folder / "checkpoints/run.json").write_text(json.dumps(record))
    log = '{"epoch": 1, "wer": "9", "wall": "120", "num_updates": "800"}\n'
    (folder / "hydra_train.log").write_text(log)
    row = {"checkpoint": "x/checkpoint_last.pt", "weights": "subnetwork", "zeros": 0.5}
    row.update({"metric": "WER", "rate": rate, "rate_low": 30.0, "rate_high": 50.0})
    row.update({"errors": 4, "length": 10, "utterances": 2})
    scores = [{**row, "split": split} for split in run.setup.splits]
    (work / lines.scores(run)).write_text(json.dumps(scores))


def test_a_finished_run_becomes_rows_and_no_other(tmp_path):
    leave(tmp_path, OMP)
    tables = Tables(grid_of(DENSE, OMP), tmp_path, tmp_path / "results")
    assert tables.missing(tables.grid.targets["t"]) == [lines.scores(DENSE), lines.scores(OMP)]
    tables.add(tables.grid.targets.values(), finished=True)
    rows = read_table(tmp_path / "results/scores.csv", Score)
    assert [(row.run, row.split, row.update, row.minutes) for row in rows] == [
        ("s_omp_0.5_seed1", "dev", 800, 2.0),
        ("s_omp_0.5_seed1", "test", 800, 2.0),
    ]
    assert (rows[0].model, rows[0].model_sha256, rows[0].versions) == ("m.pt", "abc", "torch 2")
    # What is recorded is not made again, and a target that lacks a run says so.
    again = Tables(grid_of(DENSE, OMP), tmp_path, tmp_path / "results")
    assert again.missing(again.grid.targets["t"]) == [lines.scores(DENSE)]
    with pytest.raises(UserError, match=r"s_dense_seed1.*run\.json"):
        again.add(again.grid.targets.values())
    assert read_table(tmp_path / "results/scores.csv", Score) == rows


def test_a_nested_run_has_rows_of_every_level(tmp_path):
    run = Run(SETUP, "nested", 0.5, 1, (("sparsities", [0.7, 0.9]),))
    leave(tmp_path, run)
    file = tmp_path / lines.scores(run)
    own = json.loads(file.read_text())
    levels = [{**row, "sparsity": level} for level in (None, 0.7, 0.9) for row in own]
    file.write_text(json.dumps(levels))
    Tables(grid_of(run), tmp_path, tmp_path).add(grid_of(run).targets.values())
    rows = [(row.sparsity, row.split) for row in read_table(tmp_path / "scores.csv", Score)]
    assert rows == [(level, split) for level in (0.5, 0.7, 0.9) for split in ("dev", "test")]


def test_theta_is_kept_where_it_made_fewest_errors_the_earliest_of_equals(tmp_path):
    run = replace(DENSE, setup=replace(SETUP, overrides=("optimization.max_update=8",)))
    run = replace(run, checkpoints=(5, 1))
    leave(tmp_path, run)
    (row, _) = json.loads((tmp_path / lines.scores(run)).read_text())

    def score(rates):
        rows = [
            {**row, "checkpoint": f"x/checkpoint_1_{update}.pt", "split": split, "rate": rate}
            for update, pair in rates.items()
            for split, rate in zip(("dev", "test"), pair)
        ]
        (tmp_path / lines.theta_scores(run)).write_text(json.dumps(rows))
        return [one for one in rows_of(run, tmp_path) if one.checkpoint == "kept"]

    rates = {5: (9.0, 1.0), 6: (7.0, 2.0), 7: (7.0, 3.0), 8: (8.0, 4.0)}
    kept = score(rates)
    assert [(one.split, one.rate, one.update) for one in kept] == [("dev", 7, 6), ("test", 2, 6)]
    del rates[7]
    with pytest.raises(UserError, match="has no score of update 7"):
        score(rates)


def test_other_settings_are_refused_in_the_work_folder_and_in_the_table(tmp_path):
    longer = replace(DENSE, setup=replace(SETUP, overrides=("optimization.max_update=900",)))
    leave(tmp_path, DENSE)
    said = "was made with nothing more and the grid now has optimization.max_update=900"
    with pytest.raises(UserError, match=said):
        rows_of(longer, tmp_path)
    tables = Tables(grid_of(DENSE), tmp_path, tmp_path / "results")
    tables.add(tables.grid.targets.values())
    with pytest.raises(UserError, match=f"s_dense_seed1 {said}"):
        Tables(grid_of(longer), tmp_path, tmp_path / "results")
    spoken = replace(DENSE, setup=replace(SETUP, speech={"seed": 2}))
    with pytest.raises(UserError, match="was made with other data"):
        Tables(grid_of(spoken), tmp_path, tmp_path / "results")
    # GPUs do not change a run, nor does the folder of the model.
    moved = replace(DENSE, setup=replace(SETUP, model="elsewhere/m.pt"))
    assert Tables(grid_of(moved), tmp_path, tmp_path / "results").scored == {"s_dense_seed1"}


def test_scores_of_two_models_of_one_name_are_not_mixed(tmp_path):
    leave(tmp_path, DENSE)
    leave(tmp_path, OMP, digest="other")
    tables = Tables(grid_of(DENSE, OMP), tmp_path, tmp_path / "results")
    with pytest.raises(UserError, match=r"different files of m\.pt; remove the rows of one"):
        tables.add(tables.grid.targets.values())
    assert not (tmp_path / "results/scores.csv").exists()


def test_damage_is_named(tmp_path):
    leave(tmp_path, DENSE)
    (tmp_path / lines.scores(DENSE)).write_text("[{")
    with pytest.raises(UserError, match=r"eval/scores\.json"):
        rows_of(DENSE, tmp_path)
    (tmp_path / "results").mkdir()
    write_table(tmp_path / "results/scores.csv", Score, [])
    (tmp_path / "results/masks.csv").write_text("comparison\n")
    with pytest.raises(UserError, match=r"masks\.csv: the columns must be"):
        Tables(grid_of(DENSE), tmp_path, tmp_path / "results")


def test_masks_of_the_model_are_compared_once_and_drawn_ones_once_a_seed():
    other = replace(SETUP, name="o")
    masks = [
        Run(setup, method, 0.5, seed)
        for method in ("rp", "mpi", "omp")
        for setup in (SETUP, other)
        for seed in (1, 2)
    ]
    (target,) = grid_of(masks=tuple(masks)).targets.values()
    ((key, runs),) = comparisons(target).items()
    assert key == ("m", 0.5)
    assert [run.name for run in runs] == [
        *("s_rp_0.5_seed1", "s_rp_0.5_seed2", "s_mpi_0.5_seed1"),
        *("s_omp_0.5_seed1", "s_omp_0.5_seed2", "o_omp_0.5_seed1", "o_omp_0.5_seed2"),
    ]
