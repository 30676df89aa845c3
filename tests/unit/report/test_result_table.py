from __future__ import annotations

import csv
import io
import json
import re
import shutil

import pytest
from made_runs import write_run

from parp_fairseq.errors import UserError
from parp_fairseq.report import make_report
from parp_fairseq.report.run_table import build_table
from parp_fairseq.report.statistics import Spread
from parp_fairseq.runs.reading import find_runs


def table_of(folder):
    return build_table(find_runs([folder]))


@pytest.fixture
def runs(tmp_path):
    for seed, (valid, test, minutes) in enumerate([(40, 44, 1.0), (46, 50, 2.0), (43, 41, 3.0)], 1):
        scores = {"dev-other": valid, "test-other": test}
        write_run(tmp_path / f"parp{seed}", seed=seed, scores=scores, minutes=minutes)
    for seed in (1, 2):
        scores = {"dev-other": 20.0 + seed, "test-other": 22.0 + seed}
        write_run(tmp_path / f"dense{seed}", "dense", 0.9, seed, scores=scores)
        mask = f"dense{seed}/checkpoints/checkpoint_last.pt"
        write_run(tmp_path / f"omp{seed}", "omp", 0.9, seed, scores=scores, mask=mask)
    write_run(tmp_path / "low", sparsity=0.1, scores={"dev-other": 25.0, "test-other": 26.0})
    write_run(tmp_path / "new", method="rp", done=10)
    return tmp_path


def test_spread_by_hand():
    assert Spread.over([3.0]) == Spread(3.0, 3.0, 3.0, 1)
    assert Spread.over([1.0, 2.0, 6.0]) == Spread(3.0, 1.0, 6.0, 3)
    assert Spread.over([]) is None
    assert Spread.over([1.0, None]) is None
    assert Spread.over([3.0]).shown() == "3.0"
    assert Spread.over([1.0, 2.0, 6.0]).shown() == "3.0 (1.0–6.0)"  # noqa: RUF001


def test_seeds_make_one_row_and_settings_another(runs):
    table = table_of(runs)
    assert [row.label for row in table.rows] == ["dense", "PARP 10%", "OMP 90%", "PARP 90%"]
    parp = table.rows[3]
    assert parp.rates["dev-other"] == Spread(43.0, 40.0, 46.0, 3)
    assert parp.rates["test-other"] == Spread(45.0, 41.0, 50.0, 3)
    assert (parp.minutes.mean, parp.fine_tunings) == (2.0, 1)
    omp = table.rows[2]
    assert omp.fine_tunings == 2
    assert omp.minutes.mean == 4.0
    assert table.rows[0].sparsity == 0
    assert [run.folder.name for run in table.unfinished] == ["new"]


def test_text(runs):
    lines = table_of(runs).render().splitlines()
    header = ["method", "sparsity", "WER valid", "WER test", "fine-tunings", "minutes"]
    assert re.split(r"  +", lines[0]) == header
    # Right-aligned columns end together.
    assert {len(line) for line in lines[:5]} == {len(lines[0])}
    dense = ["dense", "0%", "21.5 (21.0–22.0)", "23.5 (23.0–24.0)", "1", "2.0"]  # noqa: RUF001
    assert re.split(r"  +", lines[1]) == dense
    assert "valid is dev-other" in lines
    assert "decoded: checkpoint_last.pt" in lines
    assert lines[-1].endswith("new: 10 of 40 updates")


def test_markdown(runs):
    lines = table_of(runs).render("markdown").splitlines()
    assert lines[1].count("---:") == 5
    assert {line.count("|") for line in lines[:6]} == {7}
    assert lines[2].startswith("| dense | 0% | 21.5")


def test_csv(runs):
    rows = list(csv.DictReader(io.StringIO(table_of(runs).render("csv"))))
    assert [row["method"] for row in rows] == ["dense", "parp", "omp", "parp"]
    assert (float(rows[3]["wer_test-other"]), float(rows[3]["wer_test-other_high"])) == (45.0, 50.0)
    assert (rows[3]["seeds"], rows[2]["fine_tunings"]) == ("3", "2")


def test_json(runs):
    found = json.loads(table_of(runs).render("json"))
    assert found["rows"][3]["rates"]["test-other"]["mean"] == 45.0
    assert [run["seed"] for run in found["rows"][3]["runs"]] == [1, 2, 3]
    assert found["rows"][3]["runs"][1]["scores"] == {"dev-other": 46, "test-other": 50}
    assert found["unfinished"][0]["updates"] == 10


def test_runs_of_other_settings_are_never_averaged(tmp_path):
    write_run(tmp_path / "a", seed=1, wers=(40.0,))
    write_run(tmp_path / "b", seed=2, wers=(50.0,), lr=0.001)
    table = table_of(tmp_path)
    assert [row.title for row in table.rows] == ["PARP (lr=[0.0005])", "PARP (lr=[0.001])"]
    assert "rows also differ in optimization.lr" in table.notes


def test_titles_name_what_differs_once_and_paths_from_where_they_part(tmp_path):
    for name, updates in (("nl", 400), ("fr", 800)):
        write_run(tmp_path / name, updates=updates, data=f"/corpora/phones/{name}")
    titles = [row.title for row in table_of(tmp_path).rows]
    assert titles == ["PARP (max_update=400, data=nl)", "PARP (max_update=800, data=fr)"]


def test_a_run_may_lack_a_setting_that_others_have(tmp_path):
    for name, updates in (("a", 400), ("b", 800)):
        write_run(tmp_path / name, updates=updates)
    file = tmp_path / "b" / "checkpoints" / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["config"]["lr_scheduler"]
    file.write_text(json.dumps(record), encoding="utf-8")
    titles = [row.title for row in table_of(tmp_path).rows]
    assert len(set(titles)) == 2 and all("max_update=" in title for title in titles)


def test_a_report_replaces_nothing_but_a_report(runs, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "table.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"--out .*mine holds table\.csv, and no report that"):
        make_report([runs], out)
    assert [file.name for file in out.iterdir()] == ["table.csv"]
    (out / "table.csv").unlink()
    (out / "notes.txt").touch()
    for _ in range(2):
        make_report([runs], out)
    assert (out / "table.csv").read_text(encoding="utf-8").startswith("method,")


def test_a_report_that_was_cut_off_while_it_was_moved_is_resumed(runs, tmp_path):
    out, partial = tmp_path / "out", tmp_path / "out" / ".partial-x"
    make_report([runs], out)
    whole = {file.name: file.read_bytes() for file in out.iterdir()}
    for moved in (1, 3, 4):
        # Files are moved by name; report.json is the fourth.
        shutil.rmtree(out)
        partial.mkdir(parents=True)
        for number, (name, content) in enumerate(sorted(whole.items())):
            ((out if number < moved else partial) / name).write_bytes(content)
        make_report([runs], out)
        assert {name: (out / name).read_bytes() for name in whole} == whole
    # What another command left half written says nothing, nor what was not moved yet.
    shutil.rmtree(out)
    partial.mkdir(parents=True)
    (out / "table.csv").write_text("mine", encoding="utf-8")
    for name in ("model.safetensors", *sorted(whole)):
        (partial / name).write_bytes(whole.get(name, b"x"))
        for force in (False, True):
            with pytest.raises(UserError, match=r"holds table\.csv, and no report that"):
                make_report([runs], out, force=force)
    assert (out / "table.csv").read_text(encoding="utf-8") == "mine"


def test_a_report_that_was_changed_needs_force(runs, tmp_path):
    out = tmp_path / "out"
    make_report([runs], out)
    made = (out / "table.csv").read_text(encoding="utf-8")
    (out / "table.csv").write_text(f"{made}mine\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"holds table\.csv, which may have been changed.*--force"):
        make_report([runs], out)
    assert (out / "table.csv").read_text(encoding="utf-8") == f"{made}mine\n"
    make_report([runs], out, force=True)
    assert (out / "table.csv").read_text(encoding="utf-8") == made
    # One of before there were digests cannot tell.
    record = json.loads((out / "report.json").read_text(encoding="utf-8"))
    del record["files"]
    (out / "report.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="may have been changed"):
        make_report([runs], out)
    make_report([runs], out, force=True)
    make_report([runs], out)


def test_no_figure_of_other_runs_stays_in_a_report(runs, tmp_path):
    out = tmp_path / "out"
    make_report([runs], out)
    assert (out / "layers.png").is_file()
    write_run(tmp_path / "other" / "begun", done=10)
    for _ in range(2):
        make_report([tmp_path / "other"], out)
        assert not list(out.glob("*.png"))


def test_dense_runs_do_not_care_for_pruning_options(tmp_path):
    write_run(tmp_path / "a", "dense", 0.9, seed=1)
    write_run(tmp_path / "b", "dense", 0.0, seed=2)
    assert len(table_of(tmp_path).rows) == 1


def test_without_decoding_the_log_gives_the_errors(tmp_path):
    write_run(tmp_path / "a", wers=(90.0, 42.5), scores={"dev-other": 1.0})
    write_run(tmp_path / "b", method="mpi", wers=(90.0, 52.5))
    table = table_of(tmp_path)
    # One source for all rows, so that they compare.
    assert [row.rates["dev-other"].mean for row in table.rows] == [52.5, 42.5]
    assert "dev-other: as training logged it, not decoded again" in table.notes


def test_a_split_that_some_runs_lack_is_left_open(tmp_path):
    write_run(tmp_path / "a", scores={"dev-other": 1.0, "test-clean": 2.0, "test-other": 3.0})
    write_run(tmp_path / "b", method="mpi", scores={"dev-other": 4.0, "test-clean": 5.0})
    table = table_of(tmp_path)
    assert table.header[2:5] == ("WER valid", "WER test-clean", "WER test-other")
    assert table.cells()[0][2:5] == ("4.0", "5.0", "–")  # noqa: RUF001


def test_per(tmp_path):
    write_run(tmp_path / "a", post_process="none")
    assert table_of(tmp_path).header[2] == "PER valid"


def test_only_unfinished_runs(tmp_path):
    write_run(tmp_path / "a", done=10)
    report = make_report([tmp_path], tmp_path / "out")
    assert report.table.rows == ()
    assert report.pictures == ()
    assert report.render().splitlines() == [f"unfinished: {tmp_path / 'a'}: 10 of 40 updates"]
    assert "10 of 40 updates" in report.page.read_text()


def test_an_unknown_format_is_refused(runs):
    with pytest.raises(UserError, match="no format 'html'; choose from text, markdown"):
        make_report([runs]).render("html")


def test_masks_of_other_languages_are_no_seeds(tmp_path):
    """es → nl and fr → nl are two experiments; seeds of es → nl are one."""
    for language in ("es", "fr"):
        for seed in (1, 2):
            folder = tmp_path / f"{language}_seed{seed}"
            write_run(folder, "dense", 0.0, seed, data=f"data/{language}")
            mask = folder / "checkpoints" / "checkpoint_last.pt"
            write_run(
                tmp_path / f"{language}_to_nl_seed{seed}",
                "omp",
                0.9,
                seed,
                data="data/nl",
                mask=str(mask),
            )
    table = table_of(tmp_path)
    omp = [row for row in table.rows if row.method == "omp"]
    assert [len(row.runs) for row in omp] == [2, 2]
    assert {row.title for row in omp} == {"OMP (mask of dense on es)", "OMP (mask of dense on fr)"}


def test_masks_that_no_run_left_count_by_their_files(tmp_path):
    for name in ("es_seed1", "es_seed2", "fr_seed1"):
        mask = f"masks/{name}.safetensors"
        write_run(tmp_path / name, "mask", 0.9, int(name[-1]), mask=mask)
    assert sorted(len(row.runs) for row in table_of(tmp_path).rows) == [1, 2]


@pytest.mark.parametrize(
    ("method", "option", "name"),
    [
        ("parp", "finetune_from", "checkpoint_last.pt"),
        ("parp", "initial", "mask.safetensors"),
        ("mask", "mask", "mask.safetensors"),
    ],
)
def test_first_weights_and_masks_count_by_the_experiment_they_come_from(
    tmp_path, method, option, name
):
    for language in ("es", "fr"):
        for seed in (1, 2):
            source = tmp_path / f"{language}_{seed}"
            write_run(source, "parp", 0.5, seed, data=f"data/{language}")
            file = str(source / "checkpoints" / name)
            to = tmp_path / f"{language}_to_nl_{seed}"
            write_run(to, method, 0.9, seed, data="data/nl", **{option: file})
    rows = [row for row in table_of(tmp_path).rows if row.sparsity == 0.9]
    assert [[run.seed for run in row.runs] for row in rows] == [[1, 2], [1, 2]]
    assert [row.title.split(" (")[1].split(" of ")[1] for row in rows] == [
        "parp on es)",
        "parp on fr)",
    ]


def test_other_data_under_the_same_path_is_another_experiment_with_a_title_of_its_own(tmp_path):
    for seed, digest in ((1, "a"), (2, "a"), (3, "b")):
        contents = {"the training set's audio": digest, "model.w2v_path": "c"}
        write_run(tmp_path / f"run{seed}", seed=seed, contents=contents)
    rows = table_of(tmp_path).rows
    assert [(row.title, len(row.runs)) for row in rows] == [("PARP [run1]", 2), ("PARP [run3]", 1)]


def test_data_that_was_moved_is_the_same_data(tmp_path):
    for seed, digest in ((1, "a"), (2, "a"), (3, "b")):
        contents = {"the training set's audio": digest}
        write_run(tmp_path / f"run{seed}", seed=seed, contents=contents, data=f"data{seed}/nl")
    rows = table_of(tmp_path).rows
    assert [(row.title, [run.seed for run in row.runs]) for row in rows] == [
        ("PARP (data=data1/nl)", [1, 2]),
        ("PARP (data=data3/nl)", [3]),
    ]


def test_runs_named_by_relative_and_absolute_paths(tmp_path, monkeypatch):
    for name, digest in (("here", "a"), ("there", "b")):
        write_run(tmp_path / name, contents={"the training set's audio": digest})
    monkeypatch.chdir(tmp_path)
    table = build_table(find_runs(["here", tmp_path / "there"]))
    assert [row.title for row in table.rows] == ["PARP [here]", "PARP [there]"]


def test_masks_of_one_name_in_other_folders_have_their_own_titles(tmp_path):
    for language in ("es", "fr"):
        mask = f"masks/{language}/mask.safetensors"
        write_run(tmp_path / language, "mask", 0.9, mask=mask)
    titles = [row.title for row in table_of(tmp_path).rows]
    assert len(set(titles)) == 2
    assert titles[0] == "given mask [es]"
