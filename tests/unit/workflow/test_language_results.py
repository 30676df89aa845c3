"""Errors by language, their average, and claims within languages."""

from __future__ import annotations

import pytest
import yaml
from experiments.languages import (
    by_group,
    draw_languages,
    judge_languages,
    language_tables,
    language_verdicts,
)
from experiments.plan import Claim
from experiments.reading import read_plan
from experiments.results import report
from experiments.scores import read_scores, settings_of
from experiments.tables import NOT_RUN
from made_scores import write_score
from matplotlib.figure import Figure
from scipy import stats

WORLD = {"config": "parp_demo", "model": "tiny", "valid": "dev", "test": ["test"]}
CELLS = [{"method": "dense"}, {"method": "omp", "sparsity": [0.9]}]
HOLDS = {"paper": "holds"}
CLAIMS = [
    {"says": "dense beats OMP", "fewer": "dense", "than": "omp 0.9", "why": "so.", **HOLDS},
    {"says": "OMP beats dense", "fewer": "omp 0.9", "than": "dense"},
]
CONTENT = {
    "worlds": {
        "one": {**WORLD, "each": ["nl", "fr", "tr"], "data": "data/{each}"},
        "all": {**WORLD, "data": "data/all", "test": ["test-sv-SE", "test-nl"]},
    },
    "results": {
        "each": {
            "title": "Each",
            "kind": "languages",
            "worlds": ["one", "all"],
            "seeds": [1, 2],
            "cells": CELLS,
            "claims": CLAIMS,
        }
    },
}
DENSE = {"nl": (10.0, 12.0), "fr": (20.0, 20.0), "tr": (30.0, 34.0)}
OMP = {"nl": (15.0, 18.0), "fr": (24.0, 26.0), "tr": (38.0, 40.0)}


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(CONTENT), encoding="utf-8")
    plan = read_plan("small", tmp_path)
    for method, rates in (("dense", DENSE), ("omp_0.9", OMP)):
        for language, values in rates.items():
            for seed, rate in enumerate(values, start=1):
                # What is written on test is one more.
                write_score(plan, f"one-{language}_{method}_seed{seed}", rate - 1)
    return plan


def settings(plan):
    return settings_of(plan.results["each"], read_scores(plan))


def test_rows_and_their_average(plan):
    one, joint = language_tables(settings(plan))
    assert list(one.header) == ["method", "sparsity", "nl", "fr", "tr", "average", "seeds"]
    assert one.rows[0] == ["dense", "0%", "11.0", "20.0", "32.0", "21.0", "2 of 2"]
    assert one.rows[1] == ["OMP", "90%", "16.5", "25.0", "39.0", "26.8", "2 of 2"]
    assert list(joint.header)[2:5] == ["sv-SE", "nl", "average"]
    assert joint.rows[0] == ["dense", "0%", *["not run"] * 3, "0 of 2"]


def test_one_model_for_all_is_read_by_its_test_sets(plan):
    write_score(plan, "all_dense_seed1", 10.0)
    content = read_scores(plan)["all_dense_seed1"].content
    rows = [
        {**content["scores"][0], "split": split, "rate": rate}
        for split, rate in (("dev", 1.0), ("test-sv-SE", 10.0), ("test-nl", 30.0))
    ]
    write_score(plan, "all_dense_seed1", 10.0, scores=rows)
    row = by_group(settings(plan))["all"]["dense"]
    assert (row.rate("sv-SE"), row.rate("nl"), row.average, row.seeds) == (10.0, 30.0, 20.0, 1)


def test_there_is_no_average_of_some(plan):
    for seed in (1, 2):
        plan.scores_file(f"one-fr_dense_seed{seed}").unlink()
    row = by_group(settings(plan))["one"]["dense"]
    assert (row.rate("fr"), row.average, row.seeds) == (None, None, 0)


def test_claims_are_within_languages(plan):
    rows = by_group(settings(plan))["one"]
    judged = judge_languages(rows["dense"], rows["omp 0.9"])
    differences = [-5.5, -5.0, -7.0]
    low, high = stats.t.interval(0.95, 2, sum(differences) / 3, stats.sem(differences))
    assert judged.verdict == "held"
    assert (judged.difference.low, judged.difference.high) == pytest.approx((low, high))
    assert judge_languages(rows["omp 0.9"], rows["dense"]).verdict == "not held"
    # Of a language only seeds count that both have, and languages without one do not.
    plan.scores_file("one-nl_omp_0.9_seed1").unlink()
    for seed in (1, 2):
        plan.scores_file(f"one-tr_dense_seed{seed}").unlink()
    rows = by_group(settings(plan))["one"]
    judged = judge_languages(rows["dense"], rows["omp 0.9"])
    assert (judged.difference.mean, judged.difference.count) == (-5.5, 2)


def test_the_report_has_table_claims_and_figure(plan):
    report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    assert "WER on the test sets, one:" in text
    assert "| dense beats OMP (one) | holds | *held* | -5.8 ± 2.6 WER | 3 |" in text
    assert "| OMP beats dense (one) | - | *not held* | +5.8 ± 2.6 WER | 3 |" in text
    assert "| dense beats OMP (all) | holds | *not run* | not run | 0 |" in text
    assert "- dense beats OMP (one): so." in text
    assert "over languages" in text
    for ending in ("png", "pdf", "md", "csv"):
        assert (plan.home / "each" / f"small.{ending}").stat().st_size > 100


def test_the_figure_has_no_average_of_some(plan):
    for seed in (1, 2):
        plan.scores_file(f"one-fr_omp_0.9_seed{seed}").unlink()
    (panel,) = draw_languages(Figure(), settings(plan))
    drawn = {line.get_label(): len(line.get_xdata()) for line in panel.get_lines()}
    # Three languages and their average; two of three. Where nothing was run there is no panel.
    assert (drawn["dense"], drawn["OMP 90%"]) == (4, 2)
    assert panel.get_title() == "one"


def test_a_setting_of_some_languages_stands_beside_those_of_all(tmp_path):
    some = [{"method": "rp", "sparsity": [0.9], "worlds": ["one-fr"]}, *CELLS]
    result = {**CONTENT["results"]["each"], "worlds": ["one"], "seeds": [1], "cells": some}
    content = {**CONTENT, "results": {"each": result}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    plan = read_plan("small", tmp_path)
    write_score(plan, "one-fr_rp_0.9_seed1", 79)
    for language, (rate, _) in DENSE.items():
        write_score(plan, f"one-{language}_dense_seed1", rate - 1)
    (table,) = language_tables(settings(plan))
    assert table.header[2:] == ["fr", "nl", "tr", "average", "seeds"]
    assert table.rows[0][2:] == ["80.0", NOT_RUN, NOT_RUN, NOT_RUN, "1 of 1"]
    assert table.rows[1][2:] == ["20.0", "10.0", "30.0", "20.0", "1 of 1"]
    draw_languages(Figure(), settings(plan))


def test_a_claim_is_asked_where_it_says(plan):
    claims = [Claim("x", "dense", "omp 0.9", worlds=(where,)) for where in ("one", "all")]
    rows = language_verdicts(claims, settings(plan)).rows
    assert [row.says for row in rows] == ["x (one)", "x (all)"]
