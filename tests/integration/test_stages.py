"""PARP-P in two runs, and in one with stages."""

from running import entries, zeros

from parp_fairseq.checkpoints.mask_files import load_mask

OPTIONS = (
    "task.prune.method=parp_p",
    "task.prune.interval=1",
    "task.prune.rise=0.5",
    "optimization.max_update=4",
    "optimization.lr=[0.01]",
)


def test_two_runs_and_one_ramp_alike(trainer_in, tmp_path):
    """60 → 80 → 90: the second run takes the first's mask, and its weights."""
    ramp = ("task.prune.initial_sparsity=0.6", "task.prune.sparsity=0.8")
    first = trained(trainer_in, tmp_path / "first", *ramp)
    checkpoints = first.folder / "checkpoints"
    second = trained(
        trainer_in,
        tmp_path / "second",
        "task.prune.initial_sparsity=0.8",
        "task.prune.sparsity=0.9",
        f"task.prune.initial={checkpoints / 'mask.safetensors'}",
        f"checkpoint.finetune_from_model={checkpoints / 'checkpoint_last.pt'}",
    )
    assert zeros(second.prunable()) == round(0.9 * entries(second.prunable()))
    begin, _ = load_mask(second.folder / "checkpoints" / "mask_first.safetensors")
    end, _ = load_mask(checkpoints / "mask.safetensors")
    assert begin.equal(end)
    one = trained(
        trainer_in,
        tmp_path / "one",
        "task.prune.initial_sparsity=0.6",
        "task.prune.stages=[0.8]",
        "task.prune.sparsity=0.9",
        "optimization.max_update=8",
    )
    assert zeros(one.prunable()) == round(0.9 * entries(one.prunable()))
    assert sparsities(first) + sparsities(second) == sparsities(one)
    assert sparsities(one) == [0.7, 0.8, 0.8, 0.8, 0.85, 0.9, 0.9, 0.9]


def trained(trainer_in, folder, *arguments):
    folder.mkdir()
    run = trainer_in(folder)(*OPTIONS, *arguments)
    assert run.code == 0, run.tail
    return run


def sparsities(run):
    return [float(row["sparsity"]) for row in run.meters("train_inner")]
