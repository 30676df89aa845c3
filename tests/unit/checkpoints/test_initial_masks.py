"""The mask that a training begins with, from each kind of file that may hold one."""

import pytest
import torch
from small_model import random_state, save

from parp_fairseq.checkpoints.initial_masks import InitialMask
from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.hf import export_hf
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.pruning import Mask, Pruner, PruningSpec, Scope, SparsitySchedule, magnitude_mask


@pytest.fixture(scope="module")
def state():
    return random_state(0.75)


@pytest.fixture
def weights(state):
    """The prunable tensors of a new run of the same architecture, without zeros."""
    names = Scope().select(state["model"])
    return {name: torch.full_like(state["model"][name], 2.0) for name in names}


def initial_mask(path, weights, sparsity=0.75, **options):
    options = {"method": "mask", "mask": path, **options}
    initial = InitialMask(
        PruningSpec(sparsity=sparsity, **options),
        sparsity,
        weights,
        random_weights=dict,
        prefix="task.prune.",
    )
    return initial.make(weights)[0]


def export(export_to, name):
    def make(folder, state, weights):
        export_to(save(state, folder / "checkpoint_last.pt"), folder / name)
        return folder / name

    return make


def mask_file(folder, state, weights):
    save_mask(Mask({name: state["model"][name] != 0 for name in weights}), folder / "m")
    return folder / "m"


def checkpoint_of_a_run(folder, state, weights):
    """Its weights may have more zeros than its mask."""
    pruner = Pruner(SparsitySchedule(0.75))
    tensors = {name: state["model"][name].clone() for name in weights}
    pruner.start(tensors, magnitude_mask(tensors, 0.75))
    model = {**state["model"], **{name: tensor * 0 for name, tensor in tensors.items()}}
    whole = {**state, "model": model, "last_optimizer_state": {"parp": pruner.state_dict()}}
    return save(whole, folder / "checkpoint_last.pt")


@pytest.mark.parametrize(
    "make",
    [
        mask_file,
        checkpoint_of_a_run,
        export(export_fairseq, "m.pt"),
        export(export_sparse, "m.safetensors"),
        export(export_hf, "folder"),
    ],
)
def test_whatever_holds_a_mask_gives_it(tmp_path, state, weights, make):
    expected = Mask({name: state["model"][name] != 0 for name in weights})
    path = make(tmp_path, state, weights)
    assert initial_mask(path, weights).equal(expected)
    assert initial_mask(None, weights, method="parp", initial=path).equal(expected)


def test_a_finetuned_model_gives_the_mask_of_its_magnitudes(tmp_path, state, weights):
    path = save(state, tmp_path / "checkpoint_last.pt")
    tuned = {name: state["model"][name] for name in weights}
    found = initial_mask(path, weights, 0.9, method="omp")
    assert found.equal(magnitude_mask(tuned, 0.9))


def test_models_that_do_not_fit_are_named(tmp_path, state, weights):
    fewer = {name: t for name, t in state["model"].items() if name != next(iter(weights))}
    dense = {name: t + 1.0 for name, t in state["model"].items()}
    for model, options, message in (
        (dense, {}, r"last\.pt keeps no mask and has no zeros.*method=omp"),
        (state["model"], {"sparsity": 0.5}, r"sparsity 0\.7500 and the run begins at 0\.5000"),
        (fewer, {}, r"has no mask for .*encoder\.layers\.0"),
        (fewer, {"method": "omp"}, r"is missing there.*task\.prune\.mask"),
    ):
        path = save({**state, "model": model}, tmp_path / "checkpoint_last.pt")
        with pytest.raises(UserError, match=message):
            initial_mask(path, weights, **options)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"{}", b"RIFF, a sound"])
def test_other_files_are_refused_in_one_line(tmp_path, weights, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(UserError, match="other") as caught:
        initial_mask(path, weights)
    assert "\n" not in str(caught.value)
