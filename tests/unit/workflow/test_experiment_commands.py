"""Commands as Hydra reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiments import commands
from experiments.plan import FineTuning, World

WORLD = World("w", "", "parp_demo", "my data/a,b='c'", "it's {x}.pt", "dev", ("test",))


def parsed(ft: FineTuning, work: str = "/w") -> dict[str, object]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    arguments = [one for one in commands.training(ft, Path(work)) if "=" in one]
    overrides = OverridesParser.create().parse_overrides(arguments)
    return {override.key_or_group: override.value() for override in overrides}


def text(value: object) -> str:
    return getattr(value, "text", value)


def test_odd_paths_and_options_reach_hydra_whole():
    options = (("interval", 400), ("stages", [0.8]), ("schedule", "linear"), ("biases", True))
    found = parsed(FineTuning(WORLD, "parp_p", 0.9, 3, options, (400, 20)))
    assert text(found["task.data"]) == WORLD.data
    assert text(found["model.w2v_path"]) == WORLD.model
    assert (found["task.prune.method"], found["task.prune.sparsity"]) == ("parp_p", 0.9)
    assert (found["common.seed"], found["task.prune.interval"]) == (3, 400)
    assert (found["task.prune.stages"], found["task.prune.biases"]) == ([0.8], True)
    assert found["checkpoint.keep_interval_updates"] == -1
    assert found["dataset.validate_after_updates"] == 400


def test_omp_takes_its_mask_from_the_dense_run_of_its_seed():
    found = parsed(FineTuning(WORLD, "omp", 0.5, 2))
    assert found["task.prune.mask"] == "runs/w_dense_seed2/checkpoints/checkpoint_last.pt"
    assert found["hydra.run.dir"] == "runs/w_omp_0.5_seed2"


def test_imp_is_its_own_command():
    ft = FineTuning(WORLD, "imp", 0.9, 1)
    arguments = commands.training(ft, Path("/w"))
    assert arguments[:4] == ["parp", "imp", "--config-name", "parp_demo"]
    assert arguments[4:8] == ["--out", "runs/w_imp_0.9_seed1", "--sparsity", "0.9"]
    assert not any(one.startswith(("task.prune.method", "hydra.run.dir")) for one in arguments)
    assert commands.checkpoints(ft) == "runs/w_imp_0.9_seed1/final/checkpoints"


@pytest.mark.parametrize(("speech", "data"), [(None, "d"), ({}, "/w/d")])
def test_synthetic_data_lies_in_the_work_folder(speech, data):
    world = World("w", "", "parp_demo", "d", "tiny", "dev", ("test",), speech)
    assert parsed(FineTuning(world, "dense", 0.0, 1))["task.data"] == data
