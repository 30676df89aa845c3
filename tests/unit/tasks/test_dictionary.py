"""The dictionary of a run: saved as lists, and the same when it goes on."""

import pytest
from fairseq.data import Dictionary

from parp_fairseq.errors import UserError
from parp_fairseq.tasks.dictionary import check_unchanged, saved, taken_from


def read(path, text):
    path.write_text(text)
    return Dictionary.load(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "| 5\nE 3\nT 1\n",
        "| 5\nE 3\nE 1 #fairseq:overwrite\n<unk> 2 #fairseq:overwrite\nT 1\n",
    ],
)
def test_what_is_saved_comes_back(tmp_path, text):
    dictionary = read(tmp_path / "dict.ltr.txt", text)
    state = taken_from({**saved(dictionary), "other": 1})
    again = state["target_dictionary"]
    assert state["other"] == 1
    assert (again.symbols, again.count, again.indices) == (
        dictionary.symbols,
        dictionary.count,
        dictionary.indices,
    )
    check_unchanged({"task_state": saved(dictionary)}, tmp_path / "dict.ltr.txt")
    # As fairseq itself saves it.
    check_unchanged({"task_state": {"target_dictionary": again}}, tmp_path / "dict.ltr.txt")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("E 5\n| 3\nT 1\n", "symbol 1 is 'E' and was '|' when this run began"),
        ("| 5\nE 3\n", "has 2 symbols and had 3"),
        ("| 5\nE 3\nT 1\nA 1\n", "has 4 symbols and had 3"),
    ],
)
def test_another_dictionary_is_refused(tmp_path, now, told):
    old = read(tmp_path / "dict.ltr.txt", "| 5\nE 3\nT 1\n")
    (tmp_path / "dict.ltr.txt").write_text(now)
    with pytest.raises(UserError) as refused:
        check_unchanged({"task_state": saved(old)}, tmp_path / "dict.ltr.txt")
    assert told in str(refused.value)


def test_counts_may_change(tmp_path):
    old = read(tmp_path / "dict.ltr.txt", "| 5\nE 3\n")
    (tmp_path / "dict.ltr.txt").write_text("| 7\nE 1\n")
    check_unchanged({"task_state": saved(old)}, tmp_path / "dict.ltr.txt")
