"""The options of pruning: defaults, what they build, what is refused, what a resumed run shares."""

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from parp_fairseq.pruning import Pruner, PruningError, PruningSpec, SparsitySchedule, StagedSchedule
from parp_fairseq.pruning.methods import METHODS
from parp_fairseq.runs.settings import RAMPED

RAMP = {"sparsity": 0.8, "initial_sparsity": 0.2}


def of_method(name, **options):
    method = METHODS[name]
    needed = {"mask": "m"} if method.mask_kind else {"sparsities": [0.9]} if method.levels else {}
    return PruningSpec(name, **{**needed, **options})


@pytest.mark.parametrize("name", METHODS)
def test_a_pruner_for_every_method(name):
    pruner = of_method(name, **RAMP, interval=3).build(100)
    if name == "dense":
        assert pruner is None
        return
    shape = {"gmp": "cubic", "parp_p": "linear", "nested": "linear"}.get(name)
    expected = SparsitySchedule(0.8, 0.2, 50, shape) if shape else SparsitySchedule(0.8)
    assert pruner.schedule == expected
    assert pruner.static == (name in ("rp", "mpi", "omp", "mask", "gmp", "nested"))
    assert (pruner.interval, pruner.unit, pruner.total_updates) == (3, "update", 100)


def test_what_is_left_out_is_what_the_docs_recommend():
    pruner = PruningSpec().build(0)
    assert (pruner.interval, pruner.unit, pruner.granularity) == (25, "update", "global")
    assert inspect.signature(Pruner).parameters["interval"].default == 25
    for sparsity, begin in ((0.9, 0.5), (0.5, 0.1), (0.3, 0.0)):
        assert PruningSpec("parp_p", sparsity).build(100).schedule.initial == begin
        assert PruningSpec("gmp", sparsity).build(100).schedule.at(0) == 0.0


def test_shape_rise_and_stages_of_a_ramp():
    assert of_method("gmp", schedule="linear").build(10).schedule.shape == "linear"
    assert of_method("parp_p", rise=0.2).build(10).schedule.rise == 2
    chain = of_method("gmp", stages=(0.5,), **RAMP).build(100).schedule
    assert isinstance(chain, StagedSchedule)
    assert [chain.at(u) for u in (0, 25, 49, 50, 75, 99)] == [0.2, 0.5, 0.5, 0.5, 0.8, 0.8]


@pytest.mark.parametrize("total", [0, -1])
def test_a_ramp_must_know_its_end(total):
    with pytest.raises(
        PruningError, match=rf"^max_steps must be at least 1 \(got {total}\): .*gmp"
    ):
        PruningSpec("gmp").build(total, length="max_steps")


@pytest.mark.parametrize(
    ("method", "initial", "mask", "kind"),
    [
        ("rp", None, None, "random"),
        ("rp", "random_init", None, "random_init"),
        ("mpi", "magnitude", None, "magnitude"),
        ("omp", None, "m.pt", "finetuned"),
        ("mask", None, Path("m"), "m"),
        ("parp", Path("m"), None, "m"),
        ("parp_p", "random", None, "random"),
        ("gmp", "random_init", None, "random_init"),
    ],
)
def test_initial_masks(method, initial, mask, kind):
    spec = PruningSpec(method, initial=initial, mask=mask)
    spec.check()
    assert spec.initial_mask_kind == kind


WRONG = {
    "method is 'prap'; did you mean parp? use one of dense, rp": {"method": "prap"},
    "sparsity is 90; it is a fraction between 0 and 1 (90% is 0.9)": {"sparsity": 90},
    "sparsity is 'half'; give a fraction": {"sparsity": "half"},
    "initial_sparsity is 0.9: the sparsity must rise, from initial_sparsity (0.9) over": {
        "method": "gmp",
        "initial_sparsity": 0.9,
    },
    "rise is 2.0; it is a fraction": {"rise": 2.0},
    "stages is not supported by method parp": {"stages": [0.5]},
    "stages is [0.9]: the sparsity must rise": {"method": "gmp", "stages": [0.9]},
    "interval must be at least 1 (got 0)": {"interval": 0},
    "interval is 1.5; give a whole number": {"interval": 1.5},
    "interval is True": {"interval": True},
    "interval_unit is 'step'; use update or epoch": {"interval_unit": "step"},
    "schedule is 'step'; use linear or cubic": {"schedule": "step"},
    "granularity is 'layer'; use global or tensor": {"granularity": "layer"},
    "include is 1": {"include": [1]},
    "seed is 18446744073709551616; give one from": {"seed": 2**64},
    "mask is missing: method omp needs a fine-tuned checkpoint": {"method": "omp"},
    "mask is for method omp or mask, not parp": {"mask": "m"},
    "initial is not supported by method dense": {"method": "dense", "initial": "magnitude"},
    "initial is 'm'; method mpi takes magnitude": {"method": "mpi", "initial": "m"},
    "initial is 'magnitude'; method rp takes random": {"method": "rp", "initial": "magnitude"},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(message):
    with pytest.raises(PruningError) as caught:
        PruningSpec(**WRONG[message]).check()
    assert str(caught.value).startswith(message)
    assert caught.value.argument == message.split()[0]


def test_a_resumed_run_shares_what_decides_how_it_continues():
    parp, gmp = PruningSpec(), of_method("gmp", **RAMP)
    assert parp.settings(10) == parp.settings(20) == replace(parp, rise=0.1).settings(10)
    named = gmp.settings(10, prefix="task.prune.", length="optimization.max_update")
    assert named["optimization.max_update"] == 10 and named["task.prune.sparsity"] == 0.8
    # The default, given or not.
    for same in ({"schedule": "cubic"}, {"initial_sparsity": 0.2}):
        assert replace(gmp, **same).settings(10) == gmp.settings(10)
    assert PruningSpec("parp_p", 0.9).settings(9) == of_method(
        "parp_p", sparsity=0.9, initial_sparsity=0.5
    ).settings(9)
    for key in ("sparsity", "initial_sparsity", "rise", "seed", "include"):
        other = replace(gmp, **{key: ["x"] if key == "include" else 0.25})
        assert other.settings(10) != gmp.settings(10), key
    assert gmp.settings(10) != gmp.settings(20)


def test_options_are_checked_without_torch():
    code = (
        "import sys; from parp_fairseq.pruning.spec import PruningSpec; PruningSpec().check();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_reads_no_table_agrees_with_it():
    """The Hydra plugin reads these settings only, before this package may be imported."""
    assert set(RAMPED) == {name for name, method in METHODS.items() if method.ramps}
