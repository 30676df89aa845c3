import torch

from parp_fairseq.evaluation.decode import share_of_zeros

WEIGHT = torch.tensor([[0.0, 1.0, 0.0, 2.0]])


def test_prunable_is_what_the_run_pruned_or_what_the_preset_finds():
    model = {"a": WEIGHT, "b": torch.zeros(4), "head.weight": torch.ones(8)}
    pruning = {"shapes": {"a": [1, 4], "b": [4], "gone": [3]}}
    assert share_of_zeros({"model": model, "last_optimizer_state": {"parp": pruning}}) == 6 / 8
    names = [f"encoder.layers.0.{kind}.weight" for kind in ("fc1", "fc2")]
    names += [f"encoder.layers.0.self_attn.{kind}_proj.weight" for kind in ("k", "v", "q", "out")]
    model = {**dict.fromkeys(names, WEIGHT), "head.weight": torch.zeros(9)}
    assert share_of_zeros({"model": model}) == 0.5
    assert share_of_zeros({"model": {"head.weight": torch.zeros(9)}}) is None
