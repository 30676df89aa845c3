import os
from collections import Counter

import pytest
from small_corpora import lines_of, write_lines, write_split

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.joint import build_joint


@pytest.fixture
def languages(tmp_path):
    """nl: four training rows, fr: one; dev and test of two rows each."""
    for name, train, symbols in (
        ("nl", ["a b", "a x", "a a b", "b"], ["a 4", "b 3", "x 1"]),
        ("fr", ["b ʒ"], ["b 1", "ʒ 1", "ɲ 0"]),
    ):
        folder = tmp_path / name
        write_split(folder, "train", train, texts=[f"{name} {n}" for n in range(len(train))])
        write_split(folder, "dev", ["a b", "b"] if name == "nl" else ["ɲ", "b"])
        write_split(folder, "test", ["b a", "b"] if name == "nl" else ["ʒ", "b"])
        write_lines(folder / "dict.phn.txt", symbols)
    return tmp_path


def build(languages, *folders, **options):
    folders = folders or (str(languages / "nl"), str(languages / "fr"))
    return build_joint(folders, languages / "all", **options, force=True)


def rows_of(folder, split):
    """Absolute paths and lengths."""
    root, *rows = lines_of(folder / f"{split}.tsv")
    fields = [row.split("\t") for row in rows]
    return [(os.path.join(root, path), int(frames)) for path, frames in fields]


@pytest.mark.legacy
def test_training_is_one_after_another_and_the_rest_is_kept_apart(languages):
    summary = build(languages)
    out = languages / "all"
    names = ["train", "dev", "dev-nl", "dev-fr", "test-nl", "test-fr"]
    assert sorted(p.name for p in out.glob("*.tsv")) == sorted(f"{name}.tsv" for name in names)
    apart = [rows_of(languages / name, "train") for name in ("nl", "fr")]
    assert rows_of(out, "train") == apart[0] + apart[1]
    assert lines_of(out / "train.phn") == ["a b", "a x", "a a b", "b", "b ʒ"]
    assert lines_of(out / "train.wrd") == ["nl 0", "nl 1", "nl 2", "nl 3", "fr 0"]
    assert not (out / "dev.wrd").exists()
    assert all(row.startswith("/") for row in lines_of(out / "train.tsv")[1:])
    for split in ("dev", "test"):
        for name in ("nl", "fr"):
            assert rows_of(out, f"{split}-{name}") == rows_of(languages / name, split)
            there = lines_of(languages / name / f"{split}.phn")
            assert lines_of(out / f"{split}-{name}.phn") == there
    assert lines_of(out / "dev.phn") == ["a b", "b", "ɲ", "b"]
    counts = Counter(" ".join(lines_of(out / "train.phn")).split())
    counts["ɲ"] = 0
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert lines_of(out / "dict.phn.txt") == [f"{s} {n}" for s, n in expected]
    text = summary.render()
    assert "task.labels=phn criterion.post_process=none dataset.valid_subset=dev" in text
    assert "to see each language: \"dataset.valid_subset='dev,dev-nl,dev-fr'\"" in text
    assert "note: fr: 1 utterances, 0.00 hours, 20.0% of train" in text


def test_names_and_labels_can_be_given(languages):
    os.rename(languages / "nl", languages / "one")
    (languages / "one" / "dict.ltr.txt").write_text("a 1\n", encoding="utf-8")
    (languages / "fr" / "dict.ltr.txt").write_text("a 1\n", encoding="utf-8")
    given = (f"nl={languages / 'one'}", str(languages / "fr"))
    with pytest.raises(UserError, match=r"one has ltr and phn, .*fr has .*with --labels"):
        build(languages, *given)
    build(languages, *given, labels="phn")
    assert (languages / "all" / "dev-nl.phn").is_file()


def test_bad_input_is_one_line_and_nothing_is_written(languages):
    nl, fr = languages / "nl", languages / "fr"

    def refused(message, *folders, **options):
        with pytest.raises(UserError, match=message) as caught:
            build(languages, *folders, **options)
        assert "\n" not in str(caught.value)
        assert not (languages / "all").exists()

    refused(r"two folders are called nl", str(nl), f"{nl}/.")
    refused(r"'a b' is not only letters", f"a b={nl}", str(fr))
    (fr / "dict.phn.txt").rename(fr / "dict.ltr.txt")
    refused(r"no one kind of labels.*nl has phn, .*fr has ltr")
    write_lines(fr / "dict.phn.txt", ["b 1", "ʒ 1"])
    write_lines(fr / "train.wrd", ["one", "two"])
    refused(r"train\.wrd has 2 lines but .*train\.tsv lists 1", labels="phn")
    (fr / "train.wrd").unlink()
    (fr / "test.tsv").unlink()
    refused(r"fr/test\.tsv: no such manifest", labels="phn")
    for folder in (nl, fr):
        (folder / "dict.phn.txt").rename(folder / "dict.spm.txt")
    (fr / "dict.ltr.txt").unlink()
    refused(r"labels spm cannot be joined")


def test_a_split_cannot_be_written_twice(languages):
    for name in ("nl", "fr"):
        write_split(languages / name, "dev-fr", ["b"])
    with pytest.raises(UserError, match=r"the split dev-fr would be written twice"):
        build(languages)
