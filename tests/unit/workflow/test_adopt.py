"""Runs of a demo taken over where they are this plan's own, and left where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from experiments.adopt import adopt
from experiments.reading import read_plan

from parp_fairseq._version import __version__
from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.config import shipped
from parp_fairseq.demo.plan import CONFIG, UTTERANCES, make_plan
from parp_fairseq.demo.sentences import WORDS_FILE
from parp_fairseq.errors import UserError
from parp_fairseq.files import sha256

PLANNED = make_plan(seeds=1)


def settings(name: str) -> dict[str, object]:
    """What a demo notes of a run."""
    run = next(one for one in PLANNED.runs if one.name == name)
    return {
        "arguments": PLANNED.training(run),
        "config": sha256(shipped.path_of(CONFIG)),
        "model": sha256(TINY_MODEL),
        "speech": {
            "seed": 1,
            "per_speaker": 4,
            "utterances": dict(UTTERANCES),
            "words": sha256(WORDS_FILE),
            "version": __version__,
        },
        "version": __version__,
        "mask_from": settings(run.mask_from) if run.mask_from else None,
    }


def write_run(demo: Path, name: str, trained: bool = True, **changes) -> None:
    checkpoints = demo / "runs" / name / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "checkpoint_last.pt").write_bytes(b"weights")
    stamp = {"settings": {**settings(name), **changes}, "trained": trained}
    (demo / "runs" / name / "demo.json").write_text(json.dumps(stamp), encoding="utf-8")


@pytest.fixture
def plan(tmp_path):
    return read_plan("small", work=tmp_path / "work")


def test_the_same_runs_are_taken_once(plan, tmp_path):
    demo = tmp_path / "demo"
    for name in ("dense_seed1", "omp_0.9_seed1", "parp_0.1_seed1"):
        write_run(demo, name)
    names = ["english_dense_seed1", "english_omp_0.9_seed1", "english_parp_0.1_seed1"]
    assert sorted(adopt(plan, demo)) == names
    for name in names:
        copied = plan.work / "runs" / name / "checkpoints" / "checkpoint_last.pt"
        assert copied.read_bytes() == b"weights"
    assert sorted(path.name for path in (plan.work / "runs").iterdir()) == names
    assert adopt(plan, demo) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": [*PLANNED.training(PLANNED.runs[0]), "optimization.max_update=250"]},
        {"version": "0.0.1"},
        {"model": "0" * 64},
        {"speech": {"seed": 2}},
        {"trained": False},
    ],
)
def test_others_are_left(plan, tmp_path, changes):
    write_run(tmp_path / "demo", "dense_seed1", **changes)
    assert adopt(plan, tmp_path / "demo") == []
    assert not plan.work.exists()


def test_a_folder_that_no_demo_made(plan, tmp_path):
    with pytest.raises(UserError, match="holds no runs/; give a folder that parp demo worked in"):
        adopt(plan, tmp_path)
