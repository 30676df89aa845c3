"""Masks moved between tasks: which runs that takes, and what the table says of them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from small_glue import bert_folder, glue_folder

from parp_fairseq.errors import UserError
from parp_fairseq.files import write_json
from parp_fairseq.glue import transfer
from parp_fairseq.glue.outcome import read_outcome
from parp_fairseq.glue.runs import GlueRuns
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.specs import PruningOptions, Source, spec_of
from parp_fairseq.glue.store import Store
from parp_fairseq.glue.tables import as_markdown, as_text, transfer_tables
from parp_fairseq.glue.tasks import TASKS
from parp_fairseq.masks.files import load_mask
from parp_fairseq.report.heat_maps import draw_transfer

COLA, RTE, STSB = (TASKS[name] for name in ("cola", "rte", "sts-b"))
SETTINGS = Settings(learning_rate=3e-3, batch=8, epochs=1, limit_train=16)


def plan_of(*tasks, **options):
    plan = transfer.Plan(tasks, 0.7, **options)
    plan.check()
    return plan


def pretend(store, plan, score, seeds=(1,)):
    """Write what runs leave, with scores from a function of the run."""
    store.begin(SETTINGS, "model")
    for seed in seeds:
        for spec in plan.specs(seed):
            value = score(spec)
            if value is not None:
                dev = [{"name": "accuracy", "value": value, "low": 0, "high": 100}]
                content = {"task": spec.task.name, "scores": {"dev": dev}, "seconds": 36.0}
                write_json(store.folder(spec) / "result.json", content)


def test_what_a_table_needs_most_comes_first():
    plan = plan_of(COLA, RTE, STSB, alone=("mpi",))
    names = [(spec.task.name, spec.name) for spec in plan.specs(1)]
    assert len(names) == len(set(names)) == 3 + 3 + 12 + 3 + 3
    assert names[:6] == [(t, n) for n in ("dense", "omp_0.7") for t in ("cola", "rte", "sts-b")]
    assert names[6:8] == [("cola", "mask_0.7_rte-omp"), ("cola", "parp_0.7_rte-omp")]
    assert names[18:] == [
        *((t, f"parp_0.7_{t}-omp") for t in ("cola", "rte", "sts-b")),
        *((t, "mpi_0.7") for t in ("cola", "rte", "sts-b")),
    ]
    # OMP on a task is that task's mask held: one run, whoever asks for it.
    assert plan.specs(1)[3].name == spec_of(COLA, "omp", 0.7, 1).name


def test_averages_are_over_the_other_tasks_and_over_seeds(tmp_path):
    plan = plan_of(COLA, RTE, STSB, seeds=(1, 2), alone=("mpi",))
    place = {"cola": 1.0, "rte": 10.0, "sts-b": 100.0}

    def score(spec):
        if spec.source is None:
            return 50.0 + spec.seed
        parp = 1000.0 if spec.method == "parp" else 0.0
        return place[spec.source.task] + parp + spec.seed

    store = Store(tmp_path)
    pretend(store, plan, score, plan.seeds)
    outcome = read_outcome(plan, store)
    assert outcome.mean("dense", None, "rte") == outcome.mean("mpi", None, "rte") == 51.5
    assert outcome.mean("regular", "rte", "rte") == 11.5
    assert outcome.average("regular", "cola") == pytest.approx((10 + 100) / 2 + 1.5)
    assert outcome.average("parp", "sts-b") == pytest.approx(1000 + (1 + 10) / 2 + 1.5)
    content = json.loads(json.dumps(outcome.to_json()))
    assert content["matrix"]["parp"]["cola"]["rte"] == 1002.5
    assert content["cross_task"]["regular"]["cola"] == pytest.approx(56.5)
    assert content["runs"] == content["planned"] == 2 * (3 + 3 + 12 + 3 + 3)
    assert content["seconds"] == content["runs"] * 36
    assert content["overlap"]["iou"] is None and content["settings"]["limit_train"] == 16


def test_what_was_not_run_is_said(tmp_path):
    plan = plan_of(COLA, RTE, STSB)
    missing = {("cola", "mask_0.7_rte-omp"), ("rte", "dense")}
    store = Store(tmp_path)
    pretend(store, plan, lambda s: None if (s.task.name, s.name) in missing else 42.0)
    outcome = read_outcome(plan, store)
    assert outcome.average("regular", "cola") is None
    tables = transfer_tables(outcome)
    (scores, held, _) = tables
    assert scores[2][0] == ["dense", "42.00", "not run", "42.00"]
    assert scores[2][3] == ["cross-task, regular", "not run", "42.00", "42.00"]
    assert held[2][1] == ["RTE mask", "not run", "42.00", "42.00"]
    assert "not run" in as_text(tables)
    assert "| cross-task, regular | not run | 42.00 | 42.00 |" in as_markdown(tables)
    draw_transfer(outcome.to_json(), tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def iou_of(a, b):
    both = either = 0
    for name in a:
        both += int((a[name] & b[name]).sum())
        either += int((a[name] | b[name]).sum())
    return both / either


def test_runs_are_shared_and_none_is_made_twice(tmp_path, monkeypatch):
    glue_folder(tmp_path / "data")
    bert_folder(tmp_path / "bert")
    runs = GlueRuns(tmp_path / "out", tmp_path / "bert", tmp_path / "data", SETTINGS)
    made = []
    real = GlueRuns._train

    def train(self, spec, *rest):
        made.append((spec.task.name, spec.name))
        return real(self, spec, *rest)

    monkeypatch.setattr(GlueRuns, "_train", train)
    runs.run(spec_of(COLA, "omp", 0.7, 1))
    assert made == [("cola", "dense"), ("cola", "omp_0.7")]
    plan = plan_of(COLA, RTE)
    transfer.run_transfer(plan, runs)
    assert len(made) == len(set(made)) == 10
    transfer.run_transfer(plan, runs)
    assert len(made) == 10
    outcome = read_outcome(plan, runs.store)
    assert len(outcome.results) == outcome.planned == 10
    overlap = outcome.overlap()
    masks = [load_mask(runs.store.mask(Source(t, "omp"), 0.7, 1))[0] for t in ("cola", "rte")]
    assert overlap[0][1] == pytest.approx(iou_of(*masks), abs=1e-6)
    assert outcome.lowest_overlap() == overlap[0][1] < 1 and overlap[2][2] == 1.0
    mpi = spec_of(COLA, "mpi", 0.7, 1)
    runs.run(mpi)
    assert load_mask(runs.store.folder(mpi) / "mask.safetensors")[0].equal(runs.magnitude_mask(mpi))
    # The masks that were held or begun with are the sources' own.
    held = runs.store.folder(plan.cell("regular", COLA, RTE, 1)) / "mask.safetensors"
    assert load_mask(held)[0].equal(masks[0])
    # Masks are shared by runs of one scope and granularity alone.
    for options, reason in (
        (PruningOptions(granularity="tensor"), "--granularity global, and this run has tensor"),
        (PruningOptions(exclude=("*pooler.dense.weight",)), "another --include or --exclude"),
    ):
        with pytest.raises(UserError, match=reason):
            runs.mask(Source("rte", "omp"), 0.7, 1, spec_of(COLA, "omp", 0.7, 1, options=options))
    # Only dense models are kept: masks at other sparsities come from them.
    kept = {p.parent.parent.name for p in (tmp_path / "out").glob("*/*/*/model")}
    assert kept == {"dense", "omp_0.7", "mpi_0.7"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": (COLA,)}, "--tasks"),
        ({"tasks": (COLA, COLA)}, "--tasks"),
        ({"kind": "mpi"}, "--source is 'mpi'; use omp or imp"),
        ({"sparsity": 1.0}, "--sparsity is 1"),
        ({"alone": ("mask",)}, "--alone mask"),
        ({"alone": ("parpp",)}, "did you mean parp"),
    ],
)
def test_a_plan_that_cannot_be(change, message):
    plan = replace(transfer.Plan((COLA, RTE), 0.7, options=PruningOptions()), **change)
    with pytest.raises(UserError, match=message):
        plan.check()


def test_a_folder_without_runs_reports_nothing(tmp_path):
    with pytest.raises(UserError, match="holds no runs on GLUE"):
        read_outcome(plan_of(*itertools.islice(TASKS.values(), 2)), Store(tmp_path))
