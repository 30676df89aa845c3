"""A series of IMP around a program that stands for fairseq: what it writes, where and when."""

import json
import shutil
import stat
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.errors import UserError
from parp_fairseq.runs import side_by_side
from parp_fairseq.runs.imp import LEAST_STEP, Series, round_sparsities, run_imp

SERIES = Series("parp_demo", ("+fake=train",), sparsity=0.5, step=0.5)

PROGRAM = """#!{python}
import json, shutil, sys, time
from pathlib import Path

options = dict(argument.lstrip("+").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
if options["fake"] == "fail":
    sys.exit("parp: error: task.data is missing")
if options["fake"] == "sleep":
    time.sleep(99)
checkpoints = Path(options["hydra.run.dir"].strip("'"), "checkpoints")
checkpoints.mkdir(parents=True, exist_ok=True)
prune = {{"include": ["encoder.layers.*.fc1"], "exclude": [], "biases": False}}
prune["granularity"] = "global"
length = {{"max_update": 0}}
run = {{"config": {{"task": {{"prune": prune}}, "optimization": length}}}}
(checkpoints / "run.json").write_text(json.dumps(run))
shutil.copy({trained!r}, checkpoints / "checkpoint_last.pt")
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    trained = tmp_path / "trained.pt"
    weights = {f"encoder.layers.{n}.fc1.weight": torch.rand(8, 8) for n in range(2)}
    torch.save({"cfg": {}, "model": weights}, trained)
    file = tmp_path / "program"
    file.write_text(PROGRAM.format(python=sys.executable, trained=str(trained)))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(side_by_side, "program_path", lambda name: str(file))
    return file


@pytest.mark.parametrize("ending", ["fail", "sleep"])
def test_a_call_that_trained_nothing_does_not_forbid_the_corrected_one(
    program, tmp_path, monkeypatch, ending
):
    out = tmp_path / "out"

    sleep = side_by_side.time.sleep

    def interrupt(_):
        # Once: ending the child waits with the same function.
        side_by_side.time.sleep = sleep
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises((UserError, KeyboardInterrupt)) as error:
        if ending == "sleep":
            patch.setattr(side_by_side.time, "sleep", interrupt)
        run_imp(replace(SERIES, overrides=(f"+fake={ending}",), step=0.1), out)
    if ending == "fail":
        assert "round_01 failed: task.data is missing" in str(error.value)
    assert run_imp(SERIES, out).final.is_dir()


def test_a_series_that_has_trained_forbids_another(program, tmp_path):
    out = tmp_path / "out"
    assert [share for share, mask in run_imp(SERIES, out).masks if mask.is_file()] == [0.5]
    with pytest.raises(UserError, match=r"step was 0\.5 when this series began and is now 0\.1"):
        run_imp(replace(SERIES, step=0.1), out)
    (out / "imp.json").write_text("{")
    with pytest.raises(UserError, match=r"imp\.json is not a record of IMP"):
        run_imp(SERIES, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(UserError, match="holds something else"):
        run_imp(SERIES, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_what_a_series_began_to_keep_stays(program, tmp_path):
    out = tmp_path / "out"
    kept = out / "round_01" / "checkpoints" / "checkpoint_last.pt"
    with pytest.raises(UserError, match="round_01 failed"):
        # Trained nothing, so it binds nobody.
        run_imp(replace(SERIES, overrides=("+fake=fail",)), out, keep_checkpoints=True)
    run_imp(SERIES, out)
    assert not kept.exists()

    shutil.rmtree(out)
    run_imp(SERIES, out, keep_checkpoints=True)
    (out / "rewind.pt").touch()
    for _ in range(2):
        run_imp(SERIES, out)
        assert kept.is_file() and (out / "rewind.pt").is_file()
    # As series of before this was noted.
    plan = json.loads((out / "imp.json").read_text())
    assert plan.pop("keep_checkpoints") is True
    (out / "imp.json").write_text(json.dumps(plan))
    run_imp(SERIES, out)
    assert not kept.exists() and not (out / "rewind.pt").exists()


@pytest.mark.parametrize("of", ["original", "remaining"])
@given(target=st.floats(0.01, 0.999), step=st.floats(0.01, 1.0))
def test_rounds_ramp_to_the_target(of, target, step):
    found = round_sparsities(target, step, of)
    assert found[-1] == target
    assert all(a < b for a, b in zip(found, found[1:]))


def test_rounds_as_the_paper_counts_them():
    assert round_sparsities(0.9) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert round_sparsities(0.25) == [0.1, 0.2, 0.25]
    found = round_sparsities(0.9, of="remaining")
    assert (len(found), found[:3]) == (22, [0.1, 0.19, 0.271])
    for of in ("original", "remaining"):
        assert round_sparsities(1 - 1e-9, LEAST_STEP, of)[-1] == 1 - 1e-9
