import shlex

import pytest
from small_corpora import lines_of

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels.labelling import make_units, write_labels
from parp_fairseq.manifests.split_names import is_training, kind_of
from parp_fairseq.manifests.summary import config_for, override


def test_letters_of_any_language_with_their_dictionary(tmp_path):
    splits = dict(train=["één  oog", "oog"], valid=["ja één"])
    write_labels(tmp_path, splits, make_units("letters"))
    assert lines_of(tmp_path / "train.ltr")[1] == "o o g |"
    assert lines_of(tmp_path / "valid.ltr") == ["j a | é é n |"]
    # By count in train, ties by symbol; what train lacks comes last.
    assert lines_of(tmp_path / "dict.ltr.txt") == ["o 4", "| 4", "g 2", "é 2", "n 1", "a 0", "j 0"]


def test_symbols_that_are_given(tmp_path):
    units = make_units("phones")
    write_labels(tmp_path, {"train": ["tʃ a", "a ɛ̃"], "test": ["ŋ"]}, units)
    assert lines_of(tmp_path / "dict.phn.txt") == ["a 2", "tʃ 1", "ɛ̃ 1", "ŋ 0"]
    assert "'<unk>' is fairseq's own" in units.objection("a <unk>")


@pytest.mark.parametrize(
    ("texts", "long"),
    [
        (["h-ə-l-oʊ w-ɜ-l-d", "s-i"], "h-ə-l-oʊ"),
        (["həloʊ wɜld", "s i"], "həloʊ"),
        (["good day children"], "good"),
        (["HH AH0 L OW1 sil", "epi s pau", "aeə t͡ɕʰʲ ts˥˩ ŋ"], ""),
        (["a b c d e f g h i j", "laugh"], ""),
    ],
)
def test_phones_that_are_not_separated(tmp_path, texts, long):
    units = make_units("phones")
    write_labels(tmp_path, {"train": texts}, units)
    assert [f"such as {long!r}: put spaces" in w for w in units.warnings()] == [True] * bool(long)


def test_a_text_that_espeak_says_nothing_for(tmp_path):
    pytest.importorskip("phonemizer")
    with pytest.raises(UserError, match="says nothing for the text '…'"):
        write_labels(tmp_path, {"train": ["goede morgen", "…"]}, make_units("phones", lang="nl"))


def test_a_language_of_letters():
    with pytest.raises(UserError, match="--lang goes with --units phones"):
        make_units("letters", lang="nl")


def test_kinds_of_splits():
    kinds = {"train-clean-100": "train", "dev_nl": "valid", "valid": "valid", "val": "valid"}
    kinds |= {"test-other": "test", "validated": "validated", "strain": "strain", "x": "x"}
    kinds |= {"training": "train", "Train2": "train", "validation": "valid"}
    assert {name: kind_of(name) for name in kinds} == kinds
    assert is_training("train") and not is_training("dev-train")


def test_the_config_of_the_nearest_amount_of_speech():
    configs = [config_for(hours) for hours in (0, 0.17, 0.5, 1, 5, 100)]
    assert configs == [f"parp_{size}" for size in ("10min", "10min", "1h", "1h", "10h", "10h")]


@pytest.mark.legacy
@pytest.mark.parametrize(
    "value", ["/data/a-b_c.d", "/a b/é", "dev,dev-nl", "it's", 'a"$x`!', "a=b"]
)
def test_overrides_survive_the_shell_and_hydra(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = shlex.split(override("task.data", value))
    parsed = OverridesParser.create().parse_override(word)
    assert (parsed.key_or_group, parsed.value()) == ("task.data", value)
