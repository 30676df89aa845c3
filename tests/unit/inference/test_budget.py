"""`--budget`: the densest level that takes no more."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from small_model import random_state, save

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.errors import UserError
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference import budget as budgets
from parp_fairseq.inference.budget import Budget, within
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.subnetwork import open_subnetwork
from parp_fairseq.manifests.audio.headers import opened

LEVELS = (0.5, 0.7, 0.9)


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """A checkpoint of method nested, and its sparse file."""
    folder = tmp_path_factory.mktemp("nested")
    state = random_state(0.5)
    prune = {"method": "nested", "sparsity": 0.5, "sparsities": [0.7, 0.9]}
    state["cfg"]["task"]["prune"] = prune
    export_sparse(save(state, folder / "c.pt"), folder / "file.safetensors")
    return folder / "c.pt", folder / "file.safetensors"


@pytest.mark.parametrize("place", range(4))
def test_a_size_is_met_by_the_densest_level_that_fits(nested, place):
    _, file = nested
    alone = []
    for level in LEVELS:
        export_sparse(file, file.with_name("one"), sparsity=level, force=True)
        alone.append(file.with_name("one").stat().st_size)
    assert alone == sorted(alone, reverse=True)
    sizes = budgets.level_bytes(file)
    assert sizes[0] == file.stat().st_size and sizes == sorted(sizes, reverse=True)
    # A prefix of the file takes what a file of that level alone does, but for headers and codes.
    assert all(0.9 < size / one < 1.3 for size, one in zip(sizes, alone))
    if place == 3:
        with pytest.raises(UserError, match=r"its sparsest level, 0\.9, takes .* MB; give at"):
            within(file, Budget("x", sizes[-1] - 1, False))
        return
    subnetwork, _, level, taken = within(file, Budget("x", sizes[place] + 0.5, False))
    assert (round(level, 3), taken) == (LEVELS[place], sizes[place])
    weights = dict(subnetwork.model.named_parameters())
    for name, tensor in open_finetuned(nested[0], sparsity=LEVELS[place]).weights.items():
        assert name not in weights or torch.equal(weights[name], tensor)


@pytest.mark.parametrize(("most", "level"), [(60, 0.5), (45, 0.7), (30.0, 0.9)])
def test_a_time_is_met_by_the_densest_level_that_is_fast_enough(nested, monkeypatch, most, level):
    times = iter([50, 40, 30])
    monkeypatch.setattr(budgets, "milliseconds", lambda *_: next(times))
    found = within(nested[0], Budget("x", most, True), "dense")
    assert (round(found[2], 3), found[1]) == (level, 0)


def test_what_is_no_budget(nested, tmp_path):
    assert Budget.parse("200ms") == ("200ms", 200.0, True)
    assert Budget.parse(" .5 MB ")[1:] == (0.5e6, False)
    for text in ("", "200", "-3ms", "0ms", "1e3ms", "nan MB", "20 cm", "1" * 400 + "GB"):
        with pytest.raises(UserError, match=r"--budget .*: give a time"):
            Budget.parse(text)
    one = save(random_state(0.5), tmp_path / "one.pt")
    with pytest.raises(UserError, match="this model has one; leave it out"):
        within(one, Budget("x", 1e9, True))
    with pytest.raises(UserError, match="levels of a sparse file; write one"):
        within(nested[0], Budget("x", 1e9, False))


@pytest.mark.parametrize("window", [7.0, 9.0, 20.0])
def test_a_time_is_what_a_second_of_a_long_recording_takes(nested, tmp_path, monkeypatch, window):
    """By a clock that only the network moves: a second for a second that it is given."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def run(_, given):
        clock.now += given[0].numel() / 16_000

    subnetwork = open_subnetwork(nested[0])
    subnetwork.model.register_forward_pre_hook(run)
    soundfile.write(tmp_path / "long.wav", np.full(200 * 16_000, 0.1), 16_000)
    with opened(tmp_path / "long.wav") as (_, recording):
        pass
    transcribe(subnetwork, recording, window)
    taken = 1e3 * clock.now / 200
    monkeypatch.setattr(budgets, "time", clock)
    assert budgets.milliseconds(subnetwork, window) == pytest.approx(taken, rel=0.1)
    monkeypatch.setattr(budgets, "open_subnetwork", lambda *_: subnetwork)
    found = within(nested[0], Budget("x", 1e6, True), "dense", window=window)
    assert found[3] == pytest.approx(taken, rel=0.1)
