"""Which checkpoint a run goes on from."""

import pickle

import pytest
import torch
from omegaconf import OmegaConf

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.restart import check_restart


def checkpoint(path, updates, score=None, optimizer=True):
    state = {
        "args": None,
        "cfg": {"model": {}},
        "model": {"w": torch.full((1000,), float(updates))},
        "optimizer_history": [{"num_updates": updates}],
        "extra_state": {"val_loss": score, "best": 10.0},
        "last_optimizer_state": {"state": {}, "parp": {"version": 1}} if optimizer else None,
    }
    torch.save(state, path)


def cut_off(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def section(folder, **changes):
    plain = {"save_dir": str(folder), "restore_file": "checkpoint_last.pt"}
    return OmegaConf.create({**plain, "finetune_from_model": None, **changes})


def test_the_newest_whole_sibling_replaces_a_damaged_last(tmp_path):
    for name, updates in (("checkpoint_1_3", 3), ("checkpoint_2_6", 6), ("checkpoint_best", 9)):
        checkpoint(tmp_path / f"{name}.pt", updates)
    checkpoint(tmp_path / "checkpoint_last.pt", 9)
    for name in ("last", "best"):
        cut_off(tmp_path / f"checkpoint_{name}.pt")
    check_restart(section(tmp_path))
    mended = (tmp_path / "checkpoint_last.pt").read_bytes()
    assert mended == (tmp_path / "checkpoint_2_6.pt").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint_1_3.pt",
        "checkpoint_2_6.pt",
        "checkpoint_best.pt",
        "checkpoint_last.pt",
    ]


def test_weights_alone_replace_no_damaged_last(tmp_path):
    last, kept = tmp_path / "checkpoint_last.pt", tmp_path / "checkpoint_update_6.pt"
    for path in (last, tmp_path / "checkpoint_2_6.pt"):
        checkpoint(path, 6)
    checkpoint(kept, 6, optimizer=False)
    cut_off(last)
    restart = check_restart(section(tmp_path))
    assert restart.weights["last_optimizer_state"]
    assert last.read_bytes() == (tmp_path / "checkpoint_2_6.pt").read_bytes()
    (tmp_path / "checkpoint_2_6.pt").unlink()
    cut_off(last)
    half = last.read_bytes()
    with pytest.raises(UserError, match="holds an optimizer's state; remove it to begin"):
        check_restart(section(tmp_path))
    assert last.read_bytes() == half


def test_a_whole_last_is_left_alone(tmp_path):
    checkpoint(tmp_path / "checkpoint_last.pt", 3)
    checkpoint(tmp_path / "checkpoint_1_6.pt", 6)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    check_restart(section(tmp_path))
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


def test_an_empty_folder_is_a_new_run(tmp_path):
    restart = check_restart(section(tmp_path / "none"))
    assert (restart.weights, restart.experiments, restart.updates) == (None, (), 0)


def test_a_best_that_was_cut_off_comes_back_from_a_copy_of_its_score(tmp_path, caplog):
    best = tmp_path / "checkpoint_best.pt"
    for name, updates, score in (("_1_3", 3, 20.0), ("_2_6", 6, 10.0), ("_last", 9, 30.0)):
        checkpoint(tmp_path / f"checkpoint{name}.pt", updates, score)
    checkpoint(best, 6, 10.0)
    cut_off(best)
    check_restart(section(tmp_path))
    assert best.read_bytes() == (tmp_path / "checkpoint_2_6.pt").read_bytes()
    (tmp_path / "checkpoint_2_6.pt").unlink()
    cut_off(best)
    half = best.read_bytes()
    assert check_restart(section(tmp_path)).updates == 9
    assert "no checkpoint beside it has its score" in caplog.text
    assert best.read_bytes() == half


@pytest.mark.parametrize("key", ["restore_file", "finetune_from_model", "continue_once"])
def test_a_missing_file_is_refused_by_name(tmp_path, key):
    with pytest.raises(UserError, match=rf"checkpoint\.{key} is .*typo\.pt: no such checkpoint"):
        check_restart(section(tmp_path, **{key: str(tmp_path / "typo.pt")}))


def test_what_a_run_began_with_may_be_gone_when_it_goes_on(tmp_path):
    checkpoint(tmp_path / "checkpoint_last.pt", 3)
    gone = str(tmp_path / "gone.pt")
    assert check_restart(section(tmp_path, finetune_from_model=gone)).updates == 3


def test_a_restored_file_and_the_folders_own_are_both_the_experiment(tmp_path):
    checkpoint(tmp_path / "checkpoint_last.pt", 3)
    other = tmp_path / "other.pt"
    checkpoint(other, 5)
    restart = check_restart(section(tmp_path, restore_file=str(other)))
    assert (restart.updates, len(restart.experiments)) == (5, 2)
    # Weights alone are no experiment to go on with; the folder's own still counts.
    fresh = check_restart(section(tmp_path, restore_file=str(other), reset_optimizer=True))
    assert (fresh.updates, len(fresh.experiments)) == (0, 1)
    anew = check_restart(section(tmp_path, reset_optimizer=True))
    assert (anew.updates, anew.experiments) == (0, ())
    assert anew.weights is not None
    with pytest.raises(UserError, match="cannot go together"):
        check_restart(section(tmp_path, restore_file=str(other), finetune_from_model=str(other)))


def test_without_a_whole_sibling_the_file_is_named(tmp_path):
    checkpoint(tmp_path / "checkpoint_last.pt", 3)
    cut_off(tmp_path / "checkpoint_last.pt")
    with pytest.raises(UserError, match=r"checkpoint_last\.pt is damaged and no other"):
        check_restart(section(tmp_path))


class Hostile:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("key", ["restore_file", "finetune_from_model", "last"])
def test_a_file_that_would_run_code_is_refused(tmp_path, key, capsys):
    path = tmp_path / ("checkpoint_last.pt" if key == "last" else "other.pt")
    with path.open("wb") as handle:
        pickle.dump({"model": Hostile()}, handle, protocol=2)
    checkpoint(tmp_path / "checkpoint_1_6.pt", 6)
    changes = {} if key == "last" else {key: str(path)}
    with pytest.raises(UserError, match=path.name):
        check_restart(section(tmp_path, **changes))
    assert "this ran" not in capsys.readouterr().out
