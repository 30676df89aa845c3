from __future__ import annotations

import pytest
import yaml
from parp_fairseq.demo.plan import FAST_UPDATES, make_plan, with_updates

from parp_fairseq.config import shipped as configs
from parp_fairseq.errors import UserError


def test_the_whole_demo_compares_the_methods_of_the_paper():
    plan = make_plan()
    found = [(run.method, run.sparsity) for run in plan.runs]
    assert found == [
        ("dense", 0.0),
        ("parp", 0.9),
        ("omp", 0.9),
        ("parp_p", 0.9),
        ("mpi", 0.9),
        ("rp", 0.9),
        ("parp", 0.1),
    ]
    config = yaml.safe_load(configs.path_of("parp_demo").read_text())
    assert plan.updates == config["optimization"]["max_update"]
    assert plan.overrides == ()


def test_runs_differ_in_what_is_compared_and_in_nothing_else():
    plan = make_plan()
    allowed = {"hydra.run.dir", "task.prune.method", "task.prune.sparsity", "task.prune.mask"}
    lines = [plan.training(run) for run in plan.runs]
    rest = [[a for a in line if a.split("=")[0] not in allowed] for line in lines]
    assert all(line == rest[0] for line in rest)
    assert len({next(a for a in line if a.startswith("hydra.run.dir")) for line in lines}) == 7


def test_omp_takes_the_dense_run_of_its_own_seed():
    plan = make_plan(seeds=3)
    assert len(plan.runs) == 21
    names = [run.name for run in plan.runs]
    assert len(set(names)) == 21
    for run in plan.runs:
        if run.method == "omp":
            mask = f"task.prune.mask=runs/dense_seed{run.seed}/checkpoints/checkpoint_last.pt"
            assert mask in plan.training(run)
            assert names.index(f"dense_seed{run.seed}") < names.index(run.name)
        assert f"common.seed={run.seed}" in plan.training(run)


def test_fast_is_dense_and_parp_with_fewer_updates():
    plan = make_plan(fast=True)
    assert [run.method for run in plan.runs] == ["dense", "parp"]
    assert plan.updates == FAST_UPDATES < make_plan().updates
    for run in plan.runs:
        assert f"optimization.max_update={FAST_UPDATES}" in plan.training(run)


def test_fewer_updates_are_validated_as_often():
    plan = with_updates(make_plan(), 8)
    assert "dataset.validate_interval_updates=2" in plan.overrides
    assert with_updates(make_plan(), 1).overrides[1] == "dataset.validate_interval_updates=1"


def test_test_data_is_not_what_settings_are_chosen_on():
    plan = make_plan()
    config = yaml.safe_load(configs.path_of("parp_demo").read_text())
    assert plan.valid == config["dataset"]["valid_subset"]
    assert plan.test not in (plan.valid, config["dataset"]["train_subset"])
    assert {plan.valid, plan.test} < set(plan.utterances)


def test_decoding_scores_the_last_checkpoint_on_both_sets():
    plan = make_plan()
    parp = plan.cross_checked
    assert (parp.method, parp.sparsity) == ("parp", 0.9)
    for split in ("dev-other", "test-other"):
        arguments = plan.decoding(parp, split)
        assert arguments[:2] == ["eval", "runs/parp_0.9_seed1/checkpoints/checkpoint_last.pt"]
        assert arguments[-1] == f"runs/parp_0.9_seed1/eval/{split}.json"


def test_seeds_count_from_one():
    for seeds in (0, 99_999_999_999):
        with pytest.raises(UserError, match=f"--seeds is {seeds}; give 1 to 1000"):
            make_plan(seeds=seeds)
