"""RESULTS.md, tables and figures from scores written by hand."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest
from experiments import commands, work
from experiments.claims import judge
from experiments.commands import updates
from experiments.cost import audio_of_update, cost_of, cost_table, gpu_hours, gpu_memory
from experiments.plan import FineTuning, World
from experiments.reading import read_plan
from experiments.results import report
from experiments.scores import read_scores, settings_of
from made_scores import CONTENT, made_plan, write_score

from parp_fairseq.errors import UserError


@pytest.fixture
def plan(tmp_path):
    """Four cells at 90% with two seeds, one fine-tuning with a trail, nothing else."""
    plan = made_plan(tmp_path)
    for seed, extra in ((1, 0.0), (2, 0.5)):
        write_score(plan, f"w_mpi_0.9_seed{seed}", 70 + extra)
        write_score(plan, f"w_parp_0.9_seed{seed}", 66 + 1.1 * extra)
        write_score(plan, f"w_gmp_0.9_schedulelinear_seed{seed}", 57 + extra)
        write_score(plan, f"w_parp_p_0.9_seed{seed}", 52 + extra)
    write_score(plan, "w_parp_0.9_interval400_seed1_trail", 99.0)
    return plan


def section(text: str, title: str) -> str:
    (found,) = (one for one in re.split(r"^## ", text, flags=re.M) if one.startswith(title))
    return found


def test_a_report_of_what_was_run(plan):
    files = report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    assert files[-1] == plan.home / "RESULTS.md"
    four = section(text, "Four cells")
    assert "8 of 14 fine-tunings were run (0 of them by `parp demo`)" in four
    assert "seeds 1, 2; 0.4 hours" in four and "commit 0123456" in " ".join(four.split())
    # Of the scores on test: 71 and 71.5, 67 and 67.55.
    assert "| MPI | 90% | constant, held | 71.2 ± 3.2 | 2 of 2 |" in four
    assert "| PARP | 50% | constant, free | not run | 0 of 2 |" in four
    assert "| 50% | not run | not run | not run | 0 |" in four
    # Revival: (-4 - 5) / 2 and (-3.95 - 5) / 2.
    assert "| 90% | -4.5 ± 0.2 | -13.5 ± 0.2 | -1.0 ± 0.3 | 2 |" in four
    assert "| PARP beats MPI | no difference | *held* | -4.0 ± 0.3 WER | 2 |" in four
    assert "| MPI beats PARP | - | *not held* | +4.0 ± 0.3 WER | 2 |" in four
    assert "| GMP beats MPI | - | *not run* | not run | 0 |" in four
    assert "- MPI beats PARP: so." in four
    assert "| parp 0.9 | 83.6 |" in four
    # Above all of them stand the claims that were put to the test, and no others.
    glance = section(text, "Claims at a glance")
    assert "2 of 4 were put to the test" in glance and "GMP beats MPI" not in glance
    assert "| [four](four/) | MPI beats PARP | - | *not held* | +4.0 ± 0.3 WER |" in glance
    assert "| PARP | 90% | 400 | 100.0 | 95.0 | 60.0 | 700 | 0% | 1 of 1 |" in text
    assert "none of them run" in section(text, "Curve")
    for name, figure in (("four", True), ("seen", True), ("curve", False)):
        drawn = [(plan.home / name / f"small.{ending}") for ending in ("png", "pdf")]
        assert [file.is_file() for file in drawn] == [figure] * 2
    with open(plan.home / "four" / "small.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["table", "method", "sparsity", "cell", "WER test", "seeds"]


@pytest.mark.parametrize(
    ("omp", "verdict"),
    [(50.0, "held, one seed"), (42.0, "not told apart"), (30.0, "not held, one seed")],
)
def test_with_one_seed_utterances_decide(tmp_path, omp, verdict):
    plan = made_plan(tmp_path)
    write_score(plan, "w_dense_seed1", 40.0)
    write_score(plan, "w_omp_0.9_seed1", omp)
    write_score(plan, "w_omp_0.9_seed2", omp)
    dense, other = settings_of(plan.results["curve"], read_scores(plan))
    judged = judge(dense, other)
    assert (judged.verdict, judged.difference.count) == (verdict, 1)


def test_one_seed_among_the_others_spread_tells_nothing(tmp_path):
    plan = made_plan(tmp_path)
    write_score(plan, "w_omp_0.9_seed1", 50.0)
    write_score(plan, "w_dense_seed1", 40.0)
    curve = plan.results["curve"]
    assert judge(*settings_of(curve, read_scores(plan))).verdict == "held, one seed"
    # Its second seed reaches the first's errors: the difference may be training's own chance.
    write_score(plan, "w_omp_0.9_seed2", 41.0)
    judged = judge(*settings_of(curve, read_scores(plan)))
    assert (judged.verdict, judged.difference.mean) == ("not told apart", -10.0)


def test_words_and_phones_in_one_result(tmp_path):
    world = CONTENT["worlds"]["w"]
    phones = {**world, "overrides": ["criterion.post_process=none"]}
    cells = [
        {"method": "dense"},
        {"method": "rp", "sparsity": [0.9]},
        {"method": "mpi", "sparsity": [0.9], "worlds": ["p"]},
    ]
    claim = {"says": "dense is better", "fewer": "dense", "than": "rp 0.9"}
    of_one = {"says": "MPI is better", "fewer": "mpi 0.9", "than": "rp 0.9"}
    result = {"title": "Both", "kind": "rates", "worlds": ["w", "p", "q", "h"], "cells": cells}
    content = {
        "worlds": {"w": world, "p": phones, "q": phones, "h": {**world, "config": "parp_h2l"}},
        "results": {"both": {**result, "claims": [claim, of_one]}},
    }
    plan = made_plan(tmp_path, content)
    for name, metric in (("w", "WER"), ("p", "PER")):
        write_score(plan, f"{name}_dense_seed1", 30.0, metric=metric)
        write_score(plan, f"{name}_rp_0.9_seed1", 80.0, metric=metric)
    report(plan.home)
    text = section((tmp_path / "RESULTS.md").read_text(encoding="utf-8"), "Both")
    assert "| dense is better (w) | - | *held, one seed* | -50.0 WER |" in text
    assert "| dense is better (p) | - | *held, one seed* | -50.0 PER |" in text
    # Asked where there is a cell for it; there it was not run.
    assert [line for line in text.splitlines() if "MPI is better" in line] == [
        "| MPI is better (p) | - | *not run* | not run | 0 |"
    ]
    words, *of_phones = text.split("| method | sparsity |")[1:]
    assert "WER dev" in words and "PER dev" not in words
    # The last two were not run: one's overrides and the other's config say that it is phones.
    assert ["PER dev" in one for one in of_phones] == [True] * 3


def test_the_same_scores_give_the_same_files(plan):
    files = [file for file in report(plan.home)]
    before = [file.read_bytes() for file in files]
    report(plan.home)
    assert [file.read_bytes() for file in files] == before


def test_a_scale_without_scores_says_so(tmp_path):
    made_plan(tmp_path)
    report(tmp_path)
    assert "Nothing was run at this scale. Planned: four, seen, curve." in (
        tmp_path / "RESULTS.md"
    ).read_text(encoding="utf-8")


def test_stale_scores_are_named(plan):
    name = "w_mpi_0.9_seed1"
    write_score(plan, name, 1.0, settings={**plan.scored[name].settings(), "model": "other"})
    with pytest.raises(UserError, match=r"seed1\.json: model was other when .* is tiny in small"):
        read_scores(plan)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: "{}", "it lacks name"),
        (lambda text: "[]", "[] is no object"),
        (lambda text: text[:50], "line 1 column 51"),
        (lambda text: text.replace('"minutes": 3.0', '"minutes": "3"'), "minutes is 3"),
        (lambda text: text.replace('"rate": 65.0', '"rate": null'), "rate is None"),
        (lambda text: text.replace('"rate": 65.0', '"rate": NaN'), "NaN"),
        (lambda text: text.replace('"scores": [', '"scores": ["one", '), "one is no object"),
        (lambda text: text.replace('"split": "dev", ', ""), "it lacks split"),
        (lambda text: text.replace('"commit"', '"commt"'), "it lacks commit"),
        (lambda text: text.replace('"trained_by"', '"by"'), "it lacks trained_by"),
        (lambda text: text.replace('"settings": {', '"settings": "", "other": {'), "settings is"),
    ],
)
def test_damaged_scores_are_named(plan, damage, told):
    write_score(plan, "w_mpi_0.9_seed1", 65.0)
    file = plan.scores_file("w_mpi_0.9_seed1")
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_scores(plan)
    assert "seed1.json is damaged (" in str(error.value) and told in str(error.value)
    assert str(error.value).endswith("); remove it to score again")


def test_the_rounds_of_imp_are_fine_tunings(tmp_path):
    cells = [{"method": "dense"}, {"method": "imp", "sparsity": [0.5]}]
    result = {"title": "Rounds", "kind": "rates", "world": "w", "cells": cells}
    plan = made_plan(tmp_path, {**CONTENT, "results": {"rounds": result}})
    for name, told in (("dense", "1 of 7"), ("imp_0.5", "7 of 7")):
        write_score(plan, f"w_{name}_seed1", 40.0)
        report(plan.home)
        text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
        assert f"{told} fine-tunings were run" in text


def test_models_of_one_name_are_one_model(plan):
    # Scores that do not say which model it was stand beside both.
    name = "w_parp_0.9_seed1"
    write_score(plan, name, 65.0, model_sha256="a" * 64)
    write_score(plan, "w_mpi_0.9_seed1", 65.0, model_sha256="a" * 64)
    read_scores(plan)
    write_score(plan, name, 65.0, model_sha256="b" * 64)
    with pytest.raises(UserError, match=r"parp_0\.9_seed1\.json: its tiny is another file than"):
        read_scores(plan)


def test_cost_counts_what_is_shared_once(plan):
    rows = {line.split()[0]: line.split()[1:] for line in cost_table(plan).splitlines()}
    # OMP takes the dense ones; 9 scores of 3 minutes are there.
    assert rows["curve"][:2] == ["4", "4"]
    assert rows["four"][:2] == ["14", "6"]
    assert rows["all"][:2] == ["20", "11"]
    assert rows["all"][2] == f"{20 * 3 / 60:.1f}"


def test_estimates_of_the_papers_scale():
    world = World("w", "", "parp_10h", "d", "m", "v", ("t",), size="base", hours=10)
    assert (updates(world), audio_of_update(world)) == (20_000, 4 * 2 * 3_200_000 / 16_000)
    longer = replace(world, overrides=("task.labels=phn", "optimization.max_update=50"))
    assert updates(longer) == 50
    # 1,600 s an update: 80,000 frames, three passes of 2 operations a parameter, and the extractor.
    flops = 80_000 * 6 * 85e6 + 1_600 * 4.8e9
    assert gpu_hours(world) == pytest.approx(20_000 * flops / 8e12 / 3600)
    ten_minutes = World("w", "", "parp_10h", "d", "m", "v", ("t",), size="base", hours=1 / 6)
    assert audio_of_update(ten_minutes) == pytest.approx(600)
    imp = FineTuning(world, "imp", 0.9, 1)
    cost = cost_of([imp])
    assert cost.trainings == 10
    assert cost.hours == pytest.approx(10 * gpu_hours(world))
    assert cost.gigabytes == pytest.approx(3 * 12 * 94.4e6 / 1e9)
    # Of 12,000 updates every 500th from 2,000 on.
    (trail,) = [
        one for one in read_plan("paper").scored.values() if one.sparsity == 0.9 and one.trail
    ]
    assert cost_of([trail]).gigabytes == pytest.approx((3 + 21) * 12 * 94.4e6 / 1e9)
    assert gpu_memory(world) == pytest.approx((16 * 94.4e6 + 200 * 39e6) / 1e9)
    assert "nothing measured" in cost_table(read_plan("paper"))


def test_the_command_of_recorded_speech_asks_for_its_clones(tmp_path):
    world = {key: value for key, value in CONTENT["worlds"]["w"].items() if key != "speech"}
    worlds = {"w": {**world, "corpus": {"name": "mboshi"}}}
    plan = made_plan(tmp_path, {**CONTENT, "worlds": worlds})
    write_score(plan, "w_mpi_0.9_seed1", 60.0)
    report(plan.home)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "`snakemake -s examples/wav2vec/Snakefile -c 1 four --config corpora=DIR`" in text


def test_a_trail_that_lacks_an_update_is_told_of(plan):
    ft = next(one for one in plan.scored.values() if one.trail)
    folder = plan.work / commands.checkpoints(ft)
    folder.mkdir(parents=True)
    for update in (400, 500, 700, 800):
        (folder / f"checkpoint_3_{update}.pt").touch()
    with pytest.raises(UserError, match=r"keeps no checkpoint of update 600, which θ is scored at"):
        work._follow(plan, ft)
