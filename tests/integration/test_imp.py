import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from running import entries, zeros

from parp_fairseq.checkpoints.mask_files import load_mask

PARP = str(Path(sys.executable).with_name("parp"))
OPTIONS = ("--config-name", "parp_demo", "--sparsity", "0.5", "--step", "0.3", "--keep-checkpoints")


def command(data, out, *more):
    return [PARP, "imp", *OPTIONS, "--out", str(out), *more, *settings(data)]


def settings(data):
    return [
        *(f"task.data={data}", "dataset.valid_subset=dev-other", "dataset.max_tokens=160000"),
        *("optimization.max_update=4", "dataset.validate_interval_updates=0"),
        *("checkpoint.save_interval_updates=0", "optimization.lr=[0.01]"),
        *("common.tensorboard_logdir=null",),
    ]


def run(arguments):
    return subprocess.run(arguments, capture_output=True, text=True)


def tensors(file):
    return torch.load(file, weights_only=True)["model"]


@pytest.fixture(scope="module")
def series(data, tmp_path_factory):
    """Two rounds and the last fine-tuning, stopped once on the way."""
    out = tmp_path_factory.mktemp("imp") / "series"
    arguments = command(data, out, "--rewind-update", "2", "--round-updates", "3")
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    first = out / "masks" / "01_0.3.safetensors"
    deadline = time.monotonic() + 240
    while not first.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first.exists()
    before = first.stat().st_mtime_ns
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    done = run(arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert first.stat().st_mtime_ns == before
    return out, done, arguments


def test_each_round_prunes_the_trained_weights_further(series):
    out, done, _ = series
    first, _ = load_mask(out / "masks" / "01_0.3.safetensors")
    second, info = load_mask(out / "masks" / "02_0.5.safetensors")
    assert abs(first.sparsity - 0.3) < 1e-5 and abs(second.sparsity - 0.5) < 1e-5
    assert (info["method"], info["round"]) == ("imp", 2)
    # Nested, and by magnitude: an independent sort of the second round's weights.
    trained = tensors(out / "round_02" / "checkpoints" / "checkpoint_last.pt")
    flat, keep = [], []
    for name in second:
        weight = trained[f"w2v_encoder.w2v_model.{name}"]
        assert bool((weight[~first[name]] == 0).all())
        assert not bool((second[name] & ~first[name]).any())
        flat.append(weight.abs().flatten())
        keep.append(second[name].flatten())
    flat, keep = torch.cat(flat), torch.cat(keep)
    assert float(flat[~keep].max()) <= float(flat[keep].min())
    assert "the subnetwork, fine-tuned" in done.stdout


def test_the_last_fine_tuning_has_the_subnetwork_and_rewound_weights(series):
    out, _, _ = series
    second, _ = load_mask(out / "masks" / "02_0.5.safetensors")
    final = tensors(out / "final" / "checkpoints" / "checkpoint_last.pt")
    found = {name: final[f"w2v_encoder.w2v_model.{name}"] for name in second}
    assert zeros(found) == round(0.5 * entries(found))
    assert all(bool((found[name][~second[name]] == 0).all()) for name in second)
    # Rounds after the first began with what the dense one had after two updates.
    kept = out / "round_01" / "checkpoints" / "checkpoint_update_2.pt"
    rewound, there = tensors(out / "rewind.pt"), tensors(kept)
    assert all(torch.equal(rewound[name], tensor) for name, tensor in there.items())
    # Three updates a round, four at the end.
    for folder, updates in (("round_01", 3), ("round_02", 3), ("final", 4)):
        checkpoint = torch.load(
            out / folder / "checkpoints" / "checkpoint_last.pt", weights_only=True
        )
        assert checkpoint["optimizer_history"][-1]["num_updates"] == updates


def test_the_same_command_again_trains_nothing(series):
    out, _, arguments = series
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    again = run(arguments)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")} == before


@pytest.mark.parametrize("of_one", [False, True], ids=["epochs of several", "of one update"])
def test_the_weights_kept_are_those_of_the_dense_run_at_that_update(train, of_one):
    """fairseq's own checkpoint of that update is the oracle: by update, or by epoch."""
    kept_by_fairseq = (
        ("checkpoint.no_epoch_checkpoints=false", "checkpoint.save_interval=1")
        if of_one
        else ("checkpoint.save_interval_updates=1", "checkpoint.keep_interval_updates=-1")
    )
    run = train(
        *("task.prune.method=dense", "task.keep_update=2", "optimization.max_update=4"),
        *("optimization.lr=[0.01]", f"dataset.max_tokens={99999999 if of_one else 160000}"),
        *kept_by_fairseq,
    )
    assert run.code == 0, run.tail
    kept = run.weights("checkpoint_update_2.pt")
    if of_one:
        oracle = "checkpoint2.pt"
    else:
        (file,) = (run.folder / "checkpoints").glob("checkpoint_?_2.pt")
        oracle = file.name
    expected = run.weights(oracle)
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())
    assert any(not torch.equal(kept[name], tensor) for name, tensor in run.weights().items())
