"""One wav2vec 2.0, pruned and updated by fairseq's path and by the Trainer's."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from small_model import SYMBOLS, random_state, save  # noqa: E402
from trainings import trainer  # noqa: E402

from parp_fairseq.checkpoints.finetuned import open_finetuned  # noqa: E402
from parp_fairseq.checkpoints.mask_files import load_mask, save_mask  # noqa: E402
from parp_fairseq.checkpoints.vocabulary import to_transformers  # noqa: E402
from parp_fairseq.evaluation.fairseq_model import build_model  # noqa: E402
from parp_fairseq.export.hf import export_hf  # noqa: E402
from parp_fairseq.export.sparse_export import export_sparse  # noqa: E402
from parp_fairseq.hf import PruningCallback, prunable_parameters  # noqa: E402
from parp_fairseq.pruning import Pruner, Scope, SparsitySchedule, magnitude_mask  # noqa: E402

SPARSITY = 0.7


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    checkpoint = save(random_state(0.0), folder / "dense.pt")
    export_hf(checkpoint, folder / "hf")
    export_sparse(checkpoint, folder / "dense.safetensors")
    return folder / "dense.safetensors", folder / "hf"


def test_same_mask_bit_by_bit_and_same_update(dense, tmp_path):
    exported, folder = dense
    sound = torch.randn(4, 4_000, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(4, 4 + len(SYMBOLS), (4, 3), generator=torch.Generator().manual_seed(2))

    # fairseq's network, by hand: its Pruner, its scope, one step on the summed CTC loss.
    network = build_model(open_finetuned(exported))
    named = dict(network.named_parameters())
    weights = {name: named[name].detach() for name in Scope().select(named)}
    pruner = Pruner(SparsitySchedule(SPARSITY), interval=1)
    first = magnitude_mask(weights, SPARSITY)
    pruner.start(weights, first)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    out = network(source=sound, padding_mask=None)
    log_probs = network.get_normalized_probs(out, log_probs=True)
    lengths = torch.full((4,), log_probs.shape[0]), torch.full((4,), 3)
    loss = torch.nn.functional.ctc_loss(log_probs, labels, *lengths, reduction="sum")
    loss.backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    pruner.end_update(1)

    rates = ("attention", "hidden", "activation", "feat_proj", "final")
    model = transformers.Wav2Vec2ForCTC.from_pretrained(
        folder,
        ctc_loss_reduction="sum",
        ctc_zero_infinity=True,
        layerdrop=0.0,
        mask_time_prob=0.0,
        **{f"{rate}_dropout": 0.0 for rate in rates},
    )
    callback = PruningCallback("parp", SPARSITY, interval=1)
    seen = {}

    class Look(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            seen["first"] = callback.pruner.mask

    run = trainer(
        tmp_path,
        model,
        callback,
        Look(),
        data=[{"input_values": s, "labels": row} for s, row in zip(sound, labels)],
        max_steps=1,
        max_grad_norm=0.0,
    )
    run.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    run.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(run.optimizer, factor=1.0)
    run.train()

    theirs = prunable_parameters(model)
    assert sorted(theirs) == sorted(to_transformers(name) for name in weights)
    trained = dict(model.named_parameters())
    for name in weights:
        assert torch.equal(first[name], seen["first"][to_transformers(name)]), name
        moved = trained[to_transformers(name)].detach()
        torch.testing.assert_close(moved, weights[name], rtol=1e-5, atol=1e-6)
    # An update moves weights across the threshold only by rounding.
    differ = sum(
        int((pruner.mask[name] != callback.mask[to_transformers(name)]).sum()) for name in weights
    )
    assert differ <= 2
    assert any(not torch.equal(first[name], pruner.mask[name]) for name in weights)
    assert run.state.log_history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_a_mask_of_fairseqs_network_fits_the_same_network_here(dense, tmp_path):
    exported, folder = dense
    network = build_model(open_finetuned(exported))
    named = dict(network.named_parameters())
    mask = magnitude_mask({name: named[name] for name in Scope().select(named)}, SPARSITY)
    save_mask(mask, tmp_path / "mask.safetensors")
    assert all(name.startswith("encoder.") for name in load_mask(tmp_path / "mask.safetensors")[0])
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder)
    callback = PruningCallback("mask", SPARSITY, mask=tmp_path / "mask.safetensors")
    data = [{"input_values": torch.randn(4_000), "labels": torch.tensor([4, 5])}] * 2
    trainer(tmp_path / "run", model, callback, data=data, max_steps=1).train()
    for name, kept in mask.items():
        assert torch.equal(callback.mask[to_transformers(name)], kept), name
