"""Which checkpoint a run resumes from, and that its dictionary is the same."""

import pickle

import pytest
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY, dictionary_from, plain_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.tasks.resuming import check_dictionary, find_restart


def checkpoint(path, updates):
    state = {
        "args": None,
        "cfg": {"model": {}},
        "model": {"w": torch.full((1000,), float(updates))},
        "optimizer_history": [{"num_updates": updates}],
        "last_optimizer_state": {"state": {}, "parp": {"version": 1}},
    }
    torch.save(state, path)


def restart(folder, **changes):
    plain = {"save_dir": str(folder), "restore_file": "checkpoint_last.pt"}
    return find_restart(OmegaConf.create({**plain, "finetune_from_model": None, **changes}))


def test_a_damaged_last_stops_the_run(tmp_path):
    last = tmp_path / "checkpoint_last.pt"
    checkpoint(last, 6)
    half = last.read_bytes()[:1000]
    last.write_bytes(half)
    with pytest.raises(UserError, match=r"checkpoint_last\.pt is damaged; copy another checkpoint"):
        restart(tmp_path)
    assert last.read_bytes() == half


def test_a_whole_last_is_left_alone_and_no_last_is_a_new_run(tmp_path):
    assert restart(tmp_path / "none") == (type(restart(tmp_path)))()
    checkpoint(tmp_path / "checkpoint_last.pt", 3)
    checkpoint(tmp_path / "checkpoint_1_6.pt", 6)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    # What a run began with may be gone when it resumes.
    assert restart(tmp_path, finetune_from_model=str(tmp_path / "gone.pt")).updates == 3
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


@pytest.mark.parametrize("key", ["restore_file", "finetune_from_model", "continue_once"])
def test_a_missing_file_is_named(tmp_path, key):
    with pytest.raises(UserError, match=rf"checkpoint\.{key} is .*typo\.pt: no such checkpoint"):
        restart(tmp_path, **{key: str(tmp_path / "typo.pt")})


def test_a_restored_file_and_the_folders_own_must_both_be_of_this_run(tmp_path):
    checkpoint(tmp_path / "checkpoint_last.pt", 3)
    other = tmp_path / "other.pt"
    checkpoint(other, 5)
    given = restart(tmp_path, restore_file=str(other))
    assert (given.updates, len(given.of_this_run)) == (5, 2)
    # Only weights are nothing to resume; the folder's own still counts.
    fresh = restart(tmp_path, restore_file=str(other), reset_optimizer=True)
    assert (fresh.updates, len(fresh.of_this_run)) == (0, 1)
    anew = restart(tmp_path, reset_optimizer=True)
    assert (anew.updates, anew.of_this_run) == (0, ())
    assert anew.weights is not None
    with pytest.raises(UserError, match="cannot go together"):
        restart(tmp_path, restore_file=str(other), finetune_from_model=str(other))


@pytest.mark.parametrize("key", ["restore_file", "finetune_from_model", "last"])
def test_a_file_that_would_run_code_is_refused(tmp_path, key):
    path = tmp_path / ("checkpoint_last.pt" if key == "last" else "other.pt")
    path.write_bytes(pickle.dumps({"model": print}, protocol=2))
    checkpoint(tmp_path / "checkpoint_1_6.pt", 6)
    with pytest.raises(UserError, match=rf"{path.name}.*print"):
        restart(tmp_path, **({} if key == "last" else {key: str(path)}))


@pytest.mark.parametrize("key", ["target_dictionary", SYMBOLS_KEY])
def test_the_dictionary_stays_the_same(tmp_path, key):
    file = tmp_path / "dict.ltr.txt"
    file.write_text("| 5\nE 3\nT 1\n")
    old = Dictionary.load(str(file))
    saved = {"task_state": {key: old if key == "target_dictionary" else plain_dictionary(old)}}
    # Counts may change.
    file.write_text("| 9\nE 1\nT 7\n")
    check_dictionary(saved, file)
    for now, message in (
        ("E 5\n| 3\nT 1\n", "symbol 1 is 'E' and was '|' when this run began"),
        ("| 5\nE 3\n", "has 2 symbols and had 3"),
    ):
        file.write_text(now)
        with pytest.raises(UserError) as refused:
            check_dictionary(saved, file)
        assert message in str(refused.value)


def test_a_dictionary_comes_back_from_what_is_saved(tmp_path):
    file = tmp_path / "dict.ltr.txt"
    file.write_text("| 5\nE 3\nE 1 #fairseq:overwrite\n<unk> 2 #fairseq:overwrite\nT 1\n")
    old = Dictionary.load(str(file))
    new = dictionary_from(plain_dictionary(old))
    assert (new.symbols, new.count, new.indices) == (old.symbols, old.count, old.indices)
    check_dictionary({"task_state": {SYMBOLS_KEY: plain_dictionary(old)}}, file)
