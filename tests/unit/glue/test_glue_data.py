from __future__ import annotations

import pytest

from parp_fairseq.errors import UserError
from parp_fairseq.glue.data import read_glue
from parp_fairseq.glue.tasks import TASKS, task_named

MRPC_HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def write(folder, name, *lines, end="\n"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def test_nine_tasks_by_any_spelling():
    assert len(TASKS) == 9
    assert task_named("STSB") is task_named("sts-b") is TASKS["sts-b"]
    with pytest.raises(UserError, match="did you mean mrpc"):
        task_named("mrcp")


def test_quotes_are_text_and_the_mark_at_the_beginning_is_none(tmp_path):
    write(tmp_path, "MRPC/train.tsv", MRPC_HEADER, '1\t7\t8\tHe said " so .\tSo " he said .')
    write(tmp_path, "MRPC/dev.tsv", MRPC_HEADER, "0\t1\t2\tA .\tB .", end="\r\n")
    data = read_glue(tmp_path, TASKS["mrpc"])
    (example,) = data.train
    assert (example.first, example.second, example.label) == (
        'He said " so .',
        'So " he said .',
        1,
    )
    assert data.dev[0].second == "B ."


def test_the_first_layout_of_mrpc_is_parted_by_its_ids(tmp_path):
    rows = [f"{n % 2}\t{n}\t{n + 100}\tleft {n}\tright {n}" for n in range(6)]
    write(tmp_path, "MRPC/msr_paraphrase_train.txt", MRPC_HEADER, *rows)
    write(tmp_path, "MRPC/dev_ids.tsv", "1\t101", "4\t104")
    data = read_glue(tmp_path, TASKS["mrpc"])
    assert [example.first for example in data.dev] == ["left 1", "left 4"]
    assert len(data.train) == 4
    write(tmp_path, "MRPC/dev_ids.tsv", "1\t101", "9\t109")
    with pytest.raises(UserError, match=r"names 2 pairs, of which .* holds 1"):
        read_glue(tmp_path, TASKS["mrpc"])


def test_cola_has_no_header_in_either_layout(tmp_path):
    line = "gj04\t{}\t*\tThey drank the pub dry."
    write(tmp_path, "CoLA/original/raw/in_domain_train.tsv", line.format(1), line.format(0))
    write(tmp_path, "CoLA/original/raw/in_domain_dev.tsv", line.format(1))
    write(tmp_path, "CoLA/original/raw/out_of_domain_dev.tsv", line.format(0))
    data = read_glue(tmp_path, TASKS["cola"])
    assert [example.label for example in data.train] == [1, 0]
    assert [example.label for example in data.dev] == [1, 0]
    assert data.train[0].second is None
    write(tmp_path, "CoLA/train.tsv", line.format(1))
    write(tmp_path, "CoLA/dev.tsv", line.format(0))
    assert len(read_glue(tmp_path, TASKS["cola"]).train) == 1


def test_regression_and_words_as_labels(tmp_path):
    for split in ("train", "dev"):
        write(tmp_path, f"STS-B/{split}.tsv", "index\tsentence1\tsentence2\tscore", "0\ta\tb\t3.25")
        write(
            tmp_path,
            f"RTE/{split}.tsv",
            "index\tsentence1\tsentence2\tlabel",
            "0\ta\tb\tnot_entailment",
        )
    assert read_glue(tmp_path, TASKS["sts-b"]).train[0].label == 3.25
    assert read_glue(tmp_path, TASKS["rte"]).train[0].label == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0\ta\tb", "row 2 has 3 columns, expected 4"),
        ("0\ta\tb\tmaybe", "row 2: the label is 'maybe', expected entailment or not_entailment"),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, message):
    header = "index\tsentence1\tsentence2\tlabel"
    write(tmp_path, "RTE/train.tsv", header, line)
    write(tmp_path, "RTE/dev.tsv", header, "0\ta\tb\tentailment")
    with pytest.raises(UserError, match=message):
        read_glue(tmp_path, TASKS["rte"])


def test_rows_of_qqp_that_a_line_end_cut_are_left_out(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    for split in ("train", "dev"):
        write(tmp_path, f"QQP/{split}.tsv", header, "0\t1\t2\tWhat", "is it?", "1\t3\t4\ta\tb\t1")
    (example,) = read_glue(tmp_path, TASKS["qqp"]).train
    assert (example.first, example.second, example.label) == ("a", "b", 1)


def test_missing_files_other_files_and_empty_ones_are_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_glue(tmp_path / "none", TASKS["rte"])
    with pytest.raises(UserError, match=r"RTE/train\.tsv: no such file"):
        read_glue(tmp_path, TASKS["rte"])
    for split in ("train", "dev"):
        write(tmp_path, f"RTE/{split}.tsv", "index\tsentence1\tsentence2")
    with pytest.raises(UserError, match="row 1: no column 'label'"):
        read_glue(tmp_path, TASKS["rte"])
    for split in ("train", "dev"):
        write(tmp_path, f"RTE/{split}.tsv", "index\tsentence1\tsentence2\tlabel")
    with pytest.raises(UserError, match="holds no example"):
        read_glue(tmp_path, TASKS["rte"])
    (tmp_path / "RTE" / "train.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8"):
        read_glue(tmp_path, TASKS["rte"])
