import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.checkpoints.strict_json import MAX_DEPTH, strict_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\n"), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_json_means_comes_back(value):
    assert strict_json(json.dumps(value)) == value
    assert strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":1,"b":{"c":1,"c":2}}', "'c' is a duplicate"),
        ("NaN", "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("1e999", "infinite"),
        ("1" * 5000, "5000 digits"),
        ('["\\ud800"]', "surrogates"),
        ('{"\\udfff":1}', "surrogates"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        (b"\xff\xfe", "decode|codec|Expecting"),
        (b"\x00", "decode|codec|Expecting"),
        (b'{"\xe9":1}', "utf-8"),
        ("{} {}", "Extra data"),
        ("", "Expecting value"),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        strict_json(text)
    assert strict_json("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
