"""Grids: what the shipped ones hold, how runs are named, and what a bad one is told."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from parp_fairseq.errors import UserError
from parp_fairseq.grid import command_lines as lines
from parp_fairseq.grid.collect import check_table, comparisons
from parp_fairseq.grid.setups import read_grid
from parp_fairseq.report.tidy import MaskPair, Score, format_options, read_table

HERE = Path(__file__).parents[3] / "examples" / "wav2vec"
SCORES = HERE / "results" / "scores.csv"

GRID = """
setups:
  s: {config: parp_demo, data: data/s, model: tiny, valid: dev, test: [test]}
  many:
    config: parp_h2l
    each: [nl, fr]
    data: data/{each}
    speech: {language: "{each}"}
    model: m.pt
    valid: dev
    test: [test]
targets:
  t:
    setups: [s]
    seeds: [1, 2]
    runs:
      - {method: dense}
      - {method: omp, sparsity: [0.5, 0.9]}
      - {method: parp, sparsity: [0.9], options: {interval: [1, 25]}}
"""


def grid_of(folder: Path, setup=None, **target):
    """The grid above with other keys in its setup s and in its target."""
    content = yaml.safe_load(GRID)
    content["setups"]["s"].update(setup or {})
    content["targets"]["t"].update(target)
    (folder / "g.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return read_grid(folder / "g.yaml")


def scored(grid):
    """The runs of the targets, without those that they need."""
    return {run.name: run for target in grid.targets.values() for run in target.runs}


@pytest.mark.parametrize("name", ["small", "paper"])
def test_the_shipped_grids(name):
    grid = read_grid(HERE / "grids" / f"{name}.yaml")
    seen = set()
    for run_name, run in grid.runs.items():
        assert run.name == run_name and set(run_name) <= set(map(chr, range(33, 127))) - set(
            "/'\"*?"
        )
        # What it needs comes before it.
        assert run.needs is None or run.needs.name in seen
        seen.add(run_name)


def test_the_committed_results_are_of_the_small_grid():
    """Names, settings and commands of all runs, and every pair of masks."""
    grid = read_grid(HERE / "grids" / "small.yaml")
    table = read_table(SCORES, Score)
    check_table(grid, table, SCORES)
    runs = scored(grid)
    assert {row.run for row in table} == set(runs)
    for row in table:
        run = runs[row.run]
        assert (row.setup, row.method) == (run.setup.name, run.method)
        assert row.sparsity in (run.sparsity, *dict(run.options).get("sparsities", ()))
        assert (row.options, row.source) == (format_options(dict(run.options)), run.source_name)
        assert (row.seed, row.trainings) == (run.seed, run.trainings)
    pairs = {
        (pair.comparison, pair.model, pair.sparsity, pair.one, pair.other)
        for pair in read_table(SCORES.with_name("masks.csv"), MaskPair)
    }
    assert pairs == {
        (target.name, model, sparsity, one.name, other.name)
        for target in grid.targets.values()
        for (model, sparsity), runs in comparisons(target).items()
        for one, other in combinations(runs, 2)
    }


def test_a_target_becomes_runs(tmp_path):
    grid = grid_of(tmp_path)
    assert list(scored(grid))[:2] == ["s_dense_seed1", "s_dense_seed2"]
    assert len(scored(grid)) == 2 + 4 + 4
    assert "s_parp_0.9_interval25_seed2" in scored(grid)
    assert scored(grid)["s_omp_0.9_seed2"].needs == scored(grid)["s_dense_seed2"]
    only = grid_of(tmp_path, runs=[{"method": "omp", "sparsity": [0.9]}], seeds=[3])
    assert list(scored(only)) == ["s_omp_0.9_seed3"]
    assert list(only.runs) == ["s_dense_seed3", "s_omp_0.9_seed3"]


def test_a_setup_for_each_language_or_one_of_them(tmp_path):
    grid = grid_of(tmp_path, setups=["many"], runs=[{"method": "imp", "sparsity": [0.9]}])
    assert {run.setup.data for run in scored(grid).values()} == {"data/nl", "data/fr"}
    assert grid.setups["many-nl"].speech == {"language": "nl"}
    assert {run.trainings for run in scored(grid).values()} == {10}
    names = {name.replace("s_", "many-nl_", 1) for name in scored(grid_of(tmp_path))}
    assert set(scored(grid_of(tmp_path, setups=["many-nl"]))) == names


@pytest.mark.parametrize("source", ["others", "another_seed"])
def test_masks_of_other_setups_of_the_model_and_of_another_seed(tmp_path, source):
    # s has another model: its masks do not fit.
    entry = {"method": "mask", "sparsity": [0.5], "from": source, "setups": ["many"]}
    grid = grid_of(tmp_path, setups=["many", "s"], seeds=[1], runs=[entry])
    given = {"others": ("fr", "nl"), "another_seed": ("nl-seed2", "fr-seed2")}[source]
    assert list(scored(grid)) == [
        f"many-{to}_mask_0.5_from-many-{mask}_seed1" for to, mask in zip(("nl", "fr"), given)
    ]
    for run in scored(grid).values():
        assert run.needs.name == f"{run.source.name}_dense_seed{run.source_seed}"
        mask = f"task.prune.mask=masks/{run.given_mask.name}.safetensors"
        assert mask in lines.training(run)


@pytest.mark.parametrize(
    ("setup", "target", "told"),
    [
        ({}, {"seed": [1]}, "targets.t: unknown key seed; use setups, seeds"),
        ({}, {"setups": ["v"]}, "there is no setup v; use many, many-nl, many-fr, s"),
        ({}, {"runs": [{"sparsity": [0.5]}]}, "targets.t.runs, entry 1 lacks method"),
        ({}, {"runs": [{"method": "pard"}]}, "entry 1: method is 'pard'; did you mean parp"),
        ({}, {"runs": [{"method": "mask"}]}, "(got None for mask)"),
        ({}, {"runs": [{"method": "omp", "sparsity": 90}]}, "must be in [0, 1] (got 90)"),
        (
            *({}, {"runs": [{"method": "omp", "from": "all"}]}),
            "methods mask and parp take from: all, others, another_seed (got all for omp)",
        ),
        ({"model": None}, {}, "setups.s lacks model"),
        ({"config": "parp_dem"}, {}, "did you mean parp_demo?"),
    ],
)
def test_bad_grids(tmp_path, setup, target, told):
    with pytest.raises(UserError) as error:
        grid_of(tmp_path, setup, **target)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("a: [", r"g\.yaml: while parsing"),
        ("[]", "g.yaml must be keys and values"),
        ("setups: {}", "g.yaml lacks setups"),
        (f"{GRID}results: {{}}", "g.yaml: unknown key results; use setups, targets, models"),
    ],
)
def test_missing_and_broken_files(tmp_path, text, told):
    if text is not None:
        (tmp_path / "g.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_grid(tmp_path / "g.yaml")


PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "PATH": PATH}
BATCH = {4: "optimization.update_freq=[2]", 1: "optimization.update_freq=[8]"}


@pytest.mark.parametrize("count", [4, 1])
def test_the_batch_stays_on_any_number_of_gpus(tmp_path, count):
    run = read_grid(HERE / "grids/paper.yaml", gpus=count).runs["base-10h_dense_seed2337"]
    command = lines.training(run)
    assert f"distributed_training.distributed_world_size={count}" in command
    assert BATCH[count] in command and "--device" not in lines.scoring(run)
    # It asks for its GPUs before it trains.
    shell = ["bash", "-euc", lines.script(run)]
    done = subprocess.run(
        shell, cwd=tmp_path, env={**os.environ, **HIDDEN}, capture_output=True, text=True
    )
    said = f"the run needs {count} GPUs and 0 can be seen; --config gpus=N keeps its batch\n"
    assert (done.returncode, done.stderr) == (1, said)
    small = read_grid(HERE / "grids/small.yaml", gpus=count)
    assert {setup.gpus for setup in small.setups.values()} == {0}
    with pytest.raises(UserError, match="does not divide by 3"):
        read_grid(HERE / "grids/paper.yaml", gpus=3)


def test_odd_paths_and_options_reach_hydra_whole(tmp_path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    odd = {"data": "my data/a,b='c'", "model": "it's {x}.pt"}
    options = {"stages": [[0.8]], "schedule": "linear", "biases": True}
    runs = [{"method": "parp_p", "sparsity": [0.9], "options": options, "checkpoints": [400, 20]}]
    (run,) = scored(grid_of(tmp_path, odd, seeds=[3], runs=runs)).values()
    script = lines.script(run).split(" &&\n")
    assert shlex.split(script[0].partition("\n")[2]) == lines.training(run)
    arguments = [one for one in lines.training(run) if "=" in one]
    overrides = OverridesParser.create().parse_overrides(arguments)
    found = {one.key_or_group: getattr(one.value(), "text", one.value()) for one in overrides}
    assert {"data": found["task.data"], "model": found["model.w2v_path"]} == odd
    assert (found["task.prune.stages"], found["task.prune.biases"]) == ([0.8], True)
    assert (found["common.seed"], found["task.prune.sparsity"]) == (3, 0.9)
    assert found["checkpoint.keep_interval_updates"] == -1
    assert found["dataset.validate_after_updates"] == 400


def test_imp_is_a_series_with_its_own_options(tmp_path):
    runs = [{"method": "imp", "sparsity": 0.5, "options": {"rewind_update": 200, "interval": 5}}]
    (run,) = scored(grid_of(tmp_path, runs=runs, seeds=[1])).values()
    command = lines.training(run)
    assert command[:2] == ["parp", "imp"] and "--rewind-update" in command
    assert "task.prune.interval=5" in command
    assert lines.scores(run).endswith("/final/eval/scores.json")


def test_masks_that_parp_mask_make_would_not_make(tmp_path):
    run = scored(grid_of(tmp_path))["s_omp_0.9_seed1"]
    source = "runs/s_dense_seed1/checkpoints/checkpoint_last.pt"
    assert lines.making_mask(run)[:4] == ["parp", "mask", "make", source]
    other = {"overrides": ["task.prune.granularity=tensor"]}
    with pytest.raises(UserError, match=r"setup s: masks of overrides of task\.prune"):
        lines.making_mask(scored(grid_of(tmp_path, other))["s_omp_0.9_seed1"])
