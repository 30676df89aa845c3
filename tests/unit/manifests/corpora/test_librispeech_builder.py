from __future__ import annotations

import pytest
from small_corpora import write_chapter

from parp_fairseq.errors import UserError
from parp_fairseq.manifests import (
    build_librilight,
    build_librispeech,
    check_manifest,
)
from parp_fairseq.manifests.corpora import librispeech


def test_parts_and_parts_together(corpora):
    speech = corpora / "LibriSpeech"
    write_chapter(speech / "train-clean-100", 1, 2, 2)
    write_chapter(speech / "train-clean-360", 3, 4, 3)
    summary = build_librispeech(
        speech, ["train=train-clean-360+train-clean-100", "dev-other"], corpora / "out", force=True
    )
    assert [(s.split, s.utterances) for s in summary.splits] == [("train", 5), ("dev-other", 3)]
    train = (corpora / "out" / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert train[0] == str(speech.resolve())
    assert [line.split("/")[0] for line in train[1:]] == ["train-clean-100"] * 2 + [
        "train-clean-360"
    ] * 3
    dev = (corpora / "out" / "dev-other.tsv").read_text(encoding="utf-8").splitlines()
    assert dev[0] == str((speech / "dev-other").resolve())
    assert (corpora / "out" / "dict.ltr.txt").is_file()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([], "no splits given"),
        (["train-clean-999"], r"train-clean-999: no such folder"),
        (["dev-other", "dev-other"], "given twice"),
        (["train="], "is not understood"),
        (["a/b=dev-other"], "is not understood"),
        (["train=dev-other+dev-other"], "also stands in"),
    ],
)
def test_bad_splits(corpora, splits, message):
    with pytest.raises(UserError, match=message):
        build_librispeech(corpora, splits, corpora / "out", force=True)
    assert not (corpora / "out").exists()


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_rows_are_sorted_as_text_and_memory_is_bounded(corpora, monkeypatch):
    speech = corpora / "LibriSpeech"
    # As text `train-a-b/…` comes before `train-a/…`, and `1/10/…` before `1/9/…`.
    for part, chapters in {"train-a": (9, 10, 100), "train-a-b": (9,)}.items():
        for chapter in chapters:
            write_chapter(speech / part, 1 + len(part), chapter, 3)
    write_chapter(speech / "train-a" / "x", 40, 1, 2)
    write_chapter(speech / "train-a" / "x-y", 41, 1, 2)
    build_librispeech(speech, ["train=train-a+train-a-b", "dev-other"], corpora / "out", force=True)
    rows = lines_of(corpora / "out" / "train.tsv")[1:]
    assert len(rows) == 16 and rows == sorted(rows) and rows[0].startswith("train-a-b/")
    whole = {p.name: p.read_bytes() for p in (corpora / "out").iterdir()}
    held = []
    read = librispeech.HeaderReader.__call__
    monkeypatch.setattr(librispeech, "_BATCH", 4)
    monkeypatch.setattr(
        librispeech.HeaderReader,
        "__call__",
        lambda s, paths: held.append(len(paths)) or read(s, paths),
    )
    build_librispeech(speech, ["train=train-a+train-a-b", "dev-other"], corpora / "out", force=True)
    assert {p.name: p.read_bytes() for p in (corpora / "out").iterdir()} == whole
    assert max(held) <= 6 and sum(held) == 19


def test_pieces_of_each_folders_own_training_set(corpora):
    pytest.importorskip("sentencepiece")
    for fold in (0, 1):
        fold_folder = corpora / "librispeech_finetuning" / "1h" / str(fold)
        write_chapter(fold_folder / "clean", 90 + fold, 900, 30)
    summary = build_librilight(
        corpora,
        corpora,
        corpora / "out",
        sets=["10min", "1h"],
        units="spm",
        vocab_size=28,
        force=True,
    )
    for folder in ("10min", "1h"):
        out = corpora / "out" / folder
        assert not (out / "train.ltr").exists() and (out / "spm.model").is_file()
        for split in ("train", "dev-other", "test-clean"):
            labels = [line.replace(" ", "") for line in lines_of(out / f"{split}.spm")]
            assert [line.replace("\u2581", " ").strip() for line in labels] == lines_of(
                out / f"{split}.wrd"
            )
        check_manifest(out, "train", "spm")
    models = [(corpora / "out" / f / "spm.model").read_bytes() for f in ("10min", "1h")]
    assert models[0] != models[1]
    assert "task.labels=spm criterion.post_process=sentencepiece" in summary.overrides[0]
    assert "dataset.valid_subset=dev-other" in summary.overrides[1]


def test_units_are_refused_before_anything_is_read(corpora):
    with pytest.raises(UserError, match="needs --vocab-size"):
        build_librispeech(corpora, ["dev-other"], corpora / "out", units="spm", force=True)
    with pytest.raises(UserError, match="name one train"):
        build_librispeech(
            corpora, ["dev-other"], corpora / "out", units="spm", vocab_size=9, force=True
        )
    assert not (corpora / "out").exists()


def test_phones_of_librispeech(corpora):
    pytest.importorskip("phonemizer")
    build_librispeech(corpora, ["train=dev-other"], corpora / "out", units="phones", force=True)
    assert len(lines_of(corpora / "out" / "train.phn")) == 3
    check_manifest(corpora / "out", "train", "phn")
