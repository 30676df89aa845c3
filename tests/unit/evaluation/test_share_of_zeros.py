"""The share of zeros among the prunable entries of a checkpoint."""

import pytest
import torch
from test_theta import NAMES, run, saved

from parp_fairseq.checkpoints.theta import dense_weights
from parp_fairseq.evaluation.decode import share_of_zeros


def test_zeros_of_a_run_between_two_prunings(tmp_path):
    pruner, model = run(torch.float32, 5)
    state = saved(pruner, model, tmp_path / "last.pt")
    kept = sum(int((state["model"][name] != 0).sum()) for name in NAMES)
    assert share_of_zeros(state) == 1 - kept / (2 * 63) == pytest.approx(0.8, abs=0.01)
    theta = {**state, "model": dense_weights(state, "last.pt")}
    assert share_of_zeros(theta) == 0.0


def test_zeros_without_a_pruning_state_are_the_presets():
    weight = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    names = [f"encoder.layers.0.{kind}.weight" for kind in ("fc1", "fc2")]
    names += [f"encoder.layers.0.self_attn.{kind}_proj.weight" for kind in ("k", "v", "q", "out")]
    model = {**dict.fromkeys(names, weight), "head.weight": torch.zeros(9)}
    assert share_of_zeros({"model": model}) == 0.5
    assert share_of_zeros({"model": {"head.weight": torch.zeros(9)}}) is None
