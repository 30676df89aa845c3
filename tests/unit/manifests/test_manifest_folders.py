"""What builders may write where, and what they leave of an earlier build."""

import json

import pytest
from small_corpora import snapshot, write_audio, write_lines

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.own_table import build_table
from parp_fairseq.manifests.output_folder import RECORD_FILE, manifests_into


def table(folder, name, splits):
    """A table with one row for each split."""
    rows = ["path\ttext\tsplit"]
    for number, split in enumerate(splits):
        write_audio(folder / f"{split}.flac", 16_000 + number)
        rows.append(f"{split}.flac\tE T\t{split}")
    return write_lines(folder / name, rows)


def write_one(stage, name="train.tsv"):
    write_lines(stage / name, ["/"])


def test_a_users_table_is_not_overwritten(tmp_path):
    own = table(tmp_path / "c", "train.tsv", ["train", "valid"])
    for force in (False, True):
        with pytest.raises(UserError, match=r"train\.tsv is also an input"):
            build_table(own, tmp_path / "c", force=force)
    other = table(tmp_path / "c", "mine.tsv", ["train", "valid"])
    before = snapshot(tmp_path)
    for force in (False, True):
        with pytest.raises(UserError, match=r"train\.tsv already exists and no builder"):
            build_table(other, tmp_path / "c", force=force)
    assert snapshot(tmp_path) == before


def test_a_table_may_lie_in_the_output_folder(tmp_path):
    build_table(table(tmp_path, "corpus.tsv", ["train", "valid"]), tmp_path)
    assert (tmp_path / "train.tsv").is_file()


def test_building_again_needs_force_and_leaves_no_old_split(tmp_path):
    first = table(tmp_path, "corpus.tsv", ["train", "valid", "test-old"])
    out = tmp_path / "out"
    build_table(first, out)
    write_lines(out / "notes.txt", ["mine"])
    second = table(tmp_path, "corpus.tsv", ["train", "valid"])
    with pytest.raises(UserError, match=r"out already holds manifests.*--force"):
        build_table(second, out)
    build_table(second, out, seed=7, force=True)
    names = {path.name for path in out.iterdir()}
    assert "test-old.tsv" not in names and "test-old.ltr" not in names
    assert {"train.tsv", "valid.tsv", "dict.ltr.txt", "notes.txt", RECORD_FILE} <= names
    record = json.loads((out / RECORD_FILE).read_text())
    assert record["builder"] == "parp manifest table"
    assert set(record["files"]) == names - {"notes.txt", RECORD_FILE}
    hours = round(16_000 / 16_000 / 3600, 4)
    assert record["splits"]["train"] == {"utterances": 1, "hours": hours}
    options = {"table": str(first), "units": "letters", "seed": 7, "convert": False}
    assert record["options"] == options


def test_a_file_that_came_since_is_not_overwritten(tmp_path):
    told = pytest.raises(UserError, match=r"extra\.tsv already exists and no builder")
    with told, manifests_into(tmp_path, "a test") as stage:
        write_one(stage, "extra.tsv")
        write_lines(tmp_path / "extra.tsv", ["mine"])
    assert (tmp_path / "extra.tsv").read_text() == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["extra.tsv"]


def test_what_another_builder_wrote_meanwhile_needs_force_too(tmp_path):
    told = pytest.raises(UserError, match="already holds manifests")
    with told, manifests_into(tmp_path, "the first") as stage:
        write_one(stage)
        with manifests_into(tmp_path, "the second") as other:
            write_one(other)
    assert json.loads((tmp_path / RECORD_FILE).read_text())["builder"] == "the second"


@pytest.mark.parametrize(
    ("first", "second"), [("audio/a.wav.flac", "a.wav"), ("elsewhere{}/b.wav", "../far/b.wav")]
)
def test_converting_does_not_replace_another_row(tmp_path, first, second):
    first = first.format(tmp_path / "far")
    for name, rate in ((first, 16_000 if "audio" in first else 8_000), (second, 8_000)):
        write_audio(tmp_path / "c" / name, 16_000, rate=rate)
    rows = ["path\ttext\tsplit", f"{first}\tE\ttrain", f"{second}\tE\tvalid"]
    write_lines(tmp_path / "c" / "t.tsv", rows)
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"t\.tsv row 3: .*\.wav\.flac, which is also an input"):
        build_table(tmp_path / "c" / "t.tsv", tmp_path / "c", convert=True)
    assert snapshot(tmp_path) == before


def test_a_damaged_or_hostile_record_is_refused(tmp_path):
    with manifests_into(tmp_path, "a test") as stage:
        write_one(stage)
    for text in ("{", "[]", '{"files": {"../../x": ""}}', '{"files": [3]}'):
        write_lines(tmp_path / RECORD_FILE, [text])
        told = pytest.raises(UserError, match="is not a record of manifests")
        with told, manifests_into(tmp_path, "a test", force=True) as stage:
            write_one(stage)


def test_two_builders_below_one_folder_do_not_undo_each_other(tmp_path):
    with pytest.raises(RuntimeError), manifests_into(tmp_path / "made" / "a", "a test") as stage:
        write_one(stage)
        with manifests_into(tmp_path / "made" / "b", "another") as other:
            write_one(other)
        raise RuntimeError
    assert (tmp_path / "made" / "b" / "train.tsv").is_file()
    assert not (tmp_path / "made" / "a").exists()


def test_rows_that_training_refuses_are_told(tmp_path):
    write_audio(tmp_path / "a.flac", 16_000)
    write_audio(tmp_path / "b.flac", 16_000)
    rows = ["path\ttext\tsplit", f"a.flac\t{'E ' * 200}\ttrain", "b.flac\tE\tvalid"]
    summary = build_table(write_lines(tmp_path / "t.tsv", rows), tmp_path / "out")
    (warning,) = summary.warnings
    assert "training refuses 1 rows of train" in warning and "CTC cannot align" in warning
    assert f"warning: {warning}" in summary.render()
