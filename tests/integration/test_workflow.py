"""The workflow of the paper's results, from a small yaml to RESULTS.md, on real trainings."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from experiments.compose import compose_all, composed
from experiments.data import make_data
from experiments.plan import HERE, FineTuning
from experiments.reading import read_plan
from experiments.work import train
from small_folders import write_mboshi

from parp_fairseq.checkpoints.mask_files import load_mask
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import iou, magnitude_mask
from parp_fairseq.runs.names import INITIAL_MASK_FILE, LAST, MASK_FILE

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
        },
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
        "alike": {
            "title": "Alike",
            "kind": "overlap",
            "world": "quick",
            "cells": [
                {"method": "omp", "sparsity": [0.9]},
                {"method": "mpi", "sparsity": [0.9]},
                {"method": "rp", "sparsity": [0.9]},
                {
                    "method": "parp",
                    "sparsity": [0.9],
                    "options": {"interval": 8},
                    "trail": [5, 1],
                },
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
    # An update that ends an epoch, of which fairseq keeps no such file, is among them.
    zeros = {point["update"]: round(point["zeros"], 3) for point in parp["trail"]}
    assert zeros == {update: 0.9 if update in (8, 10) else 0.0 for update in range(5, 11)}
    assert {row["checkpoint"] for row in parp["scores"]} == {"last", "kept", "best"}
    assert parp["scores"][0]["zeros"] == pytest.approx(0.9, abs=1e-4)
    text = (home / "RESULTS.md").read_text(encoding="utf-8")
    assert "1 of 1 fine-tunings were run" in text and str(tmp_path) not in text
    assert str(tmp_path) not in plan.scores_file("quick_dense_seed1").read_text(encoding="utf-8")

    # Masks against those that the runs themselves wrote.
    compared = json.loads(plan.scores_file("masks_alike_tiny_0.9").read_text(encoding="utf-8"))
    assert [one["name"].split("_")[1] for one in compared["masks"]] == ["omp", "mpi", "rp", "parp"]
    run = plan.work / "runs" / "quick_parp_0.9_interval8_seed1_trail" / "checkpoints"
    first, last = (load_mask(run / name)[0] for name in (INITIAL_MASK_FILE, MASK_FILE))
    assert compared["iou"][1][3] == pytest.approx(iou(first, last), abs=1e-6)
    # A few updates under a small learning rate move few entries, or none.
    assert 0.9 < compared["iou"][1][3] <= 1
    dense = load_checkpoint(plan.work / "runs/quick_dense_seed1/checkpoints" / LAST)["model"]
    ranked = {name: dense[f"w2v_encoder.w2v_model.{name}"] for name in first}
    assert compared["iou"][0][1] == pytest.approx(iou(magnitude_mask(ranked, 0.9), first), abs=1e-6)
    assert compared["iou"][1][2] == pytest.approx(0.1 / 1.9, abs=0.01)

    # What is scored is not made again, though all it was made from is gone.
    before = plan.scores_file("quick_dense_seed1").stat().st_mtime_ns
    plan.work.rename(home / "elsewhere")
    again = snakemake(home, "-n", "all")
    assert again.returncode == 0, again.stderr
    assert not re.search("train|compare", again.stdout + again.stderr)
    assert plan.scores_file("quick_dense_seed1").stat().st_mtime_ns == before


LANGUAGES = {
    "models": {"two.pt": {"languages": ["nl", "fr"], "speakers": 7, "rounds": [2, 2]}},
    "worlds": {
        "joint": {
            "about": "a few words of two languages",
            "config": "parp_demo",
            "speech": {
                "languages": ["nl", "fr"],
                "utterances": {"train": 12, "dev": 4, "test": 4},
            },
            "data": "data/joint",
            "model": "two.pt",
            "valid": "dev",
            "test": ["test-nl", "test-fr"],
            "overrides": [
                "task.labels=phn",
                "criterion.post_process=none",
                "optimization.max_update=4",
            ],
            "size": "tiny",
        }
    },
    "results": {
        "both": {
            "title": "Both",
            "kind": "languages",
            "world": "joint",
            "cells": [{"method": "parp", "sparsity": [0.9]}],
        }
    },
}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")
def test_languages_from_a_model_of_them_to_their_errors(tmp_path):
    pytest.importorskip("phonemizer")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(LANGUAGES, sort_keys=False))
    run = snakemake(tmp_path, "both")
    assert run.returncode == 0, run.stderr[-3000:]
    plan = read_plan("small", tmp_path)
    scores = json.loads(plan.scores_file("joint_parp_0.9_seed1").read_text(encoding="utf-8"))
    assert [(row["split"], row["metric"]) for row in scores["scores"]] == [
        (split, "PER") for split in ("dev", "test-nl", "test-fr")
    ]
    assert scores["settings"]["recipe"] == LANGUAGES["models"]["two.pt"]
    assert scores["scores"][1]["zeros"] == pytest.approx(0.9, abs=1e-4)
    table = (tmp_path / "both" / "small.md").read_text(encoding="utf-8")
    assert "| method | sparsity | nl | fr | average | seeds |" in table
    assert (plan.work / "two.pt").stat().st_size < 6_000_000
    assert "train" not in snakemake(tmp_path, "-n", "both").stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")
def test_recordings_are_asked_for_before_anything_starts(tmp_path):
    quick = {key: value for key, value in PLAN["worlds"]["quick"].items() if key != "speech"}
    worlds = {"quick": {**quick, "corpus": {"name": "mboshi", "valid_share": 0.3}}}
    content = yaml.safe_dump({**PLAN, "worlds": worlds}, sort_keys=False)
    (tmp_path / "small.yaml").write_text(content, encoding="utf-8")
    # To see what would be done, neither a clone nor data of one's own need be there.
    assert snakemake(tmp_path, "-n", "apart").returncode == 0
    run = snakemake(tmp_path, "apart")
    assert run.returncode != 0
    assert "mboshi is recorded speech: git clone" in run.stdout + run.stderr
    world = {"quick": {**quick, "model": "mine.pt"}}
    own = yaml.safe_dump({**PLAN, "worlds": world}, sort_keys=False)
    (tmp_path / "small.yaml").write_text(own, encoding="utf-8")
    assert snakemake(tmp_path, "-n", "apart").returncode == 0
    run = snakemake(tmp_path, "apart")
    assert run.returncode != 0
    assert "train.tsv: no such file, and world quick needs it" in run.stdout + run.stderr
    (tmp_path / "small.yaml").write_text(content, encoding="utf-8")
    write_mboshi(tmp_path / "clones" / "mboshi")
    prepared = "work/small/prepared/quick"
    run = snakemake(tmp_path, prepared, config=(f"corpora={tmp_path / 'clones'}",))
    assert run.returncode == 0, run.stderr[-3000:]
    assert (tmp_path / "work/small/data/quick/10min/train.tsv").is_file()
    # What is there stands for other settings no longer.
    (tmp_path / "small.yaml").write_text(content.replace("0.3", "0.4"), encoding="utf-8")
    run = snakemake(tmp_path, "-n", "apart")
    told = "prepared/quick: corpus was {'name': 'mboshi', 'valid_share': 0.3} when it was made"
    assert run.returncode != 0 and told in run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake needs Python 3.11")
def test_the_shortest_target_that_ships_killed_on_the_way(tmp_path):
    """tells_apart without the scores that are committed: six fine-tunings of a minute or two."""
    (tmp_path / "small.yaml").write_bytes((HERE / "small.yaml").read_bytes())
    program = Path(sys.executable).with_name("snakemake")
    command = [program, "-s", HERE / "Snakefile", "-c", "2", "tells_apart", "--config"]
    first = subprocess.Popen([*command, f"home={tmp_path}"], start_new_session=True, cwd=tmp_path)
    runs = tmp_path / "work/small/runs"
    while not (begun := list(runs.glob(f"*/checkpoints/{LAST}"))):
        assert first.poll() is None
        time.sleep(1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # As Snakemake asks for after a kill.
    assert snakemake(tmp_path, "--unlock").returncode == 0
    again = snakemake(tmp_path, "-c", "2", "tells_apart")
    assert again.returncode == 0, again.stderr[-3000:]
    name = begun[0].parents[1].name
    log = (tmp_path / f"work/small/logs/{name}.train.log").read_text(encoding="utf-8")
    assert log.count("$ ") >= 2 and "Loaded checkpoint" in log.split("$ ", 2)[2]
    assert len(list((tmp_path / "results/small").glob("*.json"))) == 6
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| dense makes fewer errors than RP at 90% | holds | *held* |" in text


def test_masks_move_between_worlds(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    quick = {**PLAN["worlds"]["quick"], "overrides": ["optimization.max_update=4"]}
    speech = {**quick["speech"], "utterances": {**quick["speech"]["utterances"], "1h/0/clean": 4}}
    cells = [{"method": method, "sparsity": [0.5], "from": "others"} for method in ("mask", "parp")]
    content = {
        "worlds": {
            "quick": quick,
            "other": {**quick, "speech": speech, "data": "data/other/10min"},
        },
        "results": {
            "moved": {
                "title": "Moved",
                "kind": "transfer",
                "worlds": ["quick", "other"],
                "cells": cells,
            }
        },
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    plan = read_plan("small", tmp_path)
    chosen = {"other_mask_0.5_from-quick_seed1": MASK_FILE}
    chosen["quick_parp_0.5_from-other_seed1"] = INITIAL_MASK_FILE
    for world in plan.worlds.values():
        make_data(world, plan.work)
    for name, file in chosen.items():
        ft = plan.scored[name]
        train(plan, ft.needs.name)
        train(plan, name)
        dense = load_checkpoint(plan.work / "runs" / ft.needs.name / "checkpoints" / LAST)["model"]
        found = load_mask(plan.work / "runs" / name / "checkpoints" / file)[0]
        ranked = {tensor: dense[f"w2v_encoder.w2v_model.{tensor}"] for tensor in found}
        assert iou(found, magnitude_mask(ranked, 0.5)) == 1


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
