from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from test_score import PAIRS, score_of

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import score_files as output


def test_table_is_aligned():
    long = score_of([("A", "B")] * 1200, split="dev-other")
    lines = output.render_scores([score_of(PAIRS), long]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = lines[1].replace(", ", ":").split()
    assert cells[:4] == ["c.pt", "test", "WER", "66.67"]
    assert [*cells[5:11], cells[12]] == ["4", "6", "1", "1", "2", "66.67", "3"]
    assert cells[4][0] == "[" and cells[11][-1] == "]"
    assert "[100.00, 100.00]   1,200  1,200" in lines[2]


def test_table_of_phones_has_no_cer():
    assert "CER" not in output.render_scores([score_of(PAIRS, "PER")])
    mixed = output.render_scores([score_of(PAIRS, "PER"), score_of(PAIRS)]).splitlines()
    assert mixed[1].split()[-1] == mixed[2].split()[-1] == "3"


def test_json_and_csv_tell_the_same():
    scores = [score_of(PAIRS), score_of(PAIRS, "PER", checkpoint="a,b.pt")]
    told = json.loads(output.scores_as_json(scores))
    rows = list(csv.DictReader(io.StringIO(output.scores_as_csv(scores))))
    assert [list(row) for row in rows] == [list(score) for score in told]
    for score, row in zip(told, rows):
        assert row == {key: "" if value is None else str(value) for key, value in score.items()}
    assert rows[1]["checkpoint"] == "a,b.pt"


def test_transcripts_have_a_file_for_each_checkpoint_and_split():
    files = output.transcript_files(
        "out", ["runs/a/ckpt/best.pt", Path("runs/b/ckpt/best.pt")], ["x", "y"]
    )
    assert files["runs/a/ckpt/best.pt", "x"] == Path("out/a/ckpt/best.pt/x.tsv")
    assert len(set(files.values())) == 4
    assert output.transcript_files("out", ["runs/a/best.pt"], ["x"]) == {
        ("runs/a/best.pt", "x"): Path("out/best.pt/x.tsv")
    }


def test_transcripts_can_be_read_back(tmp_path):
    output.write_transcripts(score_of(PAIRS), tmp_path / "new" / "test.tsv")
    with open(tmp_path / "new" / "test.tsv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(row["id"], row["reference"], row["hypothesis"]) for row in rows] == [
        (f"u{number}", *pair) for number, pair in enumerate(PAIRS)
    ]
    assert [rows[0][key] for key in ("substitutions", "insertions", "deletions")] == list("110")
    assert rows[0]["reference_units"] == "A B C"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["test.tsv"]


def test_outputs_are_checked_before_the_work(tmp_path):
    def check(as_json=None, as_csv=None, transcripts=(), inputs=(), force=False):
        named = {"--json": as_json, "--csv": as_csv}
        outputs = {option: [file] for option, file in named.items() if file is not None}
        output.check_outputs({**outputs, "--transcripts": transcripts}, inputs, force)

    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"--json .* is a folder; give the name of a file of sco"):
        check(tmp_path)
    with pytest.raises(UserError, match=r"--transcripts .*/file/deep: .*/file is a file"):
        check(transcripts=[tmp_path / "file" / "deep"])
    check(tmp_path / "new" / "a.json", tmp_path / "a.csv", [tmp_path / "x" / "y.tsv"])
    scores = [score_of(PAIRS)]
    forms = (output.scores_as_json(scores), output.scores_as_csv(scores))
    for place, form in enumerate(forms):
        written = tmp_path / f"scores{place}"
        written.write_text(form)
        given = [None, None]
        given[place] = written
        check(*given, force=True)
        with pytest.raises(UserError, match="--force"):
            check(*given)
        with pytest.raises(UserError, match="is there and is not"):
            check(*reversed(given), force=True)
        with pytest.raises(UserError, match="is also an input"):
            check(*given, inputs=[written], force=True)
    output.write_transcripts(scores[0], tmp_path / "t.tsv")
    check(transcripts=[tmp_path / "t.tsv"], force=True)


def test_what_is_read_is_known(tmp_path):
    for name in ("test.tsv", "test.ltr", "dev.tsv", "dict.ltr.txt", "other.txt"):
        (tmp_path / name).write_text("")
    files = output.files_read(["c.pt"], tmp_path, ["test"], "w.pt")
    assert {path.name for path in files} == {"c.pt", "w.pt", "test.tsv", "test.ltr", "dict.ltr.txt"}
