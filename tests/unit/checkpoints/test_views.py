"""Views of a checkpoint, and their zeros."""

import pytest
import torch
from test_theta import NAMES, run, saved

from parp_fairseq.checkpoints.views import SUBNETWORK, THETA, check_view, share_of_zeros, viewed
from parp_fairseq.errors import UserError


def test_zeros_of_a_run_between_two_prunings(tmp_path):
    pruner, model = run(torch.float32, 5)
    state = saved(pruner, model, tmp_path / "last.pt")
    kept = sum(int((state["model"][name] != 0).sum()) for name in NAMES)
    assert share_of_zeros(viewed(state, "last.pt", SUBNETWORK)) == 1 - kept / (2 * 63)
    assert share_of_zeros(viewed(state, "last.pt", SUBNETWORK)) == pytest.approx(0.8, abs=0.01)
    theta = viewed(state, "last.pt", THETA)
    assert share_of_zeros(theta) == 0.0
    assert all(torch.equal(theta["model"][name], model[name]) for name in NAMES)
    assert share_of_zeros(state) > 0.7


def test_zeros_without_a_pruning_state_are_the_presets():
    weight = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    names = [f"encoder.layers.0.{kind}.weight" for kind in ("fc1", "fc2")]
    names += [f"encoder.layers.0.self_attn.{kind}_proj.weight" for kind in ("k", "v", "q", "out")]
    model = {**dict.fromkeys(names, weight), "head.weight": torch.zeros(9)}
    assert share_of_zeros({"model": model}) == 0.5
    assert share_of_zeros({"model": {"head.weight": torch.zeros(9)}}) is None


def test_refusals():
    with pytest.raises(UserError, match="weights dense: use one of subnetwork, theta"):
        check_view("dense")
    with pytest.raises(UserError, match=r"x\.pt keeps no pruning state"):
        viewed({"model": {}}, "x.pt", THETA)
    assert viewed({"model": {}}, "x.pt", SUBNETWORK) == {"model": {}}
