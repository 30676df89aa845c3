"""Fine-tunings, minutes, and how often a run prunes."""

from __future__ import annotations

import pytest
import torch
from experiments.commands import updates
from experiments.intervals import intervals_figure, intervals_tables, is_never
from experiments.plan import FineTuning, Result, World
from experiments.results import report
from experiments.scores import read_scores, settings_of
from experiments.series import series_of
from made_scores import CONTENT, made_plan, write_score

from parp_fairseq.pruning import Pruner, SparsitySchedule, magnitude_mask

CELLS = [
    {"method": "dense"},
    {"method": "omp", "sparsity": [0.9, 0.5]},
    {"method": "imp", "sparsity": [0.5], "seeds": [1]},
    {"method": "parp", "sparsity": [0.9]},
    {"method": "parp", "sparsity": [0.9], "options": {"interval": [1, 1000]}},
    {"method": "parp_p", "sparsity": [0.9]},
    {"method": "parp_p", "sparsity": [0.5], "options": {"initial_sparsity": 0.2}},
]
MPI = {"method": "mpi", "sparsity": [0.9]}
IMP = {"method": "imp", "sparsity": [0.9]}
RESULT = {"title": "T", "world": "w", "seeds": [1, 2], "cells": CELLS}
PLAN = {
    "worlds": CONTENT["worlds"],
    "results": {
        "effort": {**RESULT, "kind": "effort"},
        "often": {**RESULT, "kind": "intervals", "cells": [CELLS[0], MPI, IMP, *CELLS[3:6]]},
    },
}


@pytest.fixture
def plan(tmp_path):
    return made_plan(tmp_path, PLAN)


def test_the_time_of_omp_has_its_dense_fine_tuning_in_it(plan):
    write_score(plan, "w_dense_seed1", 40.0, minutes=2.0)
    write_score(plan, "w_omp_0.9_seed1", 50.0, minutes=3.0)
    write_score(plan, "w_omp_0.9_seed2", 52.0, minutes=1.0)
    write_score(
        plan,
        "w_imp_0.5_seed1",
        45.0,
        minutes=12.5,
        machine="another CPU, load 7.6 at the end",
        trained_by="parp demo",
    )
    write_score(plan, "w_parp_0.9_seed1", 60.0, minutes=2.5)
    report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    assert "| dense | 0% | 1 | 2.0 | 2.0 | 1 to 1 | 41.0 | 1 |" in text
    # Of the second seed the dense one was not timed.
    assert "| OMP | 90% | 2 | 5.0 | 5.0 | 1 to 1 | 52.0 ± 12.7 | 1 |" in text
    # IMP's rounds are fine-tunings each, on a machine and by a program.
    assert "10 of 22 fine-tunings were run (6 of them by `parp demo`)" in text
    assert "(a CPU, 2 cores: 4 of them; another CPU: 6 of them)" in text
    assert "| IMP | 50% | 6 | 12.5 | 12.5 | 8 to 8 | 46.0 | 1 |" in text
    assert "| OMP | 50% | 2 | not run | not run | - | not run | 0 |" in text
    assert (plan.home / "effort" / "small.png").is_file()


def test_n_of_the_config_or_the_option_and_never(plan):
    write_score(plan, "w_mpi_0.9_seed1", 61.0)
    write_score(plan, "w_imp_0.9_seed1", 45.0)
    write_score(plan, "w_parp_0.9_seed1", 60.0)
    write_score(plan, "w_parp_0.9_interval1_seed1", 59.0)
    write_score(plan, "w_parp_0.9_interval1000_seed2", 99.0)
    (table,) = intervals_tables(settings_of(plan.results["often"], read_scores(plan)))
    assert table.header == ["method", "sparsity", "n", "prunings", "WER dev", "WER test", "seeds"]
    assert [row[:4] + row[5:] for row in table.rows] == [
        ["dense", "0%", "-", "0", "not run", "0 of 2"],
        ["MPI", "90%", "-", "1", "62.0", "1 of 2"],
        ["IMP", "90%", "-", "-", "46.0", "1 of 2"],
        ["PARP", "90%", "1", "801", "60.0", "1 of 2"],
        ["PARP", "90%", "25", "33", "61.0", "1 of 2"],
        ["PARP", "90%", "never", "2", "100.0", "1 of 2"],
        ["PARP-P", "90%", "25", "33", "not run", "0 of 2"],
    ]
    report(plan.home)
    assert (plan.home / "often" / "small.png").is_file()
    run = [one for one in settings_of(plan.results["often"], read_scores(plan)) if one.by_seed]
    (axes,) = intervals_figure(run).axes
    levels = {line.get_label(): line.get_ydata()[0] for line in axes.get_lines()}
    # Where n means nothing: a level, no point.
    assert (levels["MPI, 90%"], levels["IMP, 90%"]) == (62.0, 46.0)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "25", "never"]


@pytest.mark.parametrize("interval", [1, 7, 25, 800, 1000])
def test_prunings_are_counted_as_the_pruner_does(plan, interval):
    options = (("interval", interval),)
    world = plan.worlds["w"]
    ft = FineTuning(world, "parp", 0.5, 1, options)
    weights = {"a": torch.rand(8)}
    pruner = Pruner(SparsitySchedule(0.5), interval=interval, total_updates=updates(ft.world))
    pruner.start(weights, magnitude_mask(weights, 0.5))
    for update in range(1, 1 + updates(ft.world)):
        pruner.end_update(update)
    (table,) = intervals_tables(settings_of(Result("r", "R", "intervals", (ft,)), {}))
    assert table.rows[0][3] == str(1 + pruner.events)
    assert is_never(ft) == (pruner.events == 1)


def test_epochs_are_never_never():
    world = World("w", "", "parp_10min", "d", "m.pt", "v", ("t",), overrides=("a=1",))
    assert not is_never(FineTuning(world, "parp", 0.5, 1, (("interval", 100_000),)))
    unit = (("interval_unit", "update"), ("interval", 100_000))
    assert is_never(FineTuning(world, "parp", 0.5, 1, unit))
    longer = World(
        "w",
        "",
        "parp_10min",
        "d",
        "m.pt",
        "v",
        ("t",),
        overrides=("optimization.max_update=200000",),
    )
    assert not is_never(FineTuning(longer, "parp", 0.5, 1, unit))


def test_what_makes_one_line(plan):
    scores = read_scores(plan)
    effort = series_of(settings_of(plan.results["effort"], scores))
    # Where PARP-P begins follows its sparsity; PARP comes thrice at 90%.
    assert [(line.label, len(line.members)) for line in effort] == [
        ("dense", 1),
        ("OMP", 2),
        ("IMP", 1),
        ("PARP", 1),
        ("PARP, interval 1", 1),
        ("PARP, interval 1000", 1),
        ("PARP-P", 2),
    ]
    looks = [(line.look["marker"], line.look["linestyle"]) for line in effort]
    assert len(set(looks)) == len(looks)


def test_stages_are_a_series_of_their_own(tmp_path):
    cells = [
        {"method": "parp_p", "sparsity": [0.9]},
        {"method": "parp_p", "sparsity": [0.9], "options": {"stages": [[0.8]]}},
    ]
    result = {"title": "Stages", "kind": "rates", "world": "w", "cells": cells}
    plan = made_plan(tmp_path, {**CONTENT, "results": {"stages": result}})
    for name in plan.scored:
        write_score(plan, name, 40.0)
    report(plan.home)
    lines = series_of(settings_of(plan.results["stages"], read_scores(plan)))
    assert [line.label for line in lines] == ["PARP-P", "PARP-P, stages [0.8]"]
    assert (plan.home / "stages" / "small.png").is_file()


def test_a_given_mask_says_whose_it_is(tmp_path):
    cells = [{"method": "mask", "sparsity": [0.9, 0.5], "from": "another_seed"}]
    result = {"title": "Given", "kind": "rates", "world": "w", "cells": cells}
    plan = made_plan(tmp_path, {**CONTENT, "results": {"given": result}})
    (line,) = series_of(settings_of(plan.results["given"], {}))
    assert line.label.endswith("from another seed") and len(line.members) == 2
