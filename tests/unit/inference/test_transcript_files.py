"""Transcripts as text, JSON lines and SRT, and where they go."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.checkpoints.dictionary import Word
from parp_fairseq.errors import UserError
from parp_fairseq.inference.recognise import Transcript
from parp_fairseq.inference.transcript_files import KINDS, choose_format, lines_of, names_of
from parp_fairseq.manifests.audio.headers import Recording

CHARACTERS = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
WORDS = st.lists(
    st.tuples(
        st.text(CHARACTERS, min_size=1, max_size=60), st.integers(0, 100), st.integers(1, 100)
    ),
    max_size=40,
)


def transcript(words=(("HELLO", 0.5, 0.9), ("WORLD", 1.0, 1.42)), seconds=2.0, path="a/b c.wav"):
    timed = tuple(Word(*word) for word in words)
    text = " ".join(word.text for word in timed)
    return Transcript(Recording(Path(path), 16_000, 1, int(seconds * 16_000)), seconds, text, timed)


def drawn(words):
    """Words after each other: (text, frames of silence before, frames)."""
    at, timed = 0, []
    for text, silence, length in words:
        timed.append((text, 0.02 * (at + silence), 0.02 * (at + silence + length)))
        at += silence + length
    return transcript(timed, 0.02 * at + 0.01)


def test_text_and_json():
    assert lines_of(transcript(), "text") == ["HELLO WORLD"]
    assert lines_of(transcript(), "text", named=True) == ["a/b c.wav\tHELLO WORLD"]
    (line,) = lines_of(transcript(), "jsonl")
    assert json.loads(line) == {
        "path": "a/b c.wav",
        "seconds": 2.0,
        "text": "HELLO WORLD",
        "words": [
            {"word": "HELLO", "start": 0.5, "end": 0.9},
            {"word": "WORLD", "start": 1.0, "end": 1.42},
        ],
    }


def test_srt():
    words = [("A", 0.0, 0.1), ("B", 0.2, 0.3), ("C", 2.0, 2.1)]
    assert lines_of(transcript(words, 2.5), "srt") == [
        *("1", "00:00:00,000 --> 00:00:01,000", "A B", ""),
        # Never beyond the recording's end.
        *("2", "00:00:02,000 --> 00:00:02,500", "C", ""),
    ]
    assert lines_of(transcript([], 2.5), "srt") == []
    slow = [("X", float(second), second + 0.9) for second in range(10)]
    assert [line for line in lines_of(transcript(slow, 11.0), "srt") if "-->" in line] == [
        "00:00:00,000 --> 00:00:06,900",
        "00:00:07,000 --> 00:00:09,900",
    ]
    late = lines_of(transcript([("X", 3725.5, 3726.9996)], 4000.0), "srt")
    assert late[1] == "01:02:05,500 --> 01:02:07,000"


@given(WORDS)
def test_srt_is_well_formed(words):
    made = drawn(words)
    blocks = "\n".join(lines_of(made, "srt")).split("\n\n") if words else []
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


def test_names():
    assert names_of([Path("x/a.wav"), Path("y/b c.flac")]) == ["a", "b_c"]
    assert names_of([Path("x/a.wav"), Path("x/y/a.wav")]) == ["a", "y/a"]
    assert names_of([Path("x/1.0.wav"), Path("x/1.1.wav")]) == ["1.0", "1.1"]
    with pytest.raises(UserError, match=r"x/a\.flac and x/a\.wav would both be called a"):
        names_of([Path("x/a.wav"), Path("x/a.flac")])


def test_the_ending_of_the_output_decides_the_format():
    for output, form in ((None, "text"), ("a.srt", "srt"), ("a.JSONL", "jsonl"), ("a.txt", "text")):
        assert choose_format(None, output) == form
    assert choose_format("srt", "folder") == choose_format("srt", "a.txt") == "srt"
    assert choose_format("text", "a.json") == choose_format(None, "a") == "text"
    for output in ("a.vtt", "a.json", "a.JSON", "a.TextGrid", "a.srt.gz"):
        with pytest.raises(UserError, match=rf"--out {output}: no format ends in "):
            choose_format(None, output)
    with pytest.raises(UserError, match=r"--out a\.srt ends in \.srt, but --format is text"):
        choose_format("text", "a.srt")


def test_kinds(tmp_path):
    def matching(path):
        return [form for form, kind in KINDS.items() if kind.matches(path)]

    for form in KINDS:
        path = tmp_path / f"{form}.txt"
        lines = lines_of(transcript(), form, named=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert matching(path) == (["text"] if form == "text" else ["text", form])
    for name, content in (
        ("notes.md", b"mine\n"),
        ("binary.txt", b"RIFF\0\0\0"),
        ("binary.txt", b"\x80\x02 a pickle"),
    ):
        (tmp_path / name).write_bytes(content)
        assert matching(tmp_path / name) == []
