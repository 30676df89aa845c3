"""GPUs of a training: the batch stays, and no two have the same device."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from experiments import commands, gpus
from experiments.reading import read_plan
from experiments.work import machine

from parp_fairseq.errors import UserError

BATCH = {4: "optimization.update_freq=[2]", 1: "optimization.update_freq=[8]"}


@pytest.mark.parametrize("count", [4, 1])
def test_the_batch_stays_and_configs_for_a_cpu_have_none(tmp_path, count):
    ft = read_plan("paper", gpus=count).trained["base-10h_dense_seed2337"]
    told = commands.training(ft, tmp_path)
    assert f"distributed_training.distributed_world_size={count}" in told
    assert BATCH[count] in told
    small = read_plan("small", gpus=count)
    assert {world.gpus for world in small.worlds.values()} == {0}


def test_counts_that_cannot_be(monkeypatch):
    with pytest.raises(UserError, match="does not divide by 3"):
        read_plan("paper", gpus=3)
    with pytest.raises(UserError, match="takes 2 GPUs, and devices names 1"):
        read_plan("paper", gpus=2, devices=["0"])
    # Where nothing trains on a GPU there is nothing to share out.
    assert read_plan("small", devices=["0"]).devices == ("0",)
    plan = read_plan("paper", gpus=2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match="x trains on 2 GPUs, and 1 can be seen here"):
        gpus.check_count(plan, "x", 2)
    gpus.check_count(plan, "x", 1)
    gpus.check_count(replace(plan, devices=("4", "5")), "x", 2)


def test_a_score_names_its_gpus(monkeypatch):
    assert "GPU" not in machine()
    assert machine(2).startswith("2 GPUs (not seen when scored), ")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: "Kind X")
    assert machine(4).startswith("4 GPUs (Kind X), ")


def test_no_two_trainings_have_a_device(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "_PAUSE", 0.01)
    plan = replace(read_plan("paper"), work=tmp_path, devices=("0", "3", "5"))
    held, seen, failures = set(), [], []

    def train():
        with gpus.taken(plan, 2) as environment:
            mine = environment["CUDA_VISIBLE_DEVICES"].split(",")
            if len(mine) != 2 or held & set(mine):
                failures.append(mine)
            held.update(mine)
            seen.append(mine)
            threading.Event().wait(0.02)
            held.difference_update(mine)

    threads = [threading.Thread(target=train) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(seen), failures) == (6, [])
    with gpus.taken(plan, 0) as environment:
        assert environment == {}
    with gpus.taken(replace(plan, devices=()), 2) as environment:
        assert environment == {}
