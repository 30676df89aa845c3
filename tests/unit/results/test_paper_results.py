"""The committed results: RESULTS.md and every table follow from the tidy tables."""

import csv
import shutil
from dataclasses import replace

import analysis
import pytest
import yaml
from paper_tables import HERE, Results, tables_of

from parp_fairseq.report.statistics import CONTRADICTED, SUPPORTED, Estimate


@pytest.fixture(scope="module")
def results():
    return Results()


@pytest.fixture(scope="module")
def page():
    return yaml.safe_load((HERE / "questions.yaml").read_text(encoding="utf-8"))


def test_results_md_follows_from_the_tables_byte_for_byte(results, page):
    committed = (HERE / "RESULTS.md").read_text(encoding="utf-8")
    assert analysis.results_page(results, page) == committed
    assert len(committed.encode()) <= 25_000
    for question in page["questions"]:
        assert (HERE / "figures" / f"{question['figure']['file']}.png").is_file()


def test_every_target_has_its_tables(results):
    for name in results.targets:
        tables = tables_of(results, name)
        assert tables and all(table.rows for table in tables), name
        for table in tables:
            assert {len(row) for row in table.rows} == {len(table.header)}


def test_a_table_by_hand(results, capsys):
    """Mean, t-interval and count of three runs, from scores.csv read with csv only."""
    with (HERE / "results" / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [f"english_omp_0.9_seed{seed}" for seed in (1, 2, 3)]
    rates = [
        float(row["rate"]) for row in rows if row["run"] in names and row["split"] == "test-clean"
    ]
    assert analysis.main(["--table", "figure3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    (omp,) = [dict(zip(rows[0], row)) for row in rows if row[0] == "OMP 90%"]
    assert omp["WER test-clean"] == Estimate.of(rates).shown()
    assert (omp["seeds"], omp["fine-tunings"]) == ("3", "2")


def test_reach_and_real_model_by_hand(results, page):
    """From scores.csv read with csv only, and from masks that are sets."""
    with (HERE / "results" / "scores.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["run"]: row for row in csv.DictReader(stream) if row["split"] == "dev"}
    reach = page["questions"][0]
    setup = "whisper-mboshi-warm"
    parp, mpi, dense, omp = (
        [float(rows[f"{setup}_{run}_seed{seed}"]["rate"]) for seed in (1, 2)]
        for run in ("parp_0.7", "mpi_0.7", "dense", "omp_0.7")
    )
    found = [
        (one.seed, one.difference, one.regrown, one.reach)
        for one in analysis.regrowths(results, reach)
        if (one.runs.setup, one.runs.first.sparsity, one.runs.interval) == (setup, 0.7, "25")
    ]
    threshold = float(rows[f"{setup}_parp_0.7_seed1"]["reach"])
    assert sorted(found) == [(n + 1, parp[n] - mpi[n], 0.0, threshold) for n in (0, 1)]
    # Of 10 entries kept 3 have regrown: 7 of 13 are in both masks.
    first, last = set(range(10)), set(range(3, 13))
    iou = len(first & last) / len(first | last)
    score = replace(results.groups([f"{setup}_parp_0.7_seed1"])[0].first, mask_iou=iou)
    assert analysis.share_regrown(score) == pytest.approx(len(last - first) / len(last))
    table = analysis.results_page(results, page)
    more = sum(omp) / 2 - sum(dense) / 2
    assert f"| OMP 70% | {omp[0]:.1f}, {omp[1]:.1f} PER | {more:+.1f} |" in table


def test_a_run_or_target_that_is_not_there_is_named(tmp_path, capsys):
    for name in ("claims.yaml", "grids/small.yaml", "results/scores.csv", "results/masks.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(HERE / name, tmp_path / name)
    file = tmp_path / "results" / "scores.csv"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("english_rp_0.9_seed2,")]
    file.write_text("".join(kept), encoding="utf-8")
    for table, message in {
        "sanity_check": "scores.csv has no run 'english_rp_0.9_seed2'",
        "figure9": "no target 'figure9'; choose from sanity_check",
    }.items():
        assert analysis.main(["--table", table], tmp_path) == 2
        assert message in capsys.readouterr().err


def test_a_claim_on_masks_is_about_the_lowest_iou(results):
    claim = {"masks": ["omp 0.5", "mpi 0.5"], "paper": "holds"}
    found = [
        pair.iou
        for pair in results.masks
        if pair.comparison == "figure2" and "_mpi_0.5_" in pair.one + pair.other
        if "_omp_0.5_" in pair.one + pair.other
    ]
    lowest = min(found)
    assert len(found) > 2 and max(found) > lowest
    for bound, verdict in ((lowest - 1e-6, SUPPORTED), (lowest, CONTRADICTED)):
        (outcome,) = analysis.judge(results, "figure2", {**claim, "above": bound})
        assert (outcome.verdict, outcome.shown) == (verdict, f"lowest {lowest:.4f}")


def test_one_seed_never_survives_the_correction(results):
    claims = analysis.paper_claims(results)
    assert not any(claim.survives for claim in claims if claim.one_seed)
    assert all(claim.survives for claim in claims if claim.difference is None)
    kept = [claim for claim in claims if claim.survives and claim.difference]
    assert kept and all(claim.difference.p < 0.05 for claim in kept)
    # Fewer claims survive than hold by themselves.
    for verdict in (SUPPORTED, CONTRADICTED):
        raw = analysis.counted(claims)[verdict]
        assert raw > analysis.counted(claims, corrected=True)[verdict]


def test_figures_are_drawn(results, page, tmp_path):
    pytest.importorskip("matplotlib")
    analysis.draw_figures(results, page["questions"], tmp_path)
    files = {f"{question['figure']['file']}.png" for question in page["questions"]}
    assert {file.name for file in tmp_path.iterdir()} == files
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())
