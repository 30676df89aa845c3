"""examples/glue/results.py: RESULTS.md from JSON files alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from parp_fairseq.files import write_json
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.store import Store

SCRIPT = Path(__file__).parents[3] / "examples" / "glue" / "results.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("glue_results", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finish(store, spec, value):
    content = {
        "task": spec.task.name,
        "method": spec.label,
        "source": str(spec.source) if spec.source else None,
        "seed": spec.seed,
        "scores": {"dev": [{"name": "accuracy", "value": value, "low": value - 2, "high": 90}]},
        "seconds": 60.0,
        "counted": {"entries": 1_000_000, "zeros": 0, "sparsity": 0.0},
        "machine": {"device": "cpu", "processors": 2, "threads": 1, "load": [3.0, 2.0, 1.0]},
    }
    write_json(store.folder(spec) / "result.json", content)


def test_claims_are_judged_from_the_tasks_whose_matrix_is_whole(script, tmp_path):
    store = Store(tmp_path / "runs")
    store.begin(Settings(limit_train=1000), "model")
    names = ("cola", "sts-b", "mrpc")
    for spec in script.plan_of(names, [1], ()).specs(1):
        own = spec.source is None or spec.source.task == spec.task.name
        finish(store, spec, 80.0 if own else {"mask": 70.0, "parp": 76.5}[spec.method])
    # A matrix that was only begun does not count.
    finish(store, script.plan_of(("cola", "rte"), [1], ()).specs(1)[1], 66.25)
    ious = [[1.0, 0.99, 0.985, 0.97]] * 3 + [[0.97, 0.96, 0.95, 1.0]]
    write_json(
        tmp_path / "runs" / "overlap_omp_0.7_seed1.json", {"masks": [*names, "mpi"], "iou": ious}
    )
    (tmp_path / "runs" / "cola" / "dense" / "seed1" / "model.safetensors").write_text("weights")

    script.copy_results(tmp_path / "runs", tmp_path / "kept")
    assert {path.suffix for path in (tmp_path / "kept").rglob("*") if path.is_file()} == {".json"}
    page = script.page(*script.outcomes_in(tmp_path / "kept"))
    assert "| CoLA | 80.00 | 80.00 | 76.50 | 70.00 | +6.50 |" in page
    assert "| RTE | 66.25 | not run |" in page
    assert "on 3 of 3 tasks" in page and "MRPC -3.50 with PARP, -10.00 without" in page
    assert "holds. The lowest IOU of the 3 tasks' masks is 98.50%" in page
    assert "MPI's 95.00%" in page
    assert "- RTE, seed 1: omp_0.7," in page and "load 3 to 3" in page


def test_nothing_run_is_said(script, tmp_path):
    Store(tmp_path).begin(Settings(), "model")
    page = script.page(*script.outcomes_in(tmp_path))
    assert "PARP loses less in transfer: not run" in page
    assert "nothing was run" in page
