"""θ out of what a run saves, against the weights that it had."""

import pytest
import torch

from parp_fairseq.checkpoints.mask_files import dense_weights
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Pruner, SparsitySchedule, magnitude_mask

NAMES = ("w2v.layers.0.fc1.weight", "w2v.layers.1.fc1.weight")


def run(dtype, updates, **options):
    """A Pruner after some updates, the model's tensors, and the fp32 masters of a half model."""
    generator = torch.Generator().manual_seed(0)
    masters = {name: torch.randn(7, 9, generator=generator) for name in NAMES}
    model = {name: weight.to(dtype) for name, weight in masters.items()}
    half = dtype != torch.float32
    weights = masters if half else model
    options = {"interval": 3, "total_updates": 6, **options}
    pruner = Pruner(SparsitySchedule(0.8, 0.2, 4), **options)
    first = magnitude_mask(weights, 0.2)
    pruner.start(weights, first, copies=model if half else None)
    for update in range(updates):
        pruner.begin_update(0, update)
        for weight in weights.values():
            weight += 0.1 * torch.randn(7, 9, generator=generator)
        if half:
            for name, copy in model.items():
                copy.copy_(masters[name])
        pruner.end_update(update + 1)
    return pruner, model


def saved(pruner, model, path):
    """A checkpoint as fairseq writes it, and read again."""
    state = {
        "args": None,
        "cfg": {"model": {}},
        "model": {
            "head.weight": torch.ones(3),
            **{name: pruner.masked(name, tensor) for name, tensor in model.items()},
        },
        "optimizer_history": [{"num_updates": 1}],
        "last_optimizer_state": {"state": {}, "parp": pruner.state_dict()},
    }
    torch.save(state, path)
    return load_checkpoint(path)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("updates", [0, 1, 2, 3, 5, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_is_bit_by_bit_what_the_run_had(tmp_path, dtype, updates, static):
    pruner, model = run(dtype, updates, static=static)
    theta = {name: tensor.clone() for name, tensor in model.items()}
    state = saved(pruner, model, tmp_path / "last.pt")
    before = {name: tensor.clone() for name, tensor in state["model"].items()}
    found = dense_weights(state, "last.pt")
    assert list(found) == list(state["model"])
    assert all(found[name].dtype == dtype for name in NAMES)
    assert all(torch.equal(found[name], theta[name]) for name in NAMES)
    assert torch.equal(found["head.weight"], torch.ones(3))
    assert all(torch.equal(state["model"][name], before[name]) for name in before)
    hides = not static and updates % 3 != 0
    assert any(bool((found[name] != before[name]).any()) for name in NAMES) == hides


def test_saved_while_the_subnetwork_is_shown(tmp_path):
    pruner, model = run(torch.float32, 4)
    theta = {name: tensor.clone() for name, tensor in model.items()}
    with pruner.subnetwork():
        state = saved(pruner, model, tmp_path / "last.pt")
    found = dense_weights(state, "last.pt")
    assert all(torch.equal(found[name], theta[name]) for name in NAMES)


@pytest.mark.parametrize("optimizer", [None, {}, {"parp": {"version": 1}}, {"parp": 3}])
def test_checkpoints_without_a_pruning_state(optimizer):
    with pytest.raises(UserError, match=r"^x\.pt keeps no pruning state.*not an export"):
        dense_weights({"model": {}, "last_optimizer_state": optimizer}, "x.pt")


def damage_shadow(state):
    shadow = state["last_optimizer_state"]["parp"]["shadow"]
    shadow[NAMES[0]] = shadow[NAMES[0]][:-1]


def damage_shapes(state):
    state["model"][NAMES[0]] = torch.zeros(9, 8)


@pytest.mark.parametrize("damage", [damage_shadow, damage_shapes])
def test_a_state_of_another_model_ends_in_one_line(tmp_path, damage):
    pruner, model = run(torch.float32, 1)
    state = saved(pruner, model, tmp_path / "last.pt")
    damage(state)
    with pytest.raises(UserError, match=r"^x\.pt: its pruning state does not fit") as caught:
        dense_weights(state, "x.pt")
    assert "\n" not in str(caught.value)
