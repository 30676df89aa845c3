"""Options that may be repeated or hold commas: both add up, the same in every command."""

from __future__ import annotations

import pytest

from parp_fairseq.cli.options import listed, listed_numbers
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import decode
from parp_fairseq.manifests.corpora import librilight, librispeech


@pytest.fixture
def given(monkeypatch):
    """What the two commands pass on."""
    passed = {}

    def build(*arguments, **options):
        passed.update(options, arguments=arguments)
        raise UserError("stopped here")

    monkeypatch.setattr(librilight, "build_librilight", build)
    monkeypatch.setattr(librispeech, "build_librispeech", build)
    return passed


@pytest.mark.parametrize(
    ("options", "sets", "folds"),
    [
        ("", ["10min", "1h", "10h"], [0]),
        ("--set 1h", ["1h"], [0]),
        ("--set 1h --set 10min --fold 3 --fold 0", ["1h", "10min"], [3, 0]),
        ("--set 1h,10min --fold 3,0", ["1h", "10min"], [3, 0]),
        ("--set 1h, --set 10min,10h --fold 1 --fold 2,5", ["1h", "10min", "10h"], [1, 2, 5]),
    ],
)
def test_sets_and_folds_of_librilight(parp, given, options, sets, folds):
    corpus = "manifest librilight --librilight a --librispeech b --out c"
    parp(*corpus.split(), *options.split())
    assert (given["sets"], given["folds"]) == (sets, folds)


def test_splits_of_librispeech(parp, given):
    options = "--split train=train-clean-100+train-clean-360,dev-other --split test-other"
    parp(*["manifest", "librispeech", "--librispeech", "b", "--out", "c"], *options.split())
    splits = given["splits"]
    assert splits == ["train=train-clean-100+train-clean-360", "dev-other", "test-other"]


def test_splits_of_eval(parp, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        decode, "evaluate_all", lambda *_, splits, **__: iter(asked.extend(splits) or ())
    )
    parp("eval", "c.pt", "--data", tmp_path, "--split", "a,b", "--split", "c", "--split", "d, e")
    assert asked == ["a", "b", "c", "d", "e"]


def test_what_is_no_number_is_named():
    assert listed([" a, b ", "", ",c"]) == ["a", "b", "c"]
    assert listed_numbers(["0, 3", "12"], "--fold") == [0, 3, 12]
    for bad in ("x", "-1", "1.5", "²"):
        with pytest.raises(UserError, match=f"--fold is '{bad}', expected whole numbers"):
            listed_numbers(["0", bad], "--fold")
