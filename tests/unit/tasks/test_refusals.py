"""What a pruning run cannot do right is refused by name."""

import pytest
from omegaconf import OmegaConf

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.refusals import refuse_unsupported


def run_with(**changes):
    plain = {
        "optimizer": {"_name": "parp", "base": {"_name": "adam"}},
        "criterion": {"_name": "parp_ctc"},
        "common": {"fp16": False, "cpu": True},
        "ema": {},
        "optimization": {},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "checkpoint": {"patience": -1},
    }
    return OmegaConf.merge(OmegaConf.create(plain), OmegaConf.create(changes))


@pytest.mark.parametrize("method", ["parp_p", "gmp"])
def test_a_climb_is_not_stopped_early(method):
    with pytest.raises(UserError, match=rf"checkpoint\.patience.*method={method} climbs"):
        refuse_unsupported(run_with(checkpoint={"patience": 3}), method)
    refuse_unsupported(run_with(), method)


@pytest.mark.parametrize("method", ["parp", "mpi", "dense"])
def test_others_may_be(method):
    refuse_unsupported(run_with(checkpoint={"patience": 3}), method)


def test_a_dense_run_is_fairseqs_own():
    other = run_with(criterion={"_name": "ctc"}, ema={"store_ema": True})
    refuse_unsupported(other, "dense")
    with pytest.raises(UserError, match="parp_ctc"):
        refuse_unsupported(other, "parp")


@pytest.mark.parametrize("method", ["parp", "dense"])
@pytest.mark.parametrize(
    ("epochs", "updates", "interval", "refused"),
    [(2, 0, 1000, True), (3, 0, 2, True), (4, 0, 2, False), (2, 9, 1000, False), (0, 9, 5, False)],
)
def test_an_end_that_fairseq_would_not_save(method, epochs, updates, interval, refused):
    run = run_with(
        optimization={"max_epoch": epochs, "max_update": updates},
        checkpoint={"save_interval": interval},
    )
    if refused:
        with pytest.raises(UserError, match=f"save_interval={interval}: the run ends with epoch"):
            refuse_unsupported(run, method)
    else:
        refuse_unsupported(run, method)
    refuse_unsupported(OmegaConf.merge(run, {"checkpoint": {"no_save": True}}), method)
