from __future__ import annotations

import math
import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_corpora import lines_of, snapshot, write_lines, write_split

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.joint import build_joint, repeated, repeats_for


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
    assert "task.labels=phn criterion.post_process=none dataset.valid_subset=dev " in text
    assert "to see each language: \"dataset.valid_subset='dev,dev-nl,dev-fr'\"" in text
    assert "note: fr: 1 utterances, 0.00 hours; repeated 1.00 times, 20.0% of train" in text


def test_the_small_language_is_repeated(languages):
    summary = build(languages, temperature=math.inf)
    rows = rows_of(languages / "all", "train")
    counts = Counter(path for path, _ in rows)
    assert sorted(counts.values()) == [1, 1, 1, 1, 4]
    assert lines_of(languages / "all" / "train.phn") == ["a b", "a x", "a a b", "b"] + ["b ʒ"] * 4
    assert "nl: 4 utterances, 0.00 hours; repeated 1.00 times, 50.0% of train" in summary.notes
    assert "fr: 1 utterances, 0.00 hours; repeated 4.00 times, 50.0% of train" in summary.notes
    # Held-out rows are never repeated.
    assert len(rows_of(languages / "all", "dev")) == 4
    first = snapshot(languages / "all")
    build(languages, temperature=math.inf)
    assert snapshot(languages / "all") == first


@given(
    st.lists(st.integers(1, 10**9), min_size=2, max_size=10), st.floats(1, 50) | st.just(math.inf)
)
def test_repeats_give_the_documented_shares(sizes, temperature):
    repeats = repeats_for(sizes, temperature)
    total = sum(sizes)
    wanted = [(size / total) ** (1 / temperature) for size in sizes]
    heard = [size * often for size, often in zip(sizes, repeats)]
    for share, want in zip(heard, wanted):
        assert share / sum(heard) == pytest.approx(want / sum(wanted), rel=1e-6)
    assert min(repeats) == pytest.approx(1)


@given(st.integers(1, 60), st.floats(1, 9))
def test_repeated_rows_are_even(count, often):
    rows = list(repeated(count, often))
    assert len(rows) == round(count * often)
    times = Counter(rows)
    assert set(times) == set(range(count)) and max(times.values()) - min(times.values()) <= 1
    assert list(repeated(count, 1)) == list(range(count))
    assert list(repeated(10, 2.3)) == [*range(10), *range(10), 0, 3, 6]


def test_names_and_labels_can_be_given(languages):
    os.rename(languages / "nl", languages / "one")
    (languages / "one" / "dict.ltr.txt").write_text("a 1\n", encoding="utf-8")
    (languages / "fr" / "dict.ltr.txt").write_text("a 1\n", encoding="utf-8")
    given = (f"nl={languages / 'one'}", str(languages / "fr"))
    with pytest.raises(UserError, match=r"all languages have ltr and phn; choose with --labels"):
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
    refused(r"--temperature must be at least 1 \(got nan;", temperature=math.nan)
    (fr / "dict.phn.txt").rename(fr / "dict.ltr.txt")
    refused(r"differ in their labels: nl has phn, fr has ltr")
    write_lines(fr / "dict.phn.txt", ["b 1", "ʒ 1"])
    write_lines(fr / "train.wrd", ["one", "two"])
    refused(r"train\.wrd has 2 lines but .*train\.tsv lists 1", labels="phn")
    (fr / "test.tsv").unlink()
    refused(r"fr has no test\.tsv", labels="phn")
    for folder in (nl, fr):
        (folder / "dict.phn.txt").rename(folder / "dict.spm.txt")
    (fr / "dict.ltr.txt").unlink()
    refused(r"pieces of a model of its own")


def test_a_split_cannot_be_written_twice(languages):
    for name in ("nl", "fr"):
        write_split(languages / name, "dev-fr", ["b"])
    with pytest.raises(UserError, match=r"the split dev-fr would be written twice"):
        build(languages)
