from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.errors import UserError
from parp_fairseq.report.tidy import (
    MaskPair,
    Score,
    format_options,
    parse_options,
    read_mask_pairs,
    read_scores,
    write_mask_pairs,
    write_scores,
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
KINDS = {"str": texts, "int": st.integers(), "float": numbers}
KINDS.update({f"{name} | None": st.none() | KINDS[name] for name in ("int", "float")})
fields = {name: KINDS[kind] for name, kind in Score.__annotations__.items()}
scores = st.lists(
    st.builds(Score, **fields),
    max_size=4,
    unique_by=lambda row: (row.run, row.split, row.checkpoint, row.weights),
)
VALUES = {"str": "a", "int": 1, "int | None": 1, "float": 0.5, "float | None": 0.5}
SCORE = Score(**{name: VALUES[kind] for name, kind in Score.__annotations__.items()})
PAIR = MaskPair("figure2", "tiny", 0.5, 10, "a", "b", 0.5, 0.5, 0.1 + 0.2, "abc")


@given(rows=scores)
def test_scores_come_back_as_they_were_to_the_last_digit(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("table") / "scores.csv"
    write_scores(file, rows)
    assert read_scores(file) == rows


def test_mask_pairs_come_back(tmp_path):
    write_mask_pairs(tmp_path / "masks.csv", [PAIR])
    assert read_mask_pairs(tmp_path / "masks.csv") == [PAIR]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]+", fullmatch=True),
        st.integers() | st.booleans() | st.just("linear") | st.lists(st.floats(0, 1), max_size=3),
    )
)
def test_options_come_back(options):
    assert parse_options(format_options(options)) == options


@pytest.mark.parametrize(
    ("options", "source", "run", "setting"),
    [
        ("", "", "a", "parp 0.5"),
        ("interval=5", "", "a", "parp 0.5 interval=5"),
        ("", "nl", "a", "parp 0.5 from nl"),
        ("", "fr-seed2", "a", "parp 0.5 from another seed"),
        ("", "", "a_trail", "parp 0.5 trail"),
    ],
)
def test_settings(options, source, run, setting):
    found = replace(SCORE, method="parp", options=options, source=source, setup="fr", run=run)
    assert found.setting == setting


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("rate_low,", ""), "the columns must be run,setup"),
        (lambda text: text.replace("run,setup", "setup,run"), "the columns must be run,setup"),
        (lambda text: text + text.splitlines()[1] + "\n", "duplicate row a, a, a, a"),
        (lambda text: text.replace(",0.5", ",nan", 1), "row a, a, a, a: a number is not finite"),
        (lambda text: text + "a,b\n", f"row 3: 2 cells instead of {len(fields)}"),
        (lambda text: text + '"open', "cannot be read as a table"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, change, message):
    file = tmp_path / "scores.csv"
    write_scores(file, [SCORE])
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_scores(file)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([replace(SCORE, rate=math.inf)], "a number is not finite"),
        ([SCORE, replace(SCORE, rate=1.0)], "duplicate row"),
    ],
)
def test_a_bad_row_leaves_the_table_as_it_was(tmp_path, rows, message):
    file = tmp_path / "scores.csv"
    with pytest.raises(UserError, match="no such table"):
        read_scores(file)
    write_scores(file, [SCORE])
    before = file.read_bytes()
    with pytest.raises(UserError, match=message):
        write_scores(file, rows)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
