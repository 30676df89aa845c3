"""Data-parallel training: two processes on the CPU, as fairseq's own legacy_ddp has it."""

import socket

import pytest
from running import entries, zeros

from parp_fairseq.checkpoints.mask_files import load_mask


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def both(trainer_in, tmp_path, *arguments, of_each=lambda rank: ()):
    """Run two workers to their end."""
    port = free_port()
    processes, trainers = [], []
    for rank in (0, 1):
        trainer = trainer_in(tmp_path / str(rank))
        trainer.folder.mkdir()
        trainers.append(trainer)
        processes.append(
            trainer(
                *arguments,
                *of_each(rank),
                "task.prune.sparsity=0.6",
                "task.prune.interval=2",
                "optimization.max_update=5",
                "optimization.lr=[0.02]",
                "checkpoint.save_interval_updates=3",
                "dataset.validate_interval_updates=3",
                f"checkpoint.save_dir={tmp_path / 'checkpoints'}",
                "distributed_training.distributed_world_size=2",
                f"distributed_training.distributed_rank={rank}",
                "distributed_training.distributed_no_spawn=true",
                f"distributed_training.distributed_init_method=tcp://127.0.0.1:{port}",
                "distributed_training.distributed_backend=gloo",
                wait=False,
            )
        )
    return [trainer.ended(process) for trainer, process in zip(trainers, processes)]


def test_masks_that_differ_stop_both(trainer_in, tmp_path):
    seeds = {"of_each": lambda rank: (f"task.prune.seed={rank}",)}
    for run in both(trainer_in, tmp_path, "task.prune.method=rp", **seeds):
        assert run.code == 2
        assert "the workers' masks differ after pruning 0" in run.error


@pytest.mark.parametrize("method", ["parp", "rp"])
def test_two_processes_find_one_subnetwork(trainer_in, tmp_path, method):
    runs = both(trainer_in, tmp_path, f"task.prune.method={method}")
    for run in runs:
        assert run.code == 0, run.tail
    runs[0].folder = tmp_path
    weights = runs[0].prunable()
    assert zeros(weights) == round(0.6 * entries(weights))
    mask, _ = load_mask(tmp_path / "checkpoints" / "mask.safetensors")
    for name, tensor in weights.items():
        short = name.split("w2v_model.")[1]
        assert bool((tensor[~mask[short]] == 0).all())
