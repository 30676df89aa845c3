import csv
import io
import json
import re

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


def test_the_forms_of_a_table(runs):
    table = table_of(runs)
    lines = table.render().splitlines()
    header = ["method", "sparsity", "WER valid", "WER test", "fine-tunings", "minutes"]
    assert re.split(r"  +", lines[0]) == header
    # Right-aligned columns end together.
    assert {len(line) for line in lines[:5]} == {len(lines[0])}
    dense = ["dense", "0%", "21.5 (21.0–22.0)", "23.5 (23.0–24.0)", "1", "2.0"]  # noqa: RUF001
    assert re.split(r"  +", lines[1]) == dense
    assert {"valid is dev-other", "decoded: checkpoint_last.pt"} <= set(lines)
    assert lines[-1].endswith("new: 10 of 40 updates")

    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["method"] for row in rows] == ["dense", "parp", "omp", "parp"]
    assert (float(rows[3]["wer_test-other"]), float(rows[3]["wer_test-other_high"])) == (45.0, 50.0)
    assert (rows[3]["seeds"], rows[2]["fine_tunings"]) == ("3", "2")


AUDIO = "the training set's audio"
SEEDS = ("es_seed1", "es_seed2", "fr_seed1")


@pytest.mark.parametrize(
    ("runs", "titles"),
    [
        # Other settings are never averaged, and named once.
        ([{}, {"lr": 0.001}], {"PARP (lr=[0.0005])": 1, "PARP (lr=[0.001])": 1}),
        (
            [{"updates": 400, "data": "/corpora/nl"}, {"updates": 800, "data": "/corpora/fr"}],
            {"PARP (max_update=400, data=nl)": 1, "PARP (max_update=800, data=fr)": 1},
        ),
        # Pruning options do not matter to dense runs.
        ([{"method": "dense"}, {"method": "dense", "sparsity": 0.0}], {"dense": 2}),
        # Masks that no run left count by their files, a seed aside.
        (
            [{"method": "mask", "mask": f"masks/{name}.pt"} for name in SEEDS],
            {"given mask (mask of es_seed1.pt)": 2, "given mask (mask of fr_seed1.pt)": 1},
        ),
        (
            [{"method": "mask", "mask": f"masks/{one}/m.pt"} for one in ("es", "fr")],
            {"given mask [run0]": 1, "given mask [run1]": 1},
        ),
        # Data count by their content: another under the same path, the same under other paths.
        (
            [{"contents": {AUDIO: digest, "model.w2v_path": "c"}} for digest in "aab"],
            {"PARP [run0]": 2, "PARP [run2]": 1},
        ),
        (
            [{"contents": {AUDIO: one}, "data": f"data{n}/nl"} for n, one in enumerate("aab")],
            {"PARP (data=data0/nl)": 2, "PARP (data=data2/nl)": 1},
        ),
        (
            [{"contents": {"the dictionary": digest}} for digest in "aab"],
            {"PARP [run0]": 2, "PARP [run2]": 1},
        ),
    ],
)
def test_runs_of_one_experiment_make_a_row_with_a_title_of_its_own(tmp_path, runs, titles):
    for seed, options in enumerate(runs):
        write_run(tmp_path / f"run{seed}", seed=seed, **options)
    assert {row.title: len(row.runs) for row in table_of(tmp_path).rows} == titles


def test_notes_and_titles_of_a_run_that_lacks_a_setting(tmp_path):
    for name, updates in (("a", 400), ("b", 800)):
        write_run(tmp_path / name, updates=updates)
    file = tmp_path / "b" / "checkpoints" / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["config"]["lr_scheduler"]
    file.write_text(json.dumps(record), encoding="utf-8")
    table = table_of(tmp_path)
    titles = [row.title for row in table.rows]
    assert len(set(titles)) == 2 and all("max_update=" in title for title in titles)
    assert table.notes[-1].startswith("rows also differ in optimization.max_update")


def test_a_report_replaces_a_report_only_and_that_with_force(runs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "table.csv").write_text("mine", encoding="utf-8")
    for force in (False, True):
        with pytest.raises(UserError, match=r"--out .*out holds table\.csv, and no report that"):
            make_report([runs], out, force=force)
    assert [file.read_text() for file in out.iterdir()] == ["mine"]
    (out / "table.csv").unlink()
    make_report([runs], out)
    made = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(UserError, match="holds a report; give another folder, or --force"):
        make_report([runs], out)
    # One that was cut off while its files were moved is one all the same.
    for name in set(made) - {"table.csv"}:
        (out / name).unlink()
    make_report([runs], out, force=True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == made
    # No figure of other runs stays.
    (out / "notes.txt").touch()
    write_run(tmp_path / "other" / "begun", done=10)
    make_report([tmp_path / "other"], out, force=True)
    assert not list(out.glob("*.png")) and (out / "notes.txt").is_file()


def test_what_only_some_runs_have(tmp_path):
    write_run(tmp_path / "a", wers=(90.0, 42.5), scores={"dev-other": 1.0, "test-clean": 2.0})
    write_run(tmp_path / "b", method="mpi", wers=(90.0, 52.5), post_process="none")
    table = table_of(tmp_path)
    assert table.header[2:4] == ("error rate valid", "error rate test")
    # One source for all rows, so that they compare.
    assert [cells[2:4] for cells in table.cells()] == [("52.5", "–"), ("42.5", "2.0")]  # noqa: RUF001
    assert "dev-other: as training logged it, not decoded again" in table.notes


def test_only_unfinished_runs(tmp_path):
    write_run(tmp_path / "a", done=10)
    table = make_report([tmp_path], tmp_path / "out")
    assert table.rows == () and not list((tmp_path / "out").glob("*.png"))
    assert table.render().splitlines() == [f"unfinished: {tmp_path / 'a'}: 10 of 40 updates"]


@pytest.mark.parametrize(
    ("method", "option", "name", "kind"),
    [
        ("omp", "mask", "checkpoint_last.pt", "mask"),
        ("mask", "mask", "mask.safetensors", "mask"),
        ("parp", "initial", "mask.safetensors", "mask"),
        ("parp", "finetune_from", "checkpoint_last.pt", "weights"),
    ],
)
def test_masks_and_first_weights_count_by_the_experiment_they_come_from(
    tmp_path, method, option, name, kind
):
    """es → nl and fr → nl are two experiments; seeds of es → nl are one."""
    for language in ("es", "fr"):
        for seed in (1, 2):
            source = tmp_path / f"{language}_{seed}"
            write_run(source, "parp", 0.5, seed, data=f"data/{language}")
            file = str(source / "checkpoints" / name)
            to = tmp_path / f"{language}_to_nl_{seed}"
            write_run(to, method, 0.9, seed, data="data/nl", **{option: file})
    rows = [row for row in table_of(tmp_path).rows if row.sparsity == 0.9]
    assert [[run.seed for run in row.runs] for row in rows] == [[1, 2], [1, 2]]
    titles = [row.title.split(" (")[1] for row in rows]
    assert titles == [f"{kind} of parp on es)", f"{kind} of parp on fr)"]


def test_runs_named_by_relative_and_absolute_paths(tmp_path, monkeypatch):
    for name, digest in (("here", "a"), ("there", "b")):
        write_run(tmp_path / name, contents={"the training set's audio": digest})
    monkeypatch.chdir(tmp_path)
    table = build_table(find_runs(["here", tmp_path / "there"]))
    assert [row.title for row in table.rows] == ["PARP [here]", "PARP [there]"]
