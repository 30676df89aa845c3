"""The plans that ship, and what a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from experiments.kinds import KINDS
from experiments.plan import HERE, KIND_NAMES, SCALES
from experiments.reading import read_plan

from parp_fairseq.errors import UserError

SMALL = {
    "worlds": {
        "w": {
            "config": "parp_demo",
            "model": "tiny",
            "valid": "dev",
            "test": ["test"],
            "speech": {},
        },
        "many": {
            "config": "parp_h2l",
            "model": "m.pt",
            "valid": "dev",
            "test": ["test"],
            "each": ["nl", "fr"],
            "data": "data/{each}",
        },
    },
    "results": {
        "r": {
            "title": "R",
            "kind": "rates",
            "world": "w",
            "seeds": [1, 2],
            "cells": [
                {"method": "dense"},
                {"method": "omp", "sparsity": [0.5, 0.9]},
                {"method": "parp", "sparsity": [0.9], "options": {"interval": [1, 25]}},
            ],
        }
    },
}


def write(folder: Path, content: dict) -> Path:
    (folder / "small.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def changed(**entries) -> dict:
    """SMALL with other keys in its result."""
    return {**SMALL, "results": {"r": {**SMALL["results"]["r"], **entries}}}


@pytest.mark.parametrize("scale", SCALES)
def test_the_shipped_plans_are_read(scale):
    plan = read_plan(scale)
    assert set(plan.scored) <= set(plan.trained)
    for name, ft in plan.trained.items():
        assert ft.name == name and set(name) <= set(map(chr, range(33, 127))) - set("/'\"*?")
        assert ft.needs is None or ft.needs.name in plan.trained
    for result in plan.results.values():
        assert (HERE / result.name / "README.md").is_file()
        known = {" ".join(c.says.split()) for c in result.claims}
        assert len(known) == len(result.claims)


def test_every_kind_can_be_shown():
    assert set(KINDS) == set(KIND_NAMES)


def test_cells_become_fine_tunings(tmp_path):
    plan = read_plan("small", write(tmp_path, SMALL))
    assert list(plan.scored)[:2] == ["w_dense_seed1", "w_dense_seed2"]
    assert len(plan.scored) == 2 + 4 + 4
    assert "w_parp_0.9_interval25_seed2" in plan.scored
    omp = plan.scored["w_omp_0.9_seed2"]
    assert omp.needs == plan.scored["w_dense_seed2"]
    assert plan.work == tmp_path / "work/small"
    assert plan.scores_file("x") == tmp_path / "results/small/x.json"


def test_what_omp_needs_is_trained_though_not_scored(tmp_path):
    content = changed(cells=[{"method": "omp", "sparsity": [0.9]}], seeds=[3])
    plan = read_plan("small", write(tmp_path, content))
    assert list(plan.scored) == ["w_omp_0.9_seed3"]
    assert list(plan.trained) == ["w_dense_seed3", "w_omp_0.9_seed3"]


def test_a_world_for_each_language_or_one_of_them(tmp_path):
    content = changed(world="many", cells=[{"method": "imp", "sparsity": [0.9]}])
    plan = read_plan("small", write(tmp_path, content))
    assert {ft.world.data for ft in plan.scored.values()} == {"data/nl", "data/fr"}
    assert {ft.trainings for ft in plan.scored.values()} == {10}
    plan = read_plan("small", write(tmp_path, changed(world="many-nl")))
    assert {ft.world.name for ft in plan.scored.values()} == {"many-nl"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"worlds": {}}, "small.yaml lacks results"),
        (changed(seed=[1]), "results.r: seed has no meaning"),
        (changed(kind="pie"), "kind pie is none of rates, effects, views"),
        (changed(world="v"), "there is no world v; use many, many-nl, many-fr, w"),
        (changed(cells=[{"method": "pard"}]), "cell 1: method is 'pard'; did you mean parp"),
        (changed(cells=[{"sparsity": [0.5]}]), "cell 1 lacks method"),
        (changed(claims=[{"says": "x"}]), "claim 1 lacks fewer"),
        (
            changed(kind="overlap", cells=[], claims=[{"says": "x", "of": "o"}]),
            "claim 1 lacks and_of",
        ),
        (
            changed(claims=[{"says": "x", "fewer": "dense", "than": "omp 0.95"}]),
            "claim 1: than is omp 0.95; use dense, omp 0.5, omp 0.9, parp 0.9",
        ),
        (
            changed(
                kind="overlap",
                cells=[{"method": "omp", "sparsity": [0.9]}],
                claims=[{"says": "x", "of": "omp 0.9", "and_of": "mpi 0.9", "above": 0.9}],
            ),
            "claim 1: and_of is mpi 0.9; use omp 0.9",
        ),
        (
            changed(claims=[{"says": "x", "fewer": "dense", "than": "omp 0.9", "paper": "yes"}]),
            "claim 1: paper is yes; use -, holds, no difference",
        ),
        (changed(kind="overlap"), "cell 1: a dense model has no mask"),
        ([], "must hold keys and values"),
    ],
)
def test_bad_plans(tmp_path, content, told):
    with pytest.raises(UserError) as error:
        read_plan("small", write(tmp_path, content))
    assert told in str(error.value)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(UserError, match=r"small\.yaml is not there; the scales are small, paper"):
        read_plan("small", tmp_path)
    (tmp_path / "small.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"small\.yaml: while parsing"):
        read_plan("small", tmp_path)
