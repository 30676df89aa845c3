"""A fine-tuned model at a higher sparsity than its own, against torch's own pruning."""

import pytest
import torch
from small_model import random_state, save
from torch.nn.utils import prune

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation.decode import evaluate_all
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.inference.subnetwork import open_subnetwork
from parp_fairseq.pruning import Scope
from parp_fairseq.report.inspection import inspect_checkpoint


def test_a_level_is_pruned_by_magnitude(tmp_path):
    file = save(random_state(0.3), tmp_path / "c.pt")
    found = open_finetuned(file, sparsity=0.8).weights
    whole = torch.load(file, weights_only=True)["model"]
    names = Scope().select(whole)
    layers = {name: torch.nn.Linear(1, 1) for name in names}
    for name, layer in layers.items():
        layer.weight = torch.nn.Parameter(whole[name])
    parameters = [(layer, "weight") for layer in layers.values()]
    prune.global_unstructured(parameters, prune.L1Unstructured, amount=0.8)
    for name, tensor in whole.items():
        expected = layers[name].weight if name in layers else tensor
        assert torch.equal(found[name], expected), name

    export_fairseq(file, tmp_path / "cut.pt", sparsity=0.8)
    cut = torch.load(tmp_path / "cut.pt", weights_only=True)["model"]
    assert all(torch.equal(cut[name], tensor) for name, tensor in found.items())
    model = open_subnetwork(file, sparsity=0.8).model
    zeros = sum(int((parameter == 0).sum()) for parameter in model.parameters())
    assert zeros >= round(0.8 * sum(whole[name].numel() for name in names))
    assert inspect_checkpoint(file, sparsity=0.8).whole.sparsity == pytest.approx(0.8, abs=1e-4)


def test_theta_has_no_levels(tmp_path):
    file = save(random_state(0.3), tmp_path / "c.pt")
    with pytest.raises(UserError, match="leave it or --weights theta out"):
        list(evaluate_all([file], tmp_path, ["test"], weights="theta", sparsity=0.8))


@pytest.mark.parametrize(
    ("sparsity", "message"), [(0.2, "is below its own, 0.3"), (1.5, "is a fraction")]
)
def test_what_is_no_level(tmp_path, sparsity, message):
    file = save(random_state(0.3), tmp_path / "c.pt")
    with pytest.raises(UserError, match=rf"c\.pt: --sparsity .*{message}"):
        open_finetuned(file, sparsity=sparsity)


@pytest.mark.parametrize(
    "prune",
    ["x", *({key: value} for key in ("include", "sparsities") for value in ("x", 5, [{}])),
     {"granularity": "row"}, {"granularity": []}],
)  # fmt: skip
def test_damaged_settings_of_pruning(tmp_path, prune):
    state = random_state(0.3)
    state["cfg"]["task"]["prune"] = prune
    found = open_finetuned(save(state, tmp_path / "c.pt"))
    for look in (lambda: found.sparser, lambda: open_finetuned(found.path, sparsity=0.8)):
        with pytest.raises(UserError, match=r"c\.pt: its cfg\.task\.prune is damaged"):
            look()
