"""Several runs with one command (Hydra's -m): named folders, which the same command resumes."""

import pytest
import torch

pytestmark = pytest.mark.legacy

ONE = ("optimization.max_update=3", "optimization.lr=[0.01]")


def outcome(folder):
    return torch.load(folder / "checkpoints" / "checkpoint_best.pt", weights_only=True)


def test_multirun(train, tmp_path):
    many = train("task.prune.sparsity=0.3,0.6", *ONE, flags=["-m"])
    assert many.code == 0, many.tail
    runs = tmp_path / "runs" / "parp_demo"
    ending = "seed2337_max_tokens160000_lr0.01_max_update3"
    assert sorted(path.name for path in runs.iterdir() if path.is_dir()) == [
        f"parp_0.3_{ending}",
        f"parp_0.6_{ending}",
    ]
    for folder in runs.glob("parp*"):
        assert (folder / "hydra_train.log").stat().st_size
        assert any((folder / "tensorboard" / "train_inner").iterdir())
        # The best of a run is its own, not that of the run before it.
        extra = outcome(folder)["extra_state"]
        assert extra["best"] == extra["val_loss"]

    again = train("task.prune.sparsity=0.3,0.6", *ONE, flags=["-m"])
    assert again.code == 0, again.tail
    assert again.output.count("this run is complete: 3 of 3 updates") == 2

    # One of them alone: the same folder, the same weights as in a process of its own.
    single = train("task.prune.sparsity=0.6", *ONE, "hydra.run.dir=${hydra.sweep.dir}/single")
    assert single.code == 0, single.tail
    alone = outcome(runs / "single")["model"]
    for name, tensor in outcome(runs / f"parp_0.6_{ending}")["model"].items():
        assert torch.equal(tensor, alone[name]), name
