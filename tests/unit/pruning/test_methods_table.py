"""The table of methods: whole, and what its entries take."""

import subprocess
import sys

import pytest

from parp_fairseq.pruning.arguments import PruningError
from parp_fairseq.pruning.methods import METHODS, method_named
from parp_fairseq.runs.settings import CLIMBING


def test_methods_are_told_apart_in_tables_and_figures():
    for what in ("title", "colour", "marker", "about"):
        values = [getattr(method, what) for method in METHODS.values()]
        assert len(set(values)) == len(values), what
    assert "nothing pruned" in METHODS["dense"].about
    assert "given" in METHODS["mask"].about


@pytest.mark.parametrize(
    ("method", "initial", "mask", "message"),
    [
        ("omp", None, None, "mask is missing: method omp needs a fine-tuned checkpoint"),
        ("mask", None, "", "mask is missing: method mask needs a mask file"),
        ("parp", None, "m.safetensors", "mask goes with method omp or mask, not parp"),
        ("dense", "magnitude", None, "initial has no meaning for method dense"),
        ("omp", "magnitude", "m.pt", "initial has no meaning for method omp"),
        ("mpi", "random", None, "initial is random; method mpi takes magnitude"),
        ("mpi", "m.safetensors", None, "initial is 'm.safetensors'; method mpi takes magnitude"),
        ("rp", "magnitude", None, "initial is magnitude; method rp takes random or random_init"),
    ],
)
def test_options_that_do_not_go_with_a_method(method, initial, mask, message):
    with pytest.raises(PruningError) as caught:
        METHODS[method].check(initial, mask)
    assert str(caught.value).startswith(message)
    assert caught.value.argument == message.split()[0]


@pytest.mark.parametrize(
    ("method", "initial", "mask"),
    [
        ("dense", None, None),
        ("rp", "random_init", None),
        ("mpi", "magnitude", None),
        ("omp", None, "m.pt"),
        ("mask", None, "m.safetensors"),
        ("parp", "m.safetensors", None),
        ("parp_p", "random", None),
        ("gmp", "random_init", None),
    ],
)
def test_options_that_do(method, initial, mask):
    METHODS[method].check(initial, mask)


def test_an_unknown_method_gets_the_nearest_one():
    with pytest.raises(PruningError, match=r"^method is 'prap'; did you mean parp\?"):
        method_named("prap")
    with pytest.raises(PruningError, match=r"use one of dense, .*, parp, parp_p, imp$"):
        method_named("foo", ["imp"])


def test_the_table_is_read_without_torch():
    code = "import sys, parp_fairseq.pruning.methods; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_reads_no_table_agrees_with_it():
    """The Hydra plugin reads these settings alone, before this package may be imported."""
    assert set(CLIMBING) == {name for name, method in METHODS.items() if method.ramps}
