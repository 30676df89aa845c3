from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.labels import units
from parp_fairseq.manifests.tsv import Manifest, Row, read_tsv, write_tsv

REPOSITORY = Path(__file__).parents[3]


def test_letters():
    assert units.to_letters("HELLO WORLD") == "H E L L O | W O R L D |"
    assert units.to_letters("IT'S") == "I T ' S |"


@given(st.lists(st.text("ABC'", min_size=1), min_size=1))
def test_letters_can_be_read_back(words):
    letters = units.to_letters(" ".join(words))
    assert letters.replace(" ", "").replace("|", " ").split() == words


def test_the_dictionary_that_ships_is_the_one_that_is_written():
    shipped = (REPOSITORY / "manifests" / "dict.ltr.txt").read_text(encoding="utf-8")
    assert shipped == "".join(f"{symbol} {count}\n" for symbol, count in units.ENGLISH_LETTERS)
    digest = "9307971fbd507665bea03e2c951e38fd57b23335df0559074bfef2908ffff099"
    assert hashlib.sha256(shipped.encode()).hexdigest() == digest
    assert frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ") == units.ENGLISH_CHARACTERS


def test_tsv_there_and_back(tmp_path):
    rows = (Row("a b/é 1.flac", 5), Row("/abs/ü.wav", 7))
    write_tsv(tmp_path / "x.tsv", Manifest("/root dir", rows))
    assert (tmp_path / "x.tsv").read_bytes().decode() == (
        "/root dir\na b/é 1.flac\t5\n/abs/ü.wav\t7\n"
    )
    assert read_tsv(tmp_path / "x.tsv") == Manifest("/root dir", rows)


@pytest.mark.parametrize("path", ["a\tb.flac", "a\nb.flac", " a.flac"])
def test_paths_that_a_tsv_cannot_hold(tmp_path, path):
    with pytest.raises(UserError, match="cannot hold a path"):
        write_tsv(tmp_path / "x.tsv", Manifest("/r", (Row(path, 1),)))
    assert list(tmp_path.iterdir()) == []
