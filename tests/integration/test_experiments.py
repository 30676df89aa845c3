"""A run folder resumes the experiment that began it, and nothing else."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig
from running import Trainer

from parp_fairseq.checkpoints.formats import TINY_MODEL

pytestmark = pytest.mark.legacy

THREE = "optimization.max_update=3"


def copied(data, to, change=lambda folder: None):
    shutil.copytree(data, to)
    change(to)
    return to


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("checkpoints/*") if path.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory, data):
    """A complete run, and the trainer that made it."""
    folder = tmp_path_factory.mktemp("done")
    trainer = Trainer(folder, copied(data, folder / "data"))
    run = trainer(THREE)
    assert run.code == 0, run.tail
    return trainer


def edited(name, change):
    def edit(folder):
        path = folder / name
        path.write_text(change(path.read_text()))

    return edit


def swapped(text):
    lines = text.splitlines(keepends=True)
    return "".join([lines[1], lines[0], *lines[2:]])


OPTIONS = {
    "optimization.lr=[0.5]": "optimization.lr was [0.001] and is now [0.5]",
    "optimization.update_freq=[3]": "optimization.update_freq x distributed_world_size was [1]",
    "+optimizer.base.weight_decay=0.1": "optimizer.base.weight_decay was None and is now 0.1",
    "task.prune.method=dense": "task.prune.method was parp and is now dense",
    "checkpoint.restore_file=no/where.pt": "no/where.pt: no such checkpoint",
}
DATA = {
    "train.ltr": (
        lambda text: text.replace(" E ", " A ", 1),
        "content of the training set's labels",
    ),
    "dev-other.ltr": (
        lambda text: text.replace(" E ", " A ", 1),
        "the content of the validation set's labels",
    ),
    "dict.ltr.txt": (swapped, "symbol 1 is 'E' and was '|' when this run began"),
    "./dict.ltr.txt": (
        lambda text: text + "Ä 1\n",
        "has 29 symbols and had 28 when this run began",
    ),
}


def refused(trainer, expected, *overrides):
    before = files(trainer.folder)
    assert expected in trainer.refusal(THREE, *overrides)
    assert files(trainer.folder) == before


@pytest.mark.parametrize("option", OPTIONS)
def test_another_setting(done, option):
    refused(done, OPTIONS[option], option)


@pytest.mark.parametrize("name", DATA)
def test_other_data(done, data, tmp_path, name):
    change, expected = DATA[name]
    folder = copied(data, tmp_path / "data", edited(name, change))
    refused(done, expected, f"task.data={folder}")


def test_another_pretrained_model(done, tmp_path):
    state = torch.load(TINY_MODEL, weights_only=True)
    state["model"]["mask_emb"] = state["model"]["mask_emb"] + 1
    torch.save(state, tmp_path / "other.pt")
    expected = "the content of model.w2v_path was sha256"
    refused(done, expected, f"model.w2v_path={tmp_path / 'other.pt'}")


def test_what_is_moved_or_changes_nothing_is_the_same_experiment(done, data, tmp_path):
    shutil.copy(TINY_MODEL, tmp_path / "moved.pt")
    run = done(
        THREE,
        f"task.data={copied(data, tmp_path / 'moved')}",
        f"model.w2v_path={tmp_path / 'moved.pt'}",
        "common.log_interval=7",
        "dataset.num_workers=1",
        "checkpoint.save_interval_updates=2",
        # Found in the run's own folder.
        "checkpoint.restore_file=checkpoint_best.pt",
    )
    assert run.code == 0, run.tail
    assert "this run is complete: 3 of 3 updates" in run.output


@pytest.fixture
def train_on(done, tmp_path):
    """The trainer of a copy of the complete run."""
    shutil.copytree(done.folder / "run", tmp_path / "run")
    return Trainer(tmp_path, done.data)


def test_one_option_resumes_all_the_same_and_the_record_says_so(train_on):
    train = train_on
    run = train(
        "optimization.max_update=5", "task.prune.sparsity=0.5", "task.resume_with_changes=true"
    )
    assert run.code == 0, run.tail
    assert "WARNING] - task.resume_with_changes: task.prune.sparsity was 0.9" in run.output
    record = json.loads((run.folder / "checkpoints" / "run.json").read_text())
    assert [start["updates"] for start in record["starts"]] == [0, 3]
    assert "changed" not in record["starts"][0]
    assert "task.prune.sparsity was 0.9 and is now 0.5" in record["starts"][1]["changed"]
    assert record["config"]["optimization"]["max_update"] == 5
    same = ("optimization.max_update=5", "task.prune.sparsity=0.5")
    assert "this run is complete: 5 of 5" in train(*same).output
    told = train.refusal(*same, "task.prune.method=mpi", "task.resume_with_changes=true")
    assert told.startswith("task.prune.method was parp and is now mpi; no resumed run can change")


def test_a_fresh_optimizer_begins_anew_with_the_weights_but_not_with_other_letters(
    train_on, data, tmp_path
):
    train = train_on
    letters = copied(data, tmp_path / "letters", edited("dict.ltr.txt", swapped))
    other = train.refusal(THREE, f"task.data={letters}", "checkpoint.reset_optimizer=true")
    assert "dict.ltr.txt: symbol 1 is 'E'" in other
    anew = train("optimization.max_update=4", "checkpoint.reset_optimizer=true")
    assert anew.code == 0, anew.tail
    record = json.loads((anew.folder / "checkpoints" / "run.json").read_text())
    assert [start["updates"] for start in record["starts"]] == [0]
    after = train("optimization.max_update=4")
    assert "this run is complete: 4 of 4 updates" in after.output


@pytest.mark.skipif(
    "target_dictionary" not in AudioFinetuningConfig.__dataclass_fields__,
    reason="this fairseq has no task.target_dictionary",
)
def test_the_dictionary_that_is_checked_is_the_one_that_is_used(train, data, tmp_path):
    (tmp_path / "dictionary").mkdir()
    (tmp_path / "dictionary" / "dict.ltr.txt").write_text("| 1\nE 1\n")
    told = train.refusal(f"+task.target_dictionary={tmp_path / 'dictionary'}")
    assert f"is not in {tmp_path / 'dictionary' / 'dict.ltr.txt'}" in told
    without = copied(data, tmp_path / "without")
    (without / "dict.ltr.txt").rename(tmp_path / "dictionary" / "dict.ltr.txt")
    run = train(THREE, f"task.data={without}", f"+task.target_dictionary={tmp_path / 'dictionary'}")
    assert run.code == 0, run.tail


def test_two_trainings_in_one_folder(train, data, tmp_path):
    options = (
        "dataset.valid_subset=dev-other",
        "dataset.max_tokens=160000",
        "optimization.max_update=2000",
        # Workers are forked, and must not keep the lock.
        "dataset.num_workers=2",
    )
    command = [
        str(Path(sys.executable).with_name("fairseq-hydra-train")),
        *("--config-name", "parp_demo", "common.user_dir=parp_fairseq", f"task.data={data}"),
        f"hydra.run.dir={tmp_path / 'run'}",
        *options,
    ]
    checkpoints = tmp_path / "run" / "checkpoints"
    # A process of its own: workers of one that the tests' server forked would outlive it.
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (checkpoints / "run.json").exists():
            assert first.poll() is None
            time.sleep(0.05)
        record = (checkpoints / "run.json").read_bytes()
        run = train(*options)
        assert run.code == 2, run.tail
        assert f"{checkpoints}: another training is using this folder" in run.error
        assert run.output.splitlines() == [run.error]
        assert (checkpoints / "run.json").read_bytes() == record
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    # It wrote no checkpoint: its folder is free, and so is the experiment.
    run = train("optimization.max_update=2")
    assert run.code == 0, run.tail
