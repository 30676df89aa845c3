"""Options under task.prune: what they make, and what of them a resumed run must share."""

from dataclasses import replace

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import SparsitySchedule, StagedSchedule
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.tasks import config
from parp_fairseq.tasks.config import PruneConfig


class Options(PruneConfig):
    """A PruneConfig that is read like a config node."""

    def __getitem__(self, key):
        return getattr(self, key)


def options(**given):
    return Options(**given)


CLIMB = {"sparsity": 0.8, "initial_sparsity": 0.2, "rise": 0.5}


@pytest.mark.parametrize("method", METHODS)
def test_a_pruner_for_every_method(method):
    needs = {"mask": "m"} if METHODS[method].mask_kind else {}
    cfg = options(method=method, **CLIMB, **needs, interval=3)
    config.check(cfg)
    pruner = config.make_pruner(cfg, 100)
    if method == "dense":
        assert pruner is None
        return
    climbs = method in ("parp_p", "gmp")
    shape = "cubic" if method == "gmp" else "linear"
    expected = SparsitySchedule(0.8, 0.2, 50, shape) if climbs else SparsitySchedule(0.8)
    assert pruner.schedule == expected
    assert pruner.static == (method in ("rp", "mpi", "omp", "mask", "gmp"))
    assert (pruner.interval, pruner.total_updates) == (3, 100)


def test_the_shape_of_a_climb_can_be_chosen():
    assert config.schedule(options(method="gmp", schedule="linear", **CLIMB), 10).shape == "linear"
    assert config.schedule(options(method="parp_p", schedule="cubic", **CLIMB), 10).shape == "cubic"


def test_stages_share_the_updates():
    chain = config.schedule(options(method="gmp", stages=[0.5], **CLIMB), 100)
    assert isinstance(chain, StagedSchedule)
    assert [chain.at(update) for update in (0, 25, 49, 50, 75, 99)] == [
        0.2,
        0.5,
        0.5,
        0.5,
        0.8,
        0.8,
    ]


@pytest.mark.parametrize("method", ["parp_p", "gmp"])
@pytest.mark.parametrize("total", [0, -1])
def test_a_climb_must_know_its_end(method, total):
    with pytest.raises(UserError, match=rf"max_update is {total}: .*method={method} climbs"):
        config.make_pruner(options(method=method, **CLIMB), total)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "prap"}, r"task\.prune\.method is 'prap'; did you mean parp\?"),
        ({"sparsity": 90}, r"task\.prune\.sparsity is 90; .*\(90% is 0\.9\)"),
        ({"seed": 2**64}, r"task\.prune\.seed is 18446744073709551616; give one from"),
        ({"initial_sparsity": -0.1}, r"task\.prune\.initial_sparsity is -0\.1"),
        ({"granularity": "layer"}, r"task\.prune\.granularity is 'layer'"),
        ({"schedule": "step"}, r"task\.prune\.schedule is 'step'; use linear or cubic"),
        ({"rise": 2.0}, r"task\.prune\.rise is 2\.0"),
        ({"stages": [0.5]}, r"task\.prune\.stages has no meaning for task\.prune\.method=parp"),
        ({"method": "gmp", "stages": [0.9]}, r"task\.prune\.stages is \[0\.9\]; it climbs"),
        ({"mask": "m"}, r"task\.prune\.mask goes with method omp or mask, not parp"),
    ],
)
def test_what_is_wrong_is_named(given, message):
    with pytest.raises(UserError, match=f"^{message}"):
        config.check(options(**given))


def test_a_climb_that_falls_is_refused():
    cfg = options(method="gmp", sparsity=0.2, initial_sparsity=0.5)
    with pytest.raises(UserError, match=r"^task\.prune\.initial_sparsity is 0\.5, above"):
        config.make_pruner(cfg, 10)


def test_a_resumed_run_shares_what_decides_how_it_goes_on():
    parp, gmp = options(method="parp"), options(method="gmp", **CLIMB)
    assert config.fingerprint(parp, 10) == config.fingerprint(parp, 20)
    assert config.fingerprint(gmp, 10) != config.fingerprint(gmp, 20)
    assert config.fingerprint(gmp, 10)["optimization.max_update"] == 10
    # The default, said or not.
    assert config.fingerprint(replace(gmp, schedule="cubic"), 10) == config.fingerprint(gmp, 10)
    assert config.fingerprint(replace(gmp, schedule="linear"), 10) != config.fingerprint(gmp, 10)
    for key in ("sparsity", "rise", "seed", "include"):
        other = replace(gmp, **{key: ["x"] if key == "include" else 0.25})
        assert config.fingerprint(other, 10) != config.fingerprint(gmp, 10), key
