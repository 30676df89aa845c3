"""The workflow of the paper's results, from a small yaml to RESULTS.md, on real trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from experiments.compose import compose_all, composed
from experiments.plan import HERE, FineTuning, read_plan
from small_folders import write_mboshi

from parp_fairseq.errors import UserError

PLAN = {
    "worlds": {
        "quick": {
            "about": "a few sentences",
            "config": "parp_demo",
            "data": "data/quick/10min",
            "speech": {
                "seed": 3,
                "per_speaker": 4,
                "utterances": {"1h/0/clean": 8, "dev-other": 2, "dev-clean": 4, "test-clean": 4},
            },
            "model": "tiny",
            "valid": "dev-clean",
            "test": ["test-clean"],
            "overrides": ["optimization.max_update=10"],
            "size": "tiny",
        }
    },
    "results": {
        "apart": {
            "title": "Apart",
            "kind": "rates",
            "world": "quick",
            "cells": [{"method": "dense"}],
        },
        "seen": {
            "title": "Seen",
            "kind": "views",
            "world": "quick",
            "cells": [
                {
                    "method": "parp",
                    "sparsity": [0.9],
                    "options": {"interval": 8},
                    "trail": [5, 1],
                }
            ],
        },
    },
}


def snakemake(
    home: Path, *arguments: str, config: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("snakemake")
    command = [str(program), "-s", str(HERE / "Snakefile"), "-c", "1", *arguments]
    return subprocess.run(
        [*command, "--config", f"home={home}", *config],
        cwd=home,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")
def test_from_a_plan_to_its_results(tmp_path):
    home = tmp_path / "it's a home"
    home.mkdir()
    (home / "small.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False), encoding="utf-8")
    run = snakemake(home, "all")
    assert run.returncode == 0, run.stderr[-3000:]
    plan = read_plan("small", home)
    dense, parp = (
        json.loads(plan.scores_file(name).read_text(encoding="utf-8")) for name in plan.scored
    )
    assert [(row["checkpoint"], row["split"]) for row in dense["scores"]] == [
        ("last", "dev-clean"),
        ("last", "test-clean"),
    ]
    # Prunings after updates 8 and 10; before 8 the first mask's zeros have moved.
    zeros = {point["update"]: round(point["zeros"], 3) for point in parp["trail"]}
    assert zeros == {update: 0.9 if update in (8, 10) else 0.0 for update in zeros}
    assert {7, 8} <= set(zeros)
    assert {row["checkpoint"] for row in parp["scores"]} == {"last", "kept", "best"}
    assert parp["scores"][0]["zeros"] == pytest.approx(0.9, abs=1e-4)
    text = (home / "RESULTS.md").read_text(encoding="utf-8")
    assert "1 of 1 fine-tunings were run" in text and str(tmp_path) not in text
    assert str(tmp_path) not in plan.scores_file("quick_dense_seed1").read_text(encoding="utf-8")

    # What is scored is not made again, though all it was made from is gone.
    before = plan.scores_file("quick_dense_seed1").stat().st_mtime_ns
    plan.work.rename(home / "elsewhere")
    again = snakemake(home, "-n", "all")
    assert again.returncode == 0, again.stderr
    assert "train" not in again.stdout + again.stderr
    assert plan.scores_file("quick_dense_seed1").stat().st_mtime_ns == before


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")
def test_recordings_are_asked_for_before_anything_starts(tmp_path):
    quick = {key: value for key, value in PLAN["worlds"]["quick"].items() if key != "speech"}
    worlds = {"quick": {**quick, "corpus": {"name": "mboshi", "valid_share": 0.3}}}
    content = yaml.safe_dump({**PLAN, "worlds": worlds}, sort_keys=False)
    (tmp_path / "small.yaml").write_text(content, encoding="utf-8")
    run = snakemake(tmp_path, "-n", "apart")
    assert run.returncode != 0
    assert "mboshi is recorded speech: git clone" in run.stdout + run.stderr
    write_mboshi(tmp_path / "clones" / "mboshi")
    prepared = "work/small/prepared/quick"
    run = snakemake(tmp_path, prepared, config=("corpora=clones",))
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / "work/small/data/quick/10min/train.tsv").is_file()


def test_fine_tunings_of_the_papers_scale_compose():
    plan = read_plan("paper")
    kinds: dict[object, FineTuning] = {}
    for ft in plan.trained.values():
        kinds.setdefault(ft.world.config, ft)
        kinds.setdefault((ft.method, *(key for key, _ in ft.options)), ft)
    chosen = {ft.name: ft for ft in kinds.values()}
    assert compose_all(plan, chosen.values()) >= len(chosen) >= 10
    stages = next(ft for ft in plan.trained.values() if ft.option("stages"))
    found = composed(stages, plan.work)
    assert found["task"]["prune"]["stages"] == [0.8]
    assert found["task"]["prune"]["method"] == "parp_p"
    assert found["optimization"]["max_update"] == 20_000


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_every_fine_tuning_composes(scale):
    plan = read_plan(scale)
    assert compose_all(plan) == sum(ft.trainings for ft in plan.trained.values())


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("parp", (("intervall", 5),), "intervall"),
        ("parp", (("interval", "often"),), "task.prune.interval is 'often'"),
        ("mpi", (("initial", "random"),), "task.prune.initial is random; method mpi takes"),
        ("parp_p", (("initial_sparsity", 0.95),), "initial_sparsity"),
    ],
)
def test_what_does_not_compose_is_named(method, options, told):
    world = read_plan("paper").worlds["base-10h"]
    with pytest.raises(UserError) as error:
        composed(FineTuning(world, method, 0.9, 1, options))
    assert told in str(error.value) and "\n" not in str(error.value)
