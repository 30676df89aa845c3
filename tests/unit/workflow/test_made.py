"""What lies in the work folder is what the yaml says, or is told of."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from experiments import commands, made
from experiments.cost import cost_table
from experiments.overlaps import comparisons
from made_scores import CONTENT, made_plan, write_score

from parp_fairseq.errors import UserError
from parp_fairseq.runs.names import LAST

OMP = [{"method": "omp", "sparsity": [0.5]}]
PLAN = {
    **CONTENT,
    "results": {
        "curve": {"title": "C", "kind": "rates", "world": "w", "cells": OMP},
        "alike": {"title": "A", "kind": "overlap", "world": "w", "cells": OMP, "seeds": [2]},
    },
}


@pytest.fixture
def plan(tmp_path):
    return made_plan(tmp_path, PLAN)


def train(plan, name, checkpoint=True):
    """Leave what a training leaves."""
    ft = plan.trained[name]
    made.note(made.trained(plan, ft), made.training_settings(ft))
    if checkpoint:
        folder = plan.work / commands.checkpoints(ft)
        folder.mkdir(parents=True)
        (folder / LAST).touch()
    return ft


def with_world(plan, ft, **changes):
    return replace(ft, world=replace(ft.world, **changes))


def test_a_training_under_other_settings_is_told_of(plan):
    ft = train(plan, "w_omp_0.5_seed1")
    made.check_trained(plan, ft)
    # Sets that are decoded do not change the weights.
    made.check_trained(plan, with_world(plan, ft, test=("test", "other")))
    longer = with_world(plan, ft, overrides=("optimization.max_update=400",))
    told = r"trained/w_omp_0.5_seed1: overrides was \[\] when it was made and is \['optimization.*"
    with pytest.raises(UserError, match=told + r"remove it and .*runs/w_omp_0.5_seed1 to make"):
        made.check_trained(plan, longer)
    made.trained(plan, ft).write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="does not say under which settings it was made; remove"):
        made.check_trained(plan, ft)


def test_settings_of_data_languages_and_models(plan):
    world = plan.worlds["w"]
    file = plan.work / made.PREPARED / "w"
    made.check(plan, file, made.data_settings(world), "its folder")
    made.note(file, made.data_settings(world))
    made.check(plan, file, made.data_settings(world), "its folder")
    other = replace(world, speech={"seed": 2})
    with pytest.raises(UserError, match=r"prepared/w: speech was {} when .* remove it and its fo"):
        made.check(plan, file, made.data_settings(other), "its folder")
    # One key more, or less.
    made.note(file, {"width": 192})
    with pytest.raises(UserError, match=r"width was 192 when it was made and is None in small"):
        made.check(plan, file, {}, "its folder")
    made.note(file, made.data_settings(world))
    # Which language it is says the file's name.
    dutch = replace(world, speech={"seed": 2, "language": "nl"})
    assert made.language_settings(dutch) == {"speech": {"seed": 2}}
    assert json.loads(file.read_text(encoding="utf-8")) == {"speech": {}, "corpus": None}


def test_a_checkpoint_that_is_gone_is_missed_where_something_needs_it(plan):
    dense = train(plan, "w_dense_seed1", checkpoint=False)
    with pytest.raises(UserError, match=r"checkpoint_last.pt is gone; remove .*/w_dense_seed1 to"):
        made.check_trained(plan, dense)
    # Not once OMP is trained; but then its own is needed to be scored.
    omp = train(plan, "w_omp_0.5_seed1", checkpoint=False)
    made.check_trained(plan, dense)
    with pytest.raises(UserError, match="gone"):
        made.check_trained(plan, omp)
    write_score(plan, omp.name, 40.0)
    made.check_trained(plan, omp)
    # A comparison of masks needs the dense one.
    other = train(plan, "w_dense_seed2", checkpoint=False)
    with pytest.raises(UserError, match="gone"):
        made.check_trained(plan, other)
    (comparison,) = comparisons(plan.results["alike"])
    mask = plan.work / commands.mask_file(comparison.masks[0])
    mask.parent.mkdir(parents=True)
    mask.touch()
    made.check_trained(plan, other)


def test_what_is_left_is_what_would_be_trained(plan):
    def left():
        lines = cost_table(plan).splitlines()
        return {line.split()[0]: line.split()[2] for line in lines if line[0] in "ac"}

    assert left() == {"curve": "2", "alike": "1", "all": "3"}
    train(plan, "w_dense_seed1")
    assert left() == {"curve": "1", "alike": "1", "all": "2"}
    train(plan, "w_omp_0.5_seed1")
    train(plan, "w_dense_seed2")
    assert left() == {"curve": "0", "alike": "0", "all": "0"}


def test_a_mask_that_is_kept_takes_no_training(tmp_path):
    cells = [{"method": "mask", "sparsity": [0.5], "from": "another_seed"}]
    moved = {"title": "M", "kind": "rates", "world": "w", "cells": cells}
    plan = made_plan(tmp_path, {**PLAN, "results": {"moved": moved}})
    (ft,) = plan.scored.values()
    assert made.mask_source(plan, ft).name == "w_dense_seed2"
    mask = plan.work / commands.mask_file(ft.given_mask)
    mask.parent.mkdir(parents=True)
    mask.touch()
    assert made.mask_source(plan, ft) is None
