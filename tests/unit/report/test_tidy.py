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
    read_table,
    write_table,
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
KINDS = {"str": texts, "int": st.integers(), "float": numbers}
KINDS.update({f"{name} | None": st.none() | KINDS[name] for name in ("int", "float")})
VALUES = {"str": "a", "int": 1, "int | None": 1, "float": 0.5, "float | None": 0.5}
SCORE = Score(**{name: VALUES[kind] for name, kind in Score.__annotations__.items()})


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (Score, ("run", "split", "checkpoint", "weights")),
        (MaskPair, ("comparison", "sparsity", "one", "other")),
    ],
)
@given(data=st.data())
def test_rows_come_back_as_they_were_to_the_last_digit(tmp_path_factory, kind, key, data):
    fields = {name: KINDS[of] for name, of in kind.__annotations__.items()}
    unique = {"unique_by": lambda row: tuple(getattr(row, name) for name in key)}
    rows = data.draw(st.lists(st.builds(kind, **fields), max_size=4, **unique))
    file = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(file, kind, rows)
    assert read_table(file, kind) == rows


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]+", fullmatch=True),
        st.integers() | st.booleans() | st.just("linear") | st.lists(st.floats(0, 1), max_size=3),
    )
)
def test_options_come_back(options):
    assert parse_options(format_options(options)) == options


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("run,setup", "setup,run"), "the columns must be run,setup"),
        (lambda text: text + text.splitlines()[1] + "\n", "duplicate row a, 0.5, a, a, a"),
        (lambda text: text.replace(",0.5", ",nan", 1), "row a, nan, a, a, a: a number is not"),
        (lambda text: text.replace(",0.5", ",x", 1), "row 2: .*'x'"),
        (lambda text: text + "a,b\n", "row 3: 2 cells instead of"),
        (lambda text: text + '"open', "cannot be read as a table"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, change, message):
    file = tmp_path / "scores.csv"
    with pytest.raises(UserError, match="no such table"):
        read_table(file, Score)
    write_table(file, Score, [SCORE])
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_table(file, Score)


def test_a_bad_row_leaves_the_table_as_it_was(tmp_path):
    file = tmp_path / "scores.csv"
    write_table(file, Score, [SCORE])
    before = file.read_bytes()
    with pytest.raises(UserError, match="a number is not finite"):
        write_table(file, Score, [replace(SCORE, rate=math.inf)])
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
