"""Transcripts as text, JSON lines, CTM and SRT."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.errors import UserError
from parp_fairseq.inference import transcript_files as forms
from parp_fairseq.inference.audio import Recording
from parp_fairseq.inference.recognise import TimedWord, Transcript

WORDS = st.lists(
    st.tuples(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=60
        ),
        st.integers(0, 100),
        st.integers(1, 100),
    ),
    max_size=40,
)


def transcript(words=(("HELLO", 0.5, 0.9), ("WORLD", 1.0, 1.42)), seconds=2.0, path="a/b c.wav"):
    timed = tuple(TimedWord(*word) for word in words)
    text = " ".join(word.text for word in timed)
    return Transcript(Recording(Path(path), 16_000, 1, int(seconds * 16_000)), seconds, text, timed)


def written(made, form, name="", **options):
    return forms.lines_of(made, form, names={made.recording.path: name}, **options)


def drawn(words):
    """Words after each other: (text, frames of silence before, frames)."""
    at, timed = 0, []
    for text, silence, length in words:
        timed.append((text, 0.02 * (at + silence), 0.02 * (at + silence + length)))
        at += silence + length
    return transcript(timed, 0.02 * at + 0.01)


def test_text_and_json():
    assert written(transcript(), "text") == ["HELLO WORLD"]
    assert written(transcript(), "text", named=True) == ["a/b c.wav\tHELLO WORLD"]
    (line,) = written(transcript(), "jsonl")
    assert json.loads(line) == {
        "path": "a/b c.wav",
        "seconds": 2.0,
        "text": "HELLO WORLD",
        "words": [
            {"word": "HELLO", "start": 0.5, "end": 0.9},
            {"word": "WORLD", "start": 1.0, "end": 1.42},
        ],
    }
    assert forms.KINDS["jsonl"].name


def test_ctm():
    assert written(transcript(), "ctm", name="b_c") == [
        "b_c 1 0.500 0.400 HELLO",
        "b_c 1 1.000 0.420 WORLD",
    ]


def test_srt():
    words = [("A", 0.0, 0.1), ("B", 0.2, 0.3), ("C", 2.0, 2.1)]
    assert written(transcript(words, 2.5), "srt") == [
        *("1", "00:00:00,000 --> 00:00:01,000", "A B", ""),
        # Never beyond the recording's end.
        *("2", "00:00:02,000 --> 00:00:02,500", "C", ""),
    ]
    assert written(transcript([], 2.5), "srt") == []
    slow = [("X", float(second), second + 0.9) for second in range(10)]
    assert [line for line in written(transcript(slow, 11.0), "srt") if "-->" in line] == [
        "00:00:00,000 --> 00:00:06,900",
        "00:00:07,000 --> 00:00:09,900",
    ]
    late = written(transcript([("X", 3725.5, 3726.9996)], 4000.0), "srt")
    assert late[1] == "01:02:05,500 --> 01:02:07,000"


@given(WORDS)
def test_srt_is_well_formed(words):
    made = drawn(words)
    blocks = "\n".join(written(made, "srt")).split("\n\n") if words else []
    clock = r"(\d\d):([0-5]\d):([0-5]\d),(\d{3})"
    before, said = 0.0, []
    for number, block in enumerate((b.strip("\n") for b in blocks), start=1):
        head, times, *lines = block.split("\n")
        assert head == str(number) and 1 <= len(lines) <= 2
        assert all(len(line) <= 42 or " " not in line for line in lines)
        found = re.fullmatch(f"{clock} --> {clock}", times)
        values = [int(value) for value in found.groups()]
        start, end = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (values[:4], values[4:]))
        assert before <= start < end <= made.seconds + 0.001
        before = end
        said += " ".join(lines).split()
    assert said == [word.text for word in made.words]


@given(WORDS)
def test_ctm_is_well_formed(words):
    made = drawn(words)
    assert len(written(made, "ctm", name="id")) == len(words)
    for line, word in zip(written(made, "ctm", name="id"), made.words):
        name, channel, start, length, text = line.split(" ")
        assert (name, channel, text) == ("id", "1", word.text)
        assert float(start) == pytest.approx(word.start) and float(length) >= 0.02 - 1e-9


def test_names():
    names = forms.names_of
    assert names([Path("x/a.wav"), Path("y/b c.flac")]) == ["a", "b_c"]
    assert names([Path("x/a.wav"), Path("x/y/a.wav")]) == ["a", "y/a"]
    with pytest.raises(UserError, match=r"x/a\.flac and x/a\.wav would both be called a"):
        names([Path("x/a.wav"), Path("x/a.flac")])
    assert names([Path("x/1.0.wav"), Path("x/1.1.wav")]) == ["1.0", "1.1"]


def test_kinds(tmp_path):
    made = transcript()
    every = {
        "text": written(made, "text", named=True),
        "jsonl": written(made, "jsonl"),
        "ctm": written(made, "ctm", name="é"),
        "srt": written(made, "srt"),
    }
    (tmp_path / "notes.md").write_text("mine\n", encoding="utf-8")
    assert not any(kind.matches(tmp_path / "notes.md") for kind in forms.KINDS.values())
    for name, lines in every.items():
        path = tmp_path / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        kinds = [kind for kind in forms.KINDS if forms.KINDS[kind].matches(path)]
        assert kinds == (["text"] if name == "text" else ["text", name])
    for content in (b"RIFF\0\0\0", b"\x80\x02 a pickle"):
        (tmp_path / "binary.txt").write_bytes(content)
        assert not any(kind.matches(tmp_path / "binary.txt") for kind in forms.KINDS.values())
