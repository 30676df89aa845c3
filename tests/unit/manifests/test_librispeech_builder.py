from __future__ import annotations

import pytest
from small_corpora import write_chapter

from parp_fairseq.errors import UserError
from parp_fairseq.manifests import build_librispeech


def test_parts_and_parts_together(corpora):
    speech = corpora / "LibriSpeech"
    write_chapter(speech / "train-clean-100", 1, 2, 2)
    write_chapter(speech / "train-clean-360", 3, 4, 3)
    summary = build_librispeech(
        speech, ["train=train-clean-360+train-clean-100", "dev-other"], corpora / "out"
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
        build_librispeech(corpora, splits, corpora / "out")
    assert not (corpora / "out").exists()
