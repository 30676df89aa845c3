"""Half precision: zeros stay, in masters too, and regrow where PARP lets them."""

import pytest
from running import entries, zeros

from parp_fairseq.checkpoints.mask_files import load_mask

# Pruned after updates 4, 8 and 9; saved between two prunings too.
OPTIONS = (
    "task.prune.sparsity=0.6",
    "task.prune.interval=4",
    "optimization.max_update=9",
    "optimization.lr=[0.01]",
    "checkpoint.save_interval_updates=3",
    "checkpoint.keep_interval_updates=-1",
)
# Flat fp16 masters and loss scaling need a GPU; tests/unit/optim has the classes. The scale is 1
# because fairseq handles an overflow with a call that needs one.
HALF = ("common.fp16=true", "common.fp16_init_scale=1")
PRECISIONS = {
    "fp16": (*HALF, "common.fp16_no_flatten_grads=true"),
    "bf16": ("common.bf16=true",),
    "memory-efficient fp16": (*HALF, "common.memory_efficient_fp16=true"),
    "memory-efficient bf16": ("common.bf16=true", "common.memory_efficient_bf16=true"),
    "amp": ("common.amp=true",),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parp_prunes_and_regrows(train, precision):
    run = train(*OPTIONS, *PRECISIONS[precision])
    assert run.code == 0, run.tail
    names = ["checkpoint_last.pt", *sorted(p.name for p in run.folder.glob("checkpoints/*_?.pt"))]
    assert len(names) >= 3
    for name in names:
        found = run.prunable(name)
        assert zeros(found) == round(0.6 * entries(found))
    state = run.checkpoint()["last_optimizer_state"]["parp"]
    assert state["events"] == 3
    assert state["mask_iou"] < 1
    assert bool(state["masters"]) == (precision in ("fp16", "bf16"))
    assert any(row["train_revived"] > 0 for row in map(prefixed, run.meters("train_inner")))


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (("+optimizer.base.weight_decay=2.0",), True),
        (("task.prune.interval=1", "task.prune.interval_unit=epoch"), True),
        (PRECISIONS["fp16"], True),
        (PRECISIONS["bf16"], True),
        # Rounding moves these weights too.
        (PRECISIONS["memory-efficient bf16"], False),
    ],
)
def test_nothing_regrows_below_the_reach(train, options, known):
    run = train(*OPTIONS, "optimization.lr=[0.002]", "checkpoint.save_interval_updates=0", *options)
    assert run.code == 0, run.tail
    assert ("] - between two prunings" in run.output and "none can regrow" in run.output) is known
    rows = [prefixed(row) for row in run.meters("train_inner")]
    reaches = [row["train_reach"] for row in rows if "train_reach" in row]
    assert bool(reaches) is known
    if known:
        assert 0 < min(reaches) <= max(reaches) < 1
        assert {row["train_revived"] for row in rows} == {0.0}
        names = ("mask_first", "mask")
        first, last = (load_mask(run.folder / f"checkpoints/{n}.safetensors")[0] for n in names)
        assert first.equal(last)


def prefixed(row):
    """Meters with one name each, whatever fairseq calls them."""
    return {f"train_{key.removeprefix('train_')}": float(value) for key, value in row.items()}
