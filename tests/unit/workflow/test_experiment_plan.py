"""The plans that ship, and what a bad one is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from experiments.plan import HERE, KIND_NAMES, SCALES
from experiments.reading import OPTIONS, read_plan
from paper_tables import KINDS

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


def world(**entries) -> dict:
    """SMALL with other keys in its first world."""
    worlds = {**SMALL["worlds"], "w": {**SMALL["worlds"]["w"], **entries}}
    return {**SMALL, "worlds": worlds}


def test_options_are_those_of_the_task_and_of_parp_imp():
    from parp_fairseq.tasks.config import FINGERPRINT

    assert (
        set(FINGERPRINT) - {"method", "sparsity", "mask"} | {"rewind_update", "round_updates"}
        == OPTIONS
    )


@pytest.mark.parametrize("scale", SCALES)
def test_the_shipped_plans_are_read(scale):
    plan = read_plan(scale)
    assert set(plan.scored) <= set(plan.trained)
    for name, ft in plan.trained.items():
        assert ft.name == name and set(name) <= set(map(chr, range(33, 127))) - set("/'\"*?")
        assert ft.needs is None or ft.needs.name in plan.trained
    for result in plan.results.values():
        known = {(" ".join(c.says.split()), getattr(c, "worlds", ())) for c in result.claims}
        assert len(known) == len(result.claims)


def test_every_kind_can_be_shown():
    assert set(KINDS) == {one.replace("views", "theta") for one in KIND_NAMES} - {"initial_mask"}


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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")
@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("scal=paper", "--config: scal has no meaning; use corpora, demo, devices, gpus, home"),
        ("gpus=two", "--config: gpus is two, expected a whole number of 1 or more"),
        ("scale=large", "large.yaml is not there; the scales are small, paper"),
        # A folder may be called so.
        ("home=/2026", "/2026/small.yaml is not there"),
        ("work=2026", "--config: work is 2026; give the whole path, such as work=$PWD/2026"),
        ("corpora=", "--config: corpora is empty; give it a value or leave it out"),
    ],
)
def test_bad_settings_of_the_workflow(tmp_path, config, told):
    program = Path(sys.executable).with_name("snakemake")
    command = [program, "-s", HERE / "Snakefile", "-n", "cost", "--config", config]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and told in run.stderr + run.stdout


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
            changed(kind="overlap", cells=[{"method": "rp"}], claims=[{"says": "x", "of": "o"}]),
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
        (
            changed(kind="effects", cells=[{"method": "mpi", "worlds": ["w", "many-nl"]}]),
            "results.r: kind effects shows one world; make a result of each",
        ),
        (
            changed(
                kind="effects",
                cells=[{"method": "parp_p", "options": {"initial_sparsity": [0.1, 0.2]}}],
            ),
            "results.r: parp_p 0.5 initial_sparsity=0.1 and parp_p 0.5 initial_sparsity=0.2 are "
            "both ramp, dynamic; keep one",
        ),
        (
            changed(
                claims=[{"says": "x", "fewer": "dense", "than": "omp 0.9", "worlds": ["many"]}]
            ),
            "claim 1: worlds is many; use w",
        ),
        ([], "must hold keys and values"),
        ({**SMALL, "results": None}, "small.yaml: results must hold keys and values"),
        ({**SMALL, "work": 3}, "small.yaml: work is 3, expected a text"),
        (changed(seeds=3), "results.r: seeds is 3, expected a list of whole numbers"),
        (changed(cells=[]), "results.r: cells is [], expected a list of keys and values"),
        (changed(worlds=["w"]), "results.r takes world or worlds, one of them"),
        (
            changed(cells=[{"method": "omp", "sparsity": [90]}]),
            "cell 1: sparsity is [90], expected a list of numbers in [0, 1]",
        ),
        (changed(cells=[{"method": "omp", "sparsity": 0.9}]), "cell 1: sparsity is 0.9, expected"),
        (changed(cells=[{"method": "omp", "trail": 400}]), "cell 1: trail is 400, expected two"),
        (
            changed(cells=[{"method": "parp_p", "options": {"initial_sparsty": 0.5}}]),
            "cell 1.options: initial_sparsty has no meaning; use biases, exclude",
        ),
        (
            changed(cells=[{"method": "parp", "options": {"interval": []}}]),
            "cell 1.options: interval is an empty list; give it values",
        ),
        (world(test="test"), "worlds.w: test is test, expected a list of texts"),
        (world(model=None), "worlds.w: model is None, expected a text"),
        (world(hours="one"), "worlds.w: hours is one, expected a number of 0 or more"),
        (world(size="huge"), "worlds.w: size is huge, expected tiny, base or large"),
        (world(speech=3), "worlds.w: speech is 3, expected keys and values"),
        (world(speech={"utterances": 3}), "w.speech: utterances is 3, expected parts with whole"),
        ({**SMALL, "results": {1: SMALL["results"]["r"]}}, "results: 1 is no name; quote it"),
        ({**SMALL, "models": None}, "small.yaml: models must hold keys and values"),
        (changed(paper=5), "results.r.paper must hold keys and values"),
        (world(speech={"sed": 1}), "worlds.w.speech: sed has no meaning; use language"),
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
