import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.checkpoints.dictionary import read_dictionary
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels import labelling
from parp_fairseq.manifests.tsv import Manifest, Row, read_lines, read_tsv, write_tsv

REPOSITORY = Path(__file__).parents[3]


@given(st.lists(st.text("ABC'", min_size=1), min_size=1))
def test_letters_can_be_read_back(words):
    letters = labelling.to_letters(" ".join(words))
    assert letters.replace(" ", "").replace("|", " ").split() == words


def test_the_dictionary_that_ships_is_the_one_that_is_written():
    shipped = (REPOSITORY / "manifests" / "dict.ltr.txt").read_text(encoding="utf-8")
    assert shipped == "".join(f"{symbol} {count}\n" for symbol, count in labelling.ENGLISH_LETTERS)
    digest = "9307971fbd507665bea03e2c951e38fd57b23335df0559074bfef2908ffff099"
    assert hashlib.sha256(shipped.encode()).hexdigest() == digest
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ") == labelling.ENGLISH_CHARACTERS


def test_tsv_there_and_back(tmp_path):
    rows = (Row("a b/é 1.flac", 5), Row("/abs/ü.wav", 7))
    write_tsv(tmp_path / "x.tsv", Manifest("/root dir", rows))
    assert (tmp_path / "x.tsv").read_bytes().decode() == (
        "/root dir\na b/é 1.flac\t5\n/abs/ü.wav\t7\n"
    )
    assert read_tsv(tmp_path / "x.tsv") == Manifest("/root dir", rows)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_tsv, "\ufeff/r\na\t5\n", r"x row 1 .* byte order mark \(U\+FEFF\)"),
        (read_lines, "\ufeffA B |\n", r"x row 1 .* byte order mark"),
        (read_dictionary, "\ufeffA 5\n", r"x begins with a byte order mark \(U\+FEFF\)"),
        (read_dictionary, "A 5\nB  4\n", "row 2: expected one space .*, found 'B  4'"),
        (read_dictionary, "A 5\n B 4\n", "row 2: expected one space .*, found ' B 4'"),
        (read_dictionary, "A\u00a0 5\n", r"row 1: expected one space .*, found 'A\\xa0 5'"),
        (read_tsv, "/r\na \t5\n", r"row 2: expected 'path<TAB>samples', found 'a \\t5'"),
    ],
)
def test_what_nobody_sees_in_files_made_by_hand(tmp_path, read, text, message):
    (tmp_path / "x").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read(tmp_path / "x")


@pytest.mark.parametrize("path", ["a\tb.flac", "a\nb.flac", " a.flac"])
def test_paths_that_a_tsv_cannot_hold(tmp_path, path):
    with pytest.raises(UserError, match="cannot hold a path"):
        write_tsv(tmp_path / "x.tsv", Manifest("/r", (Row(path, 1),)))
    assert list(tmp_path.iterdir()) == []
