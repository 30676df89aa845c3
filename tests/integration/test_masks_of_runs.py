"""A mask made ahead of a run is the one that the run begins with; checkpoints show the rest."""

import pytest

from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.checkpoints.initial_masks import make_mask
from parp_fairseq.checkpoints.mask_files import load_mask
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.pruning import PruningSpec
from parp_fairseq.report.inspection import inspect_checkpoint
from parp_fairseq.report.mask_overlap import compare, read_masks


@pytest.mark.legacy
def test_a_run_over_time_begins_with_the_mask_made_ahead(train):
    run = train(
        "task.prune.sparsity=0.6",
        "task.prune.interval=1",
        "task.prune.granularity=tensor",
        "task.prune.exclude=[encoder.layers.3.*]",
        "task.prune.biases=true",
        "optimization.lr=[0.05]",
        "optimization.max_update=4",
        "checkpoint.save_interval_updates=2",
        "checkpoint.keep_interval_updates=-1",
        "checkpoint.no_epoch_checkpoints=true",
    )
    assert run.code == 0, run.tail
    folder = run.folder / "checkpoints"
    options = {"granularity": "tensor", "exclude": ["encoder.layers.3.*"], "biases": True}
    made, _ = make_mask(TINY_MODEL, PruningSpec(sparsity=0.6, **options))
    first, _ = load_mask(folder / "mask_first.safetensors")
    assert made.equal(first)

    masks = read_masks([run.folder])
    assert [named.label for named in masks] == ["first", "update 2", "update 4"]
    last, _ = load_mask(folder / "mask.safetensors")
    assert masks[-1].mask.equal(last)
    logged = float(run.meters("train_inner")[-1]["mask_iou"])
    assert compare(masks).matrix[0][-1] == pytest.approx(logged, abs=1e-6)

    found = inspect_checkpoint(folder / "checkpoint_last.pt")
    assert set(found.tensors) == set(made)
    assert found.whole.zeros == last.numel - last.kept
    assert found.origin["updates"] == 4 and "sparsity 0.6" in found.origin["pruning"]


@pytest.mark.parametrize("method", ["random", "random_init"])
def test_random_masks_made_ahead(train, method, tmp_path):
    run = train(
        "task.prune.method=rp",
        f"task.prune.initial={method}",
        "task.prune.sparsity=0.5",
        "task.prune.seed=5",
        "optimization.max_update=2",
    )
    assert run.code == 0, run.tail
    first, _ = load_mask(run.folder / "checkpoints" / "mask_first.safetensors")
    spec = PruningSpec("rp", initial=method, seed=5)
    made, _ = make_mask(TINY_MODEL, spec)
    assert made.equal(first)
    # From the fine-tuned model too: its weights are others, but neither mask looks at them.
    tuned = run.folder / "checkpoints" / "checkpoint_last.pt"
    assert make_mask(tuned, spec)[0].equal(first)
    # What leaves as a sparse file looks the same from inside.
    export_sparse(tuned, tmp_path / "m.safetensors")
    sparse = inspect_checkpoint(tmp_path / "m.safetensors")
    assert sparse.tensors == inspect_checkpoint(tuned).tensors
