"""A run that was stopped goes on as if it had not been."""

import os
import random
import signal
import time

import pytest
import torch
from running import PRUNABLE, entries, zeros

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.checkpoints.shipped import TINY_MODEL
from parp_fairseq.pruning import random_mask

# Between two prunings (every 4 updates) stands a checkpoint (after 6): m⊙θ hides what θ moved.
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


def stopped_at(trainer, updates, *overrides):
    """Start the same command and kill it as soon as its checkpoint after `updates` is there."""
    process = trainer(*OPTIONS, *overrides, wait=False)
    last = trainer.folder / "run" / "checkpoints" / "checkpoint_last.pt"
    wanted = f"@ {updates} updates, score"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        log = trainer.folder / "output.log"
        if log.exists() and wanted in log.read_text(errors="replace"):
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert last.exists()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("task.prune.method=parp",), marks=pytest.mark.legacy),
        ("task.prune.interval=1", "task.prune.interval_unit=epoch"),
        ("task.prune.method=gmp", "task.prune.initial_sparsity=0.2"),
        ("task.prune.method=parp_p", "task.prune.initial_sparsity=0.2", "task.prune.rise=1"),
        # fairseq rebuilds masters from rounded weights; ours come back as they were.
        ("common.bf16=true",),
    ],
    ids=["parp", "epochs", "gmp", "parp_p", "bf16"],
)
def test_killed_and_started_again(train, trainer_in, tmp_path, options):
    whole = train(*OPTIONS, *options)
    assert whole.code == 0, whole.tail
    other = trainer_in(tmp_path / "other")
    other.folder.mkdir()
    stopped_at(other, 6, *options)
    again = other(*OPTIONS, *options)
    assert again.code == 0, again.tail
    assert "Loaded checkpoint" in again.output
    for name, tensor in whole.weights().items():
        assert torch.equal(again.weights()[name], tensor), name
    one, two = (
        (run.folder / "checkpoints" / "mask.safetensors").read_bytes() for run in (whole, again)
    )
    assert one == two

    # What was saved on the way, between two prunings, is a subnetwork too.
    between = [
        path.name
        for path in (whole.folder / "checkpoints").glob("checkpoint_*_*.pt")
        if path.stem.endswith(("_3", "_6"))
    ]
    assert between
    for name in between:
        found = whole.prunable(name)
        state = whole.checkpoint(name)["last_optimizer_state"]["parp"]
        assert zeros(found) == round(state["sparsity"] * entries(found))


def killed(trainer, arguments, moment):
    """Start a run and kill it when `moment` says so, given its folder of checkpoints."""
    process = trainer(*OPTIONS, *arguments, wait=False)
    folder = trainer.folder / "run" / "checkpoints"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive() and not moment(folder):
        time.sleep(0.001)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize("method", ["parp", "parp_p", "gmp", "mask"])
def test_killed_anywhere(train, trainer_in, tmp_path, method):
    arguments = [f"task.prune.method={method}"]
    if method in ("parp_p", "gmp"):
        arguments += ["task.prune.initial_sparsity=0.1", "task.prune.rise=0.8"]
    if method == "mask":
        shapes = torch.load(TINY_MODEL, weights_only=True)["model"]
        names = [name for name in shapes if PRUNABLE.search(name) and name.endswith(".weight")]
        save_mask(
            random_mask({name: shapes[name] for name in names}, 0.6, seed=5), tmp_path / "mask.st"
        )
        arguments += [f"task.prune.mask={tmp_path / 'mask.st'}"]
    whole = train(*OPTIONS, *arguments)
    assert whole.code == 0, whole.tail

    other = trainer_in(tmp_path / "other")
    other.folder.mkdir()
    chance = random.Random()
    delay = chance.uniform(0, 2)
    begun = []

    def some_time_into_training(folder):
        if (folder / "run.json").exists():
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() > begun[0] + delay

    def while_a_checkpoint_is_written(folder):
        return any(folder.glob(".checkpoint*.part.pt"))

    killed(other, arguments, some_time_into_training)
    killed(other, arguments, while_a_checkpoint_is_written)
    # Killed while the file written first was copied to the others.
    last = other.folder / "run" / "checkpoints" / "checkpoint_last.pt"
    cut = last.exists()
    if cut:
        os.truncate(last, chance.randrange(last.stat().st_size))
    again = other(*OPTIONS, *arguments)
    assert again.code == 0, again.tail
    assert ("is damaged" in again.output) == cut
    for name, tensor in whole.weights().items():
        assert torch.equal(again.weights()[name], tensor), f"{name}, killed after {delay} s"
    one, two = (
        (run.folder / "checkpoints" / "mask.safetensors").read_bytes() for run in (whole, again)
    )
    assert one == two


def test_the_same_command_after_the_end_changes_nothing(train):
    first = train(*OPTIONS)
    assert first.code == 0, first.tail
    before = {p: p.read_bytes() for p in (first.folder / "checkpoints").glob("*.pt")}
    second = train(*OPTIONS)
    assert second.code == 0, second.tail
    assert "this run is complete: 9 of 9 updates" in second.output
    assert {p: p.read_bytes() for p in (first.folder / "checkpoints").glob("*.pt")} == before


@pytest.mark.parametrize("updates", [3, 9], ids=["to go on", "complete"])
def test_another_experiment_in_the_same_folder_is_refused(train, updates):
    first = train(*OPTIONS, f"optimization.max_update={updates}")
    assert first.code == 0, first.tail
    before = {p: p.read_bytes() for p in (first.folder / "checkpoints").glob("*")}
    second = train(*OPTIONS, "task.prune.sparsity=0.7")
    assert second.code == 2
    assert "task.prune.sparsity was 0.6" in second.error
    assert "now 0.7" in second.error
    after = {p: p.read_bytes() for p in (first.folder / "checkpoints").glob("*")}
    assert after == before


def test_a_climb_goes_on_only_towards_the_same_end(train):
    climb = ("task.prune.method=parp_p", "task.prune.initial_sparsity=0.1")
    first = train(*OPTIONS, *climb, "optimization.max_update=3")
    assert first.code == 0, first.tail
    longer = train(*OPTIONS, *climb, "optimization.max_update=9")
    assert longer.code == 2
    assert "optimization.max_update was 3" in longer.error
    assert "Traceback" not in longer.output
    anew = train(*OPTIONS, *climb, "optimization.max_update=9", "checkpoint.reset_optimizer=true")
    assert anew.code == 0, anew.tail
    assert "optimization.max_update was" not in anew.output
    # From the weights of the first, which pruned 60% of them, and from the climb's beginning.
    begun = [float(row["sparsity"]) for row in anew.meters("train_inner")]
    assert begun == pytest.approx([0.1 + 0.5 * u / 4 for u in range(1, 4)] + [0.6] * 6)
