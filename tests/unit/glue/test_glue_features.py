"""Batches on GLUE, and what is refused before any of them is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_glue import bert_folder, glue_folder

from parp_fairseq.errors import UserError
from parp_fairseq.glue.data import Example
from parp_fairseq.glue.features import ByLength, chosen
from parp_fairseq.glue.runs import GlueRuns
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.specs import spec_of
from parp_fairseq.glue.tasks import TASKS


def batches(order, size):
    order = list(order)
    return [order[start : start + size] for start in range(0, len(order), size)]


@given(st.lists(st.integers(1, 128), min_size=1, max_size=60), st.integers(1, 9))
def test_lengths_decide_nothing_but_the_order_inside_a_batch(lengths, size):
    ours = batches(ByLength(lengths, size, seed=3), size)
    alike = batches(ByLength([1] * len(lengths), size, seed=3), size)
    assert sorted(row for batch in ours for row in batch) == list(range(len(lengths)))
    assert [sorted(batch) for batch in ours] == [sorted(batch) for batch in alike]
    for batch in ours:
        assert [lengths[row] for row in batch] == sorted(lengths[row] for row in batch)


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = set()
    for seed in (1, 2):
        sampler = ByLength([1] * 50, 8, seed)
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            assert list(sampler) == list(sampler)
            orders.add(tuple(sampler))
    assert len(orders) == 4


def test_a_trainer_asks_for_each_epoch(tmp_path, monkeypatch):
    asked = []
    real = ByLength.set_epoch
    monkeypatch.setattr(
        ByLength, "set_epoch", lambda self, epoch: (asked.append(epoch), real(self, epoch))
    )
    settings = Settings(limit_train=8, batch=4, micro_batch=4, epochs=2)
    model, data = bert_folder(tmp_path / "bert"), glue_folder(tmp_path / "data")
    runs = GlueRuns(tmp_path / "out", model, data, settings)
    runs.run(spec_of(TASKS["cola"], "dense", 0.0, 1), keep_model=False)
    assert sorted(set(asked)) == [0, 1]


def test_the_same_examples_are_chosen_every_time():
    examples = [Example(str(n), None, n % 2) for n in range(100)]
    few = chosen(examples, 10)
    assert few == chosen(examples, 10) and len({e.first for e in few}) == 10
    assert few != examples[:10]
    assert chosen(examples, None) is chosen(examples, 100) is examples


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "--batch is 0"),
        ({"batch": 12}, "--micro-batch 4"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"weight_decay": -1.0}, "--weight-decay is -1"),
        ({"warmup": 1.0}, "--warmup is 1"),
        ({"max_length": 4}, "--max-length is 4; give 8 or more"),
        ({"precision": "fp16"}, "--precision is 'fp16'; use fp32 or bf16"),
    ],
)
def test_settings_out_of_range(options, message):
    Settings().check()
    Settings(batch=4).check()
    with pytest.raises(UserError, match=message):
        Settings(**options).check()
