import csv
from pathlib import Path

import pytest
from test_score import PAIRS, score_of

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import score_files


def test_the_table_is_aligned_and_phones_have_no_cer():
    long = score_of([("A", "B")] * 1200, split="dev-other")
    lines = score_files.render_scores([score_of(PAIRS), long]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = lines[1].replace(", ", ":").split()
    assert cells[:4] == ["c.pt", "test", "WER", "66.67"]
    assert [*cells[5:11], cells[12]] == ["4", "6", "1", "1", "2", "66.67", "3"]
    assert cells[4][0] == "[" and cells[11][-1] == "]"
    assert "[100.00, 100.00]   1,200  1,200" in lines[2]
    assert "CER" not in score_files.render_scores([score_of(PAIRS, "PER")])


def test_transcripts(tmp_path):
    best = ["runs/a/ckpt/best.pt", Path("runs/b/ckpt/best.pt")]
    files = score_files.transcript_files("out", best, ["x", "y"])
    assert files["runs/a/ckpt/best.pt", "x"] == Path("out/a/ckpt/best.pt/x.tsv")
    assert len(set(files.values())) == 4
    (alone,) = score_files.transcript_files("out", ["runs/a/best.pt"], ["x"]).values()
    assert alone == Path("out/best.pt/x.tsv")
    score_files.write_transcripts(score_of(PAIRS), tmp_path / "new" / "test.tsv")
    with open(tmp_path / "new" / "test.tsv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(row["id"], row["reference"], row["hypothesis"]) for row in rows] == [
        (f"u{number}", *pair) for number, pair in enumerate(PAIRS)
    ]
    assert [rows[0][key] for key in ("substitutions", "insertions", "deletions")] == list("110")
    assert rows[0]["reference_units"] == "A B C"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["test.tsv"]


def test_outputs_are_checked_before_the_work(tmp_path):
    """Existing files and inputs are in tests/unit/cli/test_outputs.py."""

    def check(**outputs):
        named = {f"--{option}": files for option, files in outputs.items()}
        score_files.check_outputs(named, ["c.pt", "w.pt"], tmp_path, ["test"], force=True)

    check(json=[tmp_path / "new" / "a.json"])
    score_files.write_transcripts(score_of(PAIRS), tmp_path / "test.tsv")
    with pytest.raises(UserError, match="is also an input"):
        check(transcripts=[tmp_path / "test.tsv"])
    score_files.write_transcripts(score_of(PAIRS), tmp_path / "heard.tsv")
    check(transcripts=[tmp_path / "heard.tsv"])
    with pytest.raises(UserError, match="is not a file of scores"):
        check(json=[tmp_path / "heard.tsv"])
