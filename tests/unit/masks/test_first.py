"""The mask that a run begins with, from each kind of file that may hold one."""

import pytest
import torch
from small_model import random_state, save

from parp_fairseq.errors import UserError
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.masks.files import save_mask
from parp_fairseq.masks.first import InitialMask
from parp_fairseq.pruning import Mask, Pruner, Scope, SparsitySchedule, magnitude_mask


@pytest.fixture(scope="module")
def state():
    return random_state(0.75)


@pytest.fixture
def weights(state):
    """The prunable tensors of a new run of the same architecture, without zeros."""
    names = Scope().select(state["model"])
    return {name: torch.full_like(state["model"][name], 2.0) for name in names}


@pytest.fixture
def expected(state, weights):
    return Mask({name: state["model"][name] != 0 for name in weights})


def initial_mask(path, weights, sparsity=0.75, option="task.prune.mask"):
    return InitialMask(str(path), sparsity, weights, option=option).make(weights)[0]


def test_a_mask_file(tmp_path, weights, expected):
    save_mask(expected, tmp_path / "m.safetensors")
    assert initial_mask(tmp_path / "m.safetensors", weights).equal(expected)


def test_a_checkpoint_of_a_pruning_run_gives_the_mask_that_it_keeps(tmp_path, state, weights):
    pruner = Pruner(SparsitySchedule(0.75))
    theta = {name: torch.randn(w.shape) for name, w in weights.items()}
    stored = magnitude_mask(theta, 0.75)
    pruner.start(theta, stored)
    whole = {**state, "last_optimizer_state": {"parp": pruner.state_dict()}}
    path = save(whole, tmp_path / "checkpoint_last.pt")
    assert initial_mask(path, weights).equal(stored)


@pytest.mark.parametrize("form", ["fairseq", "sparse"])
def test_an_export_gives_the_mask_of_its_zeros(tmp_path, state, weights, expected, form):
    path = save(state, tmp_path / "checkpoint_last.pt")
    out = tmp_path / ("m.pt" if form == "fairseq" else "m.safetensors")
    (export_fairseq if form == "fairseq" else export_sparse)(path, out)
    assert initial_mask(out, weights).equal(expected)


def test_a_dense_checkpoint_is_told_to_be_one(tmp_path, state, weights):
    dense = {**state, "model": {name: t + 1.0 for name, t in state["model"].items()}}
    path = save(dense, tmp_path / "dense.pt")
    with pytest.raises(UserError, match=r"dense\.pt .* no mask and has no zeros.*method=omp"):
        initial_mask(path, weights)


def test_another_sparsity_and_another_model_are_named(tmp_path, state, weights, expected):
    path = save(state, tmp_path / "checkpoint_last.pt")
    with pytest.raises(UserError, match=r"sparsity 0\.7500 and the run begins at 0\.5000"):
        initial_mask(path, weights, 0.5)
    fewer = {name: t for name, t in state["model"].items() if name != next(iter(weights))}
    path = save({**state, "model": fewer}, tmp_path / "checkpoint_last.pt")
    with pytest.raises(UserError, match=r"has no mask for .*encoder\.layers\.0"):
        initial_mask(path, weights)


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("task.prune.initial", r"initial is .*give magnitude, random, random_init or a mask file"),
        ("task.prune.mask", r"mask is .*give a mask file"),
    ],
)
def test_a_missing_file_names_its_option(tmp_path, weights, option, advice):
    with pytest.raises(UserError, match=advice):
        initial_mask(tmp_path / "none", weights, option=option)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"{}", b"RIFF, a sound"])
def test_other_files_are_refused_in_one_line(tmp_path, weights, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(UserError, match="other") as caught:
        initial_mask(path, weights)
    assert "\n" not in str(caught.value)
