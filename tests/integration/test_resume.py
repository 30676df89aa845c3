"""A run that was killed resumes as if it had not been, and only as the same run."""

import os
import random
import shutil
import signal
import time

import pytest
import torch
from running import PRUNABLE, entries, zeros

from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.pruning import random_mask

# Between two prunings (every 4 updates) there is a checkpoint (after 6): m⊙θ hides what θ moved.
OPTIONS = (
    "task.prune.interval=4",
    "task.prune.sparsity=0.6",
    "optimization.max_update=9",
    "optimization.lr=[0.01]",
    "checkpoint.save_interval_updates=3",
    "checkpoint.keep_interval_updates=-1",
    # All that is drawn at random in training.
    "model.mask_prob=0.5",
    "model.layerdrop=0.3",
    "model.dropout=0.1",
    "optimization.update_freq=[2]",
)
RAMP = ("task.prune.initial_sparsity=0.2", "task.prune.rise=1")
RUNS = {
    "parp": (),
    "epochs": ("task.prune.interval=1", "task.prune.interval_unit=epoch"),
    "gmp": ("task.prune.method=gmp", *RAMP),
    "parp_p": ("task.prune.method=parp_p", *RAMP),
    "nested": (
        *("task.prune.method=nested", "task.prune.sparsities=[0.8]"),
        *("task.prune.initial_sparsity=0.2", "task.prune.rise=0.3"),
    ),
    "mask": ("task.prune.method=mask", "task.prune.mask={folder}/mask.st"),
    # fairseq rebuilds masters from rounded weights; ours come back as they were.
    "bf16": ("common.bf16=true",),
}


@pytest.fixture(scope="module")
def uninterrupted(trainer_in, tmp_path_factory):
    """A run that nothing stopped; several tests share one of a kind."""
    ended = {}

    def of_kind(kind):
        if kind not in ended:
            folder = tmp_path_factory.mktemp(kind)
            shapes = torch.load(TINY_MODEL, weights_only=True)["model"]
            names = [name for name in shapes if PRUNABLE.search(name) and name.endswith(".weight")]
            mask = random_mask({name: shapes[name] for name in names}, 0.6, seed=5)
            save_mask(mask, folder / "mask.st")
            options = [option.format(folder=folder) for option in RUNS[kind]]
            ended[kind] = (trainer_in(folder)(*OPTIONS, *options), options)
            assert ended[kind][0].code == 0, ended[kind][0].tail
        return ended[kind]

    return of_kind


@pytest.fixture
def copied(uninterrupted, trainer_in, tmp_path):
    """The trainer of a folder that holds a finished run."""
    shutil.copytree(uninterrupted("parp")[0].folder, tmp_path / "run")
    return trainer_in(tmp_path)


def kept(folder):
    """All files of a folder of checkpoints."""
    return {p: p.read_bytes() for p in (folder / "checkpoints").glob("*") if p.name != ".lock"}


def killed(trainer, options, moment):
    """Start a run and kill it when `moment` says so, given its folder of checkpoints."""
    process = trainer(*OPTIONS, *options, wait=False)
    folder = trainer.folder / "run" / "checkpoints"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive() and not moment(folder):
        time.sleep(0.001)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.legacy][: kind == "parp"]) for kind in RUNS]
)
def test_killed_and_started_again(uninterrupted, train, kind):
    whole, options = uninterrupted(kind)
    log = train.folder / "output.log"

    def between_two_prunings(folder):
        return log.exists() and "@ 6 updates, score" in log.read_text(errors="replace")

    def while_a_checkpoint_is_written(folder):
        return any(folder.glob(".checkpoint*.part.pt"))

    killed(train, options, between_two_prunings)
    killed(train, options, while_a_checkpoint_is_written)
    again = train(*OPTIONS, *options)
    assert again.code == 0, again.tail
    assert "Loaded checkpoint" in again.output
    for name, tensor in whole.weights().items():
        assert torch.equal(again.weights()[name], tensor), name
    one, two = (
        (run.folder / "checkpoints" / "mask.safetensors").read_bytes() for run in (whole, again)
    )
    assert one == two

    # What was saved on the way, between two prunings, is a subnetwork too.
    between = [path.name for path in whole.folder.glob("checkpoints/checkpoint_*_[36].pt")]
    assert between
    for name in between:
        found = whole.prunable(name)
        state = whole.checkpoint(name)["last_optimizer_state"]["parp"]
        assert zeros(found) == round(state["sparsity"] * entries(found))


@pytest.mark.parametrize("somewhere", range(2))
def test_killed_anywhere(uninterrupted, train, somewhere):
    whole, options = uninterrupted("parp_p")
    delay = random.uniform(0, 2)
    begun = []

    def some_time_into_training(folder):
        if (folder / "run.json").exists():
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() > begun[0] + delay

    killed(train, options, some_time_into_training)
    again = train(*OPTIONS, *options)
    assert again.code == 0, again.tail
    for name, tensor in whole.weights().items():
        assert torch.equal(again.weights()[name], tensor), f"{name}, killed after {delay} s"


def test_a_complete_run_stays_as_it_is(copied):
    before = kept(copied.folder / "run")
    again = copied(*OPTIONS)
    assert again.code == 0, again.tail
    assert "this run is complete: 9 of 9 updates" in again.output
    other = copied(*OPTIONS, "task.prune.sparsity=0.7")
    assert other.code == 2
    assert "holds a run with different settings: task.prune.sparsity was 0.6 and is now 0.7" in (
        other.error
    )
    assert kept(copied.folder / "run") == before


def test_a_ramp_resumes_only_towards_the_same_end(train):
    ramp = ("task.prune.method=parp_p", "task.prune.initial_sparsity=0.1")
    first = train(*OPTIONS, *ramp, "optimization.max_update=3")
    assert first.code == 0, first.tail
    longer = train(*OPTIONS, *ramp, "task.resume_with_changes=true")
    assert longer.code == 2
    assert "optimization.max_update was 3 and is now 9; no resumed run can change" in longer.error
    anew = train(*OPTIONS, *ramp, "checkpoint.reset_optimizer=true")
    assert anew.code == 0, anew.tail
    # From the weights of the first, which pruned 60% of them, and from the ramp's beginning.
    begun = [float(row["sparsity"]) for row in anew.meters("train_inner")]
    assert begun == pytest.approx([0.1 + 0.5 * u / 4 for u in range(1, 4)] + [0.6] * 6)
