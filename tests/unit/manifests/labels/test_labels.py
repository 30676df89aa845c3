import shlex
import sys

import pytest
from small_corpora import lines_of

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels.labelling import make_units, write_labels
from parp_fairseq.manifests.split_names import is_training, kind_of
from parp_fairseq.manifests.summary import config_for, override

TRAIN = ["the quick brown fox", "jumps over it's lazy dog", "quick dogs jump", "the the the"] * 8


def joined(label):
    """What fairseq's post_process=sentencepiece makes of a line of pieces."""
    return label.replace(" ", "").replace("\u2581", " ").strip()


def test_letters_of_any_language_with_their_dictionary(tmp_path):
    splits = dict(train=["één  oog", "oog"], valid=["ja één"])
    write_labels(tmp_path, splits, make_units("letters"))
    assert lines_of(tmp_path / "train.ltr")[1] == "o o g |"
    assert lines_of(tmp_path / "valid.ltr") == ["j a | é é n |"]
    # By count in train, ties by symbol; what train lacks comes last.
    assert lines_of(tmp_path / "dict.ltr.txt") == ["o 4", "| 4", "g 2", "é 2", "n 1", "a 0", "j 0"]


def test_english_letters_keep_fairseqs_dictionary(tmp_path):
    splits = dict(train=["IT'S"])
    units = make_units("letters", english=True)
    write_labels(tmp_path, splits, units)
    assert len(read_dictionary(tmp_path / "dict.ltr.txt")) == 28
    assert "capitals" in units.objection("It") and "'4'" in units.objection("4")


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


@pytest.mark.legacy
def test_pieces_of_texts_that_are_all_short(tmp_path):
    pytest.importorskip("sentencepiece")
    splits = dict(train=["YES", "NO", "YES"])
    write_labels(tmp_path, splits, make_units("spm", vocab_size=7))
    assert [joined(line) for line in lines_of(tmp_path / "train.spm")] == ["YES", "NO", "YES"]


def test_pieces_join_to_the_texts_again(tmp_path):
    library = pytest.importorskip("sentencepiece")
    held_out = ["the lazy fox", "ÉÑ zebra?", "\uff21\u00bd … \u200bx"]
    splits = dict(train=TRAIN, valid=held_out)
    write_labels(tmp_path, splits, make_units("spm", vocab_size=31))
    assert [joined(line) for line in lines_of(tmp_path / "train.spm")] == TRAIN
    assert [joined(line) for line in lines_of(tmp_path / "valid.spm")] == held_out
    symbols = read_dictionary(tmp_path / "dict.spm.txt")
    written = {
        s for split in splits for line in lines_of(tmp_path / f"{split}.spm") for s in line.split()
    }
    assert written <= set(symbols)
    # The pieces but <unk>, then the characters that only the others hold.
    foreign = set("".join(held_out)) - set("".join(TRAIN)) - {" "}
    assert len(symbols) == 30 + len(foreign) and foreign <= set(symbols)
    counts = [int(line.split(" ")[1]) for line in lines_of(tmp_path / "dict.spm.txt")]
    assert counts == sorted(counts, reverse=True)
    saved = library.SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    assert saved.get_piece_size() == 31
    assert " ".join(saved.encode(TRAIN[0], out_type=str)) == lines_of(tmp_path / "train.spm")[0]


def test_pieces_come_from_training_alone_and_again_the_same(tmp_path):
    pytest.importorskip("sentencepiece")
    models = []
    for number, other in enumerate((["the fox"], ["zzzz yyyy"] * 50, ["the fox"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        splits = {"train-a": TRAIN[:3], "train-b": TRAIN[3:], "dev": other}
        write_labels(folder, splits, make_units("spm", vocab_size=31))
        models.append((folder / "spm.model").read_bytes())
    assert models[0] == models[1] == models[2]


def test_pieces_that_cannot_be_learnt(tmp_path, monkeypatch):
    pytest.importorskip("sentencepiece")
    splits = dict(train=TRAIN)
    with pytest.raises(UserError, match=r"--vocab-size is 5, but the training texts have \d+"):
        write_labels(tmp_path, splits, make_units("spm", vocab_size=5))
    with pytest.raises(UserError, match="learnt from training splits; name one train"):
        write_labels(tmp_path, {"test": ["a"]}, make_units("spm", vocab_size=9))
    assert "marks the starts of words" in make_units("spm", vocab_size=9).objection("a\u2581b")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match="pip install sentencepiece"):
        make_units("spm", vocab_size=9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": "letters", "vocab_size": 9}, "--vocab-size goes with --units spm"),
        ({"units": "letters", "lang": "nl"}, "--lang goes with --units phones"),
        ({"units": "spm", "vocab_size": 2**31 - 1}, "--vocab-size is 2147483647, expected 2 to"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(UserError, match=message):
        make_units(**options)


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
