"""Masks moved between worlds: what is trained, and what is made of the errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiments import commands
from experiments.plan import TRANSFER_GROUPS
from experiments.reading import read_plan
from experiments.results import report
from experiments.scores import read_scores
from experiments.statistics import paired
from experiments.transfer import RANDOM, matrices
from made_scores import CONTENT, made_plan, write_score

from parp_fairseq.errors import UserError

WORLD = CONTENT["worlds"]["w"]
RESULT = {
    "title": "Moved",
    "kind": "transfer",
    "worlds": ["a", "b", "c", "far"],
    "seeds": [1, 2],
    "cells": [
        {"method": "omp", "sparsity": [0.5]},
        {"method": "mask", "sparsity": [0.5], "from": "others"},
        {"method": "rp", "sparsity": [0.5], "worlds": ["a"]},
        {"method": "parp", "sparsity": [0.5], "from": "all"},
    ],
    "claims": [
        {
            "says": "own is better",
            "fewer": "own held",
            "than": "moved held",
            "paper": "no difference",
        },
        {"says": "PARP is better", "fewer": "own parp", "than": "moved parp"},
    ],
}
PLAN = {
    "worlds": {
        **{name: {**WORLD, "data": f"data/{name}"} for name in "abc"},
        "far": {**WORLD, "model": "other.pt"},
    },
    "results": {"moved": RESULT},
}


@pytest.fixture
def plan(tmp_path):
    return made_plan(tmp_path, PLAN)


def changed(*cells, **entries):
    result = {**RESULT, "cells": list(cells) or RESULT["cells"], **entries}
    return {**PLAN, "results": {"moved": result}}


def test_masks_come_from_worlds_of_the_same_model(plan):
    names = set(plan.scored)
    held = {name for name in names if "_mask_" in name}
    assert held == {
        f"{target}_mask_0.5_from-{source}_seed{seed}"
        for target in "abc"
        for source in "abc"
        for seed in (1, 2)
        if target != source
    }
    assert "b_parp_0.5_from-b_seed1" in names and "far_parp_0.5_from-far_seed1" in names
    assert {name for name in names if "_rp_" in name} == {"a_rp_0.5_seed1", "a_rp_0.5_seed2"}
    # Dense fine-tunings give the masks, and are trained though not scored.
    needed = set(plan.trained) - names
    assert needed == {f"{world}_dense_seed{seed}" for world in (*"abc", "far") for seed in (1, 2)}
    moved = plan.scored["b_mask_0.5_from-c_seed2"]
    assert moved.needs.name == "c_dense_seed2"
    assert moved.settings()["source"]["world"] == "c" and moved.settings()["world"] == "b"
    assert plan.scored["a_rp_0.5_seed1"].settings()["source"] is None


@pytest.mark.parametrize(("method", "key"), [("mask", "mask"), ("parp", "initial")])
def test_the_mask_is_told_to_the_training(plan, method, key):
    ft = plan.scored[f"b_{method}_0.5_from-a_seed1"]
    arguments = commands.training(ft, Path("/w"))
    assert f"task.prune.{key}=masks/a_omp_0.5_seed1.safetensors" in arguments
    assert f"task.prune.method={method}" in arguments and "task.prune.sparsity=0.5" in arguments
    given = [one for one in arguments if one.startswith(("task.prune.mask", "task.prune.initial"))]
    assert len(given) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (changed({"method": "mask"}), "cell 1: method mask lacks from; use all or others or"),
        (changed({"method": "mask", "from": "b"}), "cell 1: from is b; method mask or parp takes"),
        (changed({"method": "rp", "from": "all"}), "cell 1: from is all; method mask or parp"),
        (changed({"method": "rp", "worlds": ["d"]}), "cell 1: there is no world d; use a, b, c"),
        (
            changed(claims=[{"says": "x", "fewer": "parp 0.5", "than": "own held"}]),
            "claim 1: fewer is parp 0.5; use own held, own parp",
        ),
    ],
)
def test_bad_plans(tmp_path, content, told):
    with pytest.raises(UserError) as error:
        made_plan(tmp_path, content)
    assert told in str(error.value) and "results.moved" in str(error.value)


def test_the_change_is_against_the_own_mask(plan):
    # On test a point is added to each.
    rates = {
        ("a", "a"): 39.0,
        ("b", "a"): 49.0,
        ("c", "a"): 43.0,
        ("b", "b"): 19.0,
        ("a", "b"): 29.0,
    }
    for (source, target), rate in rates.items():
        own = source == target
        name = f"{target}_omp_0.5_seed1" if own else f"{target}_mask_0.5_from-{source}_seed1"
        write_score(plan, name, rate)
    write_score(plan, "a_omp_0.5_seed2", 59.0)
    write_score(plan, "a_rp_0.5_seed1", 79.0)
    write_score(plan, "a_parp_0.5_from-a_seed1", 39.0)
    write_score(plan, "a_parp_0.5_from-b_seed1", 38.0)
    tiny, far = matrices(plan.results["moved"], read_scores(plan))
    assert [world.name for world in tiny.worlds] == ["a", "b", "c"] and far.model == "other"
    assert tiny.change("held", "b", "b") == 0
    assert tiny.change("held", "a", "b") == pytest.approx(100 * (30 / 20 - 1))
    # Own: the mean of two seeds, 40 and 60.
    assert tiny.change("held", "b", "a") == pytest.approx(0)
    assert tiny.change("held", RANDOM, "a") == pytest.approx(60)
    assert tiny.change("parp", "b", "a") == pytest.approx(100 * (39 / 40 - 1))
    assert tiny.change("held", "c", "b") is None
    assert tiny.group("own held") == {("a", 1): 40, ("a", 2): 60, ("b", 1): 20}
    # Target b lacks the mask of c.
    assert tiny.group("moved held") == {("a", 1): (50 + 44) / 2}
    assert tiny.group("random held") == {("a", 1): 80}
    assert tiny.group("moved parp") == {} and far.group("moved held") == {}
    assert set(TRANSFER_GROUPS) >= {"own held", "random parp"}
    assert paired(tiny.group("own held"), tiny.group("moved held")).mean == -7


def test_tables_claims_and_the_figure(plan):
    for seed in (1, 2):
        for target in "abc":
            write_score(plan, f"{target}_omp_0.5_seed{seed}", 39.0 + seed)
            write_score(plan, f"{target}_parp_0.5_from-{target}_seed{seed}", 39.0)
            for source in set("abc") - {target}:
                noise = 0.1 * (ord(target) - ord(source)) * seed
                write_score(plan, f"{target}_mask_0.5_from-{source}_seed{seed}", 49.0 + seed)
                write_score(plan, f"{target}_parp_0.5_from-{source}_seed{seed}", 39.0 + noise)
        write_score(plan, f"a_rp_0.5_seed{seed}", 79.0)
    report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    assert "| own is better (tiny, 50%) | no difference | *held* | -10.0 ± 0.0 WER | 6 |" in text
    assert "| PARP is better (tiny, 50%) | - | *not told apart* |" in text
    assert "| own is better (other, 50%) | no difference | *not run* | not run | 0 |" in text
    assert "| a | 41.5 | 51.5 | 51.5 |" in text
    assert "| random (RP) | 80.0 | not run | not run |" in text
    assert "| mean of the others' | +24.1 | +24.1 | +24.1 |" in text
    assert (plan.home / "moved" / "small.png").is_file()


def test_a_mask_of_another_seed_is_that_of_the_next(tmp_path):
    again = [
        {"method": method, "sparsity": [0.5], "from": "another_seed"} for method in ("mask", "parp")
    ]
    claim = {"says": "the seed matters", "fewer": "own held", "than": "reseeded held"}
    plan = made_plan(tmp_path, changed(*RESULT["cells"], *again, seeds=[1], claims=[claim]))
    held = plan.scored["b_mask_0.5_from-b-seed2_seed1"]
    assert held.seed == 1 and held.needs.name == "b_dense_seed2"
    assert "task.prune.mask=masks/b_omp_0.5_seed2.safetensors" in commands.training(held, tmp_path)
    assert held.settings()["source"]["seed"] == 2
    assert "b_parp_0.5_from-b-seed2_seed1" in plan.scored
    # A score from before masks could have a seed of their own stays valid.
    assert "seed" not in plan.scored["b_mask_0.5_from-a_seed1"].settings()["source"]
    for target, rate in (("a", 49.0), ("b", 47.0)):
        write_score(plan, f"{target}_omp_0.5_seed1", 39.0)
        write_score(plan, f"{target}_mask_0.5_from-{target}-seed2_seed1", rate)
    tiny, _ = matrices(plan.results["moved"], read_scores(plan))
    assert tiny.group("own held") == {("a", 1): 40, ("b", 1): 40}
    assert tiny.group("reseeded held") == {("a", 1): 50, ("b", 1): 48}
    assert tiny.group("moved held") == {}
    report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    assert "| own, another seed | 50.0 | 48.0 | not run |" in text
    assert "| the seed matters (tiny, 50%) |" in text


def test_where_imp_rewinds_to(tmp_path):
    cells = [{"method": "imp", "sparsity": [0.5], "options": {"rewind_update": [0, 200]}}]
    content = {**PLAN, "results": {"r": {**RESULT, "kind": "rates", "cells": cells, "claims": []}}}
    plan = made_plan(tmp_path, content)
    ft = plan.scored["a_imp_0.5_rewind-update200_seed1"]
    arguments = commands.training(ft, Path("/w"))
    place = arguments.index("--rewind-update")
    assert arguments[place + 1] == "200" and arguments[:2] == ["parp", "imp"]
    assert not any("task.prune" in one for one in arguments)


def test_the_shipped_plans_move_masks_within_a_model():
    for scale in ("small", "paper"):
        plan = read_plan(scale)
        for ft in plan.results["figure7"].fine_tunings:
            assert ft.source is None or ft.source.model == ft.world.model
