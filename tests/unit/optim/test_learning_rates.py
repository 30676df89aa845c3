"""The learning rates of a run, told before it, are those that fairseq's Trainer uses."""

import pytest
from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY
from omegaconf import OmegaConf

from parp_fairseq.optim.parp import learning_rates

SCHEDULERS = {
    "tri_stage": {"phase_ratio": [0.1, 0.4, 0.5], "max_update": 20},
    "fixed": {"force_anneal": 2, "lr_shrink": 0.5},
    "cosine": {"warmup_updates": 4, "max_update": 20},
    "polynomial_decay": {"total_num_update": 20},
    "inverse_sqrt": {"warmup_updates": 4},
    "reduce_lr_on_plateau": {"warmup_updates": 4, "maximize_best_checkpoint_metric": False},
}


def run_of(scheduler, max_update=20, max_epoch=0, update_freq=(2,)):
    section = {**vars(LR_SCHEDULER_DATACLASS_REGISTRY[scheduler]()), "_name": scheduler}
    section.update(lr=[0.5], **SCHEDULERS[scheduler])
    optimization = {
        "max_update": max_update,
        "max_epoch": max_epoch,
        "update_freq": list(update_freq),
    }
    return OmegaConf.create({"lr_scheduler": section, "optimization": optimization})


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_goes_through_the_run(scheduler):
    rates, ends = learning_rates(run_of(scheduler), batches=7)
    assert len(rates) == 20
    assert ends == [4, 8, 12, 16, 20]
    assert max(rates) == pytest.approx(0.5)
    if scheduler == "fixed":
        assert rates == pytest.approx(
            [0.5] * 4 + [0.25] * 4 + [0.125] * 4 + [0.0625] * 4 + [1 / 32] * 4
        )
    elif scheduler == "tri_stage":
        assert rates[:2] == pytest.approx([0.005, 0.2525])
        assert rates[2:10] == [0.5] * 8


@pytest.mark.parametrize(
    ("options", "batches", "updates", "ends"),
    [
        ({}, 0, 20, []),
        ({"max_update": 0}, 7, 0, []),
        ({"max_update": 0, "max_epoch": 3}, 7, 12, [4, 8, 12]),
        ({"max_update": 0, "max_epoch": 3}, 0, 0, []),
        ({"max_epoch": 2}, 7, 8, [4, 8]),
        ({"update_freq": (7, 1)}, 7, 20, [1, 8, 15, 20]),
    ],
)
def test_where_a_run_and_its_epochs_end(options, batches, updates, ends):
    rates, found = learning_rates(run_of("inverse_sqrt", **options), batches)
    assert (len(rates), found) == (updates, ends)
