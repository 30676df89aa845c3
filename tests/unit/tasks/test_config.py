"""`task.prune`: fairseq's face of PruningSpec."""

from dataclasses import asdict, fields

import pytest
from omegaconf import OmegaConf

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import PruningSpec
from parp_fairseq.runs.settings import differences
from parp_fairseq.tasks import config
from parp_fairseq.tasks.config import PruneConfig


def options(**given):
    """As fairseq hands them on."""
    return OmegaConf.merge(OmegaConf.structured(PruneConfig), given)


@pytest.mark.legacy
def test_options_defaults_and_help_are_the_specs():
    assert config.spec_of(options()) == PruningSpec()
    help_texts = {option.name: option.metadata["help"] for option in fields(PruningSpec)}
    own = {o.name: o.metadata["help"] for o in fields(PruneConfig) if o.name != "_name"}
    assert own == help_texts and all(help_texts.values())


@pytest.mark.legacy
def test_options_reach_the_pruner_and_its_settings():
    given = {"method": "gmp", "sparsity": 0.8, "stages": [0.5], "include": ["a", "b"], "biases": 1}
    cfg = options(**given)
    pruner = config.make_pruner(cfg, 100)
    spec = PruningSpec("gmp", 0.8, stages=[0.5], include=["a", "b"], biases=True)
    assert config.spec_of(cfg) == spec
    assert pruner.schedule == spec.build(100).schedule
    options_given = {key: value for key, value in asdict(spec).items() if key != "sparsities"}
    assert pruner.settings == {
        **{f"task.prune.{key}": value for key, value in options_given.items()},
        "task.prune.initial_sparsity": 0.0,
        "task.prune.schedule": "cubic",
        "optimization.max_update": 100,
    }
    assert config.make_pruner(options(method="dense"), 0) is None


def test_a_check_writes_down_where_a_ramp_begins():
    cfg, parp = options(method="parp_p", sparsity=0.9), options(sparsity=0.9)
    config.check(cfg)
    config.check(parp)
    assert (cfg.initial_sparsity, parp.initial_sparsity) == (0.5, None)


@pytest.mark.parametrize(
    ("method", "began_at", "differing"),
    [("parp", 0.0, []), ("gmp", 0.0, []), ("parp_p", 0.1, []), ("parp_p", 0.0, [0.0])],
)
def test_a_run_of_old_explicit_defaults_resumes(method, began_at, differing):
    old, new = options(method=method, initial_sparsity=began_at), options(method=method)
    config.check(new)
    old, new = ({"task": {"prune": OmegaConf.to_container(cfg)}} for cfg in (old, new))
    assert [one.old for one in differences(old, new)] == differing


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparsity": 90}, r"task\.prune\.sparsity is 90"),
        ({"mask": "m"}, r"task\.prune\.mask is for method omp or mask"),
        ({"method": "gmp"}, r"optimization\.max_update must be at least 1 \(got 0\)"),
    ],
)
def test_errors_name_the_users_options(given, message):
    with pytest.raises(UserError, match=f"^{message}"):
        config.make_pruner(options(**given), 0)
