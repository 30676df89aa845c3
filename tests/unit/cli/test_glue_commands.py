"""`parp glue` from options to table, file and exit code."""

from __future__ import annotations

import json
import re

import pytest
from small_glue import bert_folder, glue_folder

from parp_fairseq.glue.runs import GlueRuns

FAST = "--epochs 1 --limit-train 16 --batch 8 --learning-rate 3e-3 --max-length 32"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("glue")
    glue_folder(root / "data")
    bert_folder(root / "bert")
    return root


@pytest.fixture
def glue(world, parp, monkeypatch):
    monkeypatch.chdir(world)
    return lambda line: parp("glue", *line.split())


def test_runs_reports_and_goes_on_after_ctrl_c(world, glue, monkeypatch):
    run = f"run --task cola,sts-b --model bert --data data --method mpi --seeds 2 {FAST} --out out"
    real, calls = GlueRuns._train, []

    def train(self, spec, *rest):
        calls.append(spec)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, spec, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(GlueRuns, "_train", train)
        code, out, err = glue(run)
    assert code == 130 and not out
    assert err.splitlines()[-1] == (
        "parp: interrupted: 1 of 4 runs are done; the same command goes on"
    )
    code, out, _ = glue(f"{run} --json found.json")
    assert code == 0
    found = json.loads((world / "found.json").read_text())
    assert [(r["task"], r["seed"]) for r in found] == [
        ("cola", 1),
        ("cola", 2),
        ("sts-b", 1),
        ("sts-b", 2),
    ]
    value = found[0]["scores"]["dev"][0]["value"]
    assert re.search(rf"^CoLA +mpi +0\.7000 +1 +dev +matthews +{value:.2f} ", out, re.M)
    both = [r["scores"]["dev"][1]["value"] for r in found[2:]]
    mean = sum(both) / 2
    assert re.search(rf"^STS-B +mpi +0\.7000 +mean +dev +spearman +{mean:.2f} ", out, re.M)
    assert found[0]["settings"]["limit_train"] == 16
    assert (world / "out/cola/mpi_0.7/seed1/model/config.json").is_file()

    # What is missing is said, and nothing trained.
    code, out, _ = glue("transfer --tasks cola,sts-b --out out --alone mpi --report --json -")
    told = json.loads(out)
    assert code == 0 and told["runs"] == 2 and told["planned"] == 2 + 2 + 4 + 2 + 2
    assert told["alone"]["mpi"]["cola"] == pytest.approx(value)
    assert told["same_task"] == {"cola": None, "sts-b": None}
    report = "transfer --tasks cola,sts-b --out out --report --markdown t.md"
    code, out, _ = glue(f"{report} --png t.png")
    assert code == 0 and "0 of 10 runs are done" in out
    assert (world / "t.md").read_text().startswith("## Scores by target task\n")
    code, _, err = glue(report)
    assert code == 2 and "--force" in err
    # Beside the runs, and again.
    for line in (f"{report} --json out/t.json --force", f"{run} --json out/r.json --force") * 2:
        code, _, err = glue(line)
        assert code == 0, err
