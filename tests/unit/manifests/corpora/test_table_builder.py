from __future__ import annotations

import csv
import json
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile
from small_corpora import write_audio
from small_manifests import lines_of, snapshot, write_text

from parp_fairseq import cli
from parp_fairseq.errors import UserError
from parp_fairseq.manifests import build_table, check_folder

TEXTS = ["één, twee", "it's 5 o'clock", 'she said "no"', "日本 語", "dž ű ŋ", "x y"]


@pytest.fixture
def corpus(tmp_path):
    """Six files, one in a folder with spaces and letters that are not Latin."""
    names = ["a.flac", "b.wav", "sub dir/Ж ö.flac", "c.flac", "d.flac", "e.flac"]
    for index, name in enumerate(names):
        write_audio(tmp_path / "corpus" / name, 12_000 + index)
    return tmp_path / "corpus", names


def rows_of(corpus, **columns):
    _, names = corpus
    rows = [{"path": name, "text": text} for name, text in zip(names, TEXTS)]
    for column, values in columns.items():
        for row, value in zip(rows, values):
            row[column] = value
    return rows


def save(corpus, rows, ending="tsv", end="\n"):
    folder, _ = corpus
    path = folder / f"table.{ending}"
    names = list(rows[0])
    if ending == "jsonl":
        text = end.join(json.dumps(row, ensure_ascii=False) for row in rows) + end
    elif ending == "tsv":
        text = end.join("\t".join(row) for row in [names, *(r.values() for r in rows)]) + end
    else:
        with path.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, names, lineterminator=end)
            writer.writeheader()
            writer.writerows(rows)
        return path
    path.write_bytes(text.encode())
    return path


SPLITS = ["train", "train", "train", "valid", "test", "train"]


@pytest.mark.legacy
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_the_three_formats_give_the_same(corpus, tmp_path, ending, end):
    folder, _names = corpus
    table = save(corpus, rows_of(corpus, split=SPLITS), ending, end)
    summary = build_table(table, tmp_path / "out", force=True)
    out = tmp_path / "out"
    assert lines_of(out / "train.tsv") == [
        str(folder.resolve()),
        "a.flac\t12000",
        "b.wav\t12001",
        "e.flac\t12005",
        "sub dir/Ж ö.flac\t12002",
    ]
    assert lines_of(out / "train.wrd") == [TEXTS[0], TEXTS[1], TEXTS[5], TEXTS[2]]
    assert lines_of(out / "train.ltr")[0] == "é é n , | t w e e |"
    assert lines_of(out / "valid.ltr") == ["日 本 | 語 |"]
    assert lines_of(out / "dict.ltr.txt")[0] == "| 10"
    assert [(s.split, s.utterances) for s in summary.splits] == [
        ("test", 1),
        ("train", 4),
        ("valid", 1),
    ]
    assert check_folder(out).ok
    assert summary.overrides == (
        f"task.data={out} task.labels=ltr criterion.post_process=letter "
        "dataset.valid_subset=valid optimization.max_update=12000",
    )


def test_bom_quotes_and_spaces_in_texts(corpus, tmp_path):
    _folder, _names = corpus
    rows = rows_of(corpus)
    rows[0]["text"] = ' "a, b"\n\tc  d '
    table = save(corpus, rows, "csv")
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    build_table(table, tmp_path / "out", valid_share=0.2, force=True)
    texts = lines_of(tmp_path / "out/train.wrd") + lines_of(tmp_path / "out/valid.wrd")
    assert sorted(texts) == sorted(['"a, b" c d', *TEXTS[1:]])


def test_absolute_paths_and_those_above_the_table(corpus, tmp_path):
    _folder, _ = corpus
    write_audio(tmp_path / "far" / "f.flac", 9000)
    rows = rows_of(corpus, split=["train", "valid", "train"])[:3]
    rows[0]["path"] = str(tmp_path / "far" / "f.flac")
    rows[1]["path"] = "../corpus/./b.wav"
    build_table(save(corpus, rows), tmp_path / "out", force=True)
    assert lines_of(tmp_path / "out/train.tsv")[2] == f"{tmp_path}/far/f.flac\t9000"
    assert lines_of(tmp_path / "out/valid.tsv")[1] == "b.wav\t12001"


def test_validation_is_a_seeded_choice_of_speakers(tmp_path):
    folder = tmp_path / "corpus"
    lines = ["path\ttext\tspeaker"]
    for speaker in range(10):
        for number in range(3):
            write_audio(folder / f"{speaker}-{number}.flac", 8000 + speaker)
            lines.append(f"{speaker}-{number}.flac\tab\tspeaker {speaker}")
    write_text(folder / "t.tsv", lines)

    def chosen(out, **options):
        build_table(folder / "t.tsv", tmp_path / out, **options, force=True)
        speakers = {
            split: {r.split("-")[0] for r in lines_of(tmp_path / out / f"{split}.tsv")[1:]}
            for split in ("train", "valid")
        }
        assert not speakers["train"] & speakers["valid"]
        assert len(speakers["train"] | speakers["valid"]) == 10
        return speakers["valid"]

    first = chosen("a", valid_share=0.31)
    assert len(first) == 3
    assert chosen("b", valid_share=0.31) == first
    assert len({frozenset(chosen(f"s{s}", valid_share=0.31, seed=s)) for s in range(5)}) > 1
    write_text(folder / "t.tsv", [lines[0], *reversed(lines[1:])])
    assert chosen("c", valid_share=0.31) == first
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "c")
    # Less than one speaker: the shortest.
    assert chosen("d", valid_share=0.01) == {"0"}
    assert len(chosen("e")) == 1


def test_a_split_whose_name_begins_with_train_is_trained_on(corpus, tmp_path):
    names = [split.replace("train", "training") for split in SPLITS]
    summary = build_table(save(corpus, rows_of(corpus, split=names)), tmp_path / "out")
    (line,) = summary.overrides
    assert "dataset.train_subset=training dataset.valid_subset=valid" in line
    counts = dict(line.split() for line in lines_of(tmp_path / "out/dict.ltr.txt"))
    labels = " ".join(lines_of(tmp_path / "out/training.ltr")).split()
    assert {s: int(n) for s, n in counts.items() if n != "0"} == Counter(labels)


def test_phones_that_are_given_and_phones_by_espeak(corpus, tmp_path):
    pytest.importorskip("phonemizer")
    rows = rows_of(corpus, split=SPLITS)
    for row, phones in zip(rows, ["t ʃ", "a", "ɛ̃ ŋ", "a a", "x", "1 ?"]):
        row["text"] = phones
    build_table(save(corpus, rows), tmp_path / "out", units="phones", force=True)
    assert lines_of(tmp_path / "out/train.phn") == ["t ʃ", "a", "1 ?", "ɛ̃ ŋ"]
    assert not (tmp_path / "out/train.wrd").exists()
    for row in rows:
        row["text"] = "goede morgen"
    build_table(save(corpus, rows), tmp_path / "nl", units="phones", lang="nl", force=True)
    phones = set(lines_of(tmp_path / "nl/train.phn"))
    assert len(phones) == 1 and len(phones.pop().split()) > 6
    assert lines_of(tmp_path / "nl/train.wrd")[0] == "goede morgen"
    assert check_folder(tmp_path / "nl").ok


def test_other_audio_is_refused_or_converted(corpus, tmp_path):
    pytest.importorskip("soxr")
    folder, _ = corpus
    write_audio(folder / "a.flac", 44_100, rate=44_100)
    write_audio(folder / "b.wav", 16_000, channels=2)
    wave = np.sin(np.arange(48_000) * 0.05) * 0.3
    soundfile.write(folder / "c.mp3", wave, 48_000)
    rows = rows_of(corpus, split=SPLITS)
    rows[3]["path"] = "c.mp3"
    table = save(corpus, rows)
    message = r"table\.tsv row 2: .*a\.flac has 44100 samples a second.*\(3 of 6.*: pass --convert"
    with pytest.raises(UserError, match=message):
        build_table(table, tmp_path / "out", force=True)
    assert not (tmp_path / "out").exists()
    build_table(table, tmp_path / "out", convert=True, force=True)
    assert check_folder(tmp_path / "out", decode=True).ok
    rows = lines_of(tmp_path / "out/train.tsv")
    assert f"{tmp_path}/out/audio/a.flac.flac\t16000" in rows and "e.flac\t12005" in rows
    assert lines_of(tmp_path / "out/valid.tsv")[1].startswith(f"{tmp_path}/out/audio/c.mp3.flac\t")
    first = snapshot(tmp_path / "out")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "audio").iterdir()}
    build_table(table, tmp_path / "out", convert=True, force=True)
    assert snapshot(tmp_path / "out") == first
    assert {p: p.stat().st_mtime_ns for p in times} == times


def bad_tables():
    """Name → (change to the rows or the file's bytes, message)."""

    def cell(row, column, value):
        def change(rows):
            rows[row][column] = value

        return change

    return {
        "no audio": (cell(1, "path", "gone.flac"), r"row 3: .*gone\.flac .*no such file"),
        "no path": (cell(1, "path", ""), r"row 3 has no path"),
        "no text": (cell(1, "text", "  "), r"row 3 has no text"),
        "twice": (cell(2, "path", "./a.flac"), r"row 4: .*a\.flac stands in row 2 too"),
        "boundary": (cell(1, "text", "a|b"), r"row 3: the text holds '\|'"),
        "split": (cell(1, "split", "../x"), r"row 3: the split '\.\./x' is no name for a file"),
        "no split": (cell(1, "split", ""), r"row 3 has no split"),
        "nul": (cell(1, "path", "a\0.flac"), r"row 3: a NUL stands in its path; take it out"),
        "tab": (cell(1, "text", "a\tb"), r"row 3 has 4 columns, expected 3"),
        "line end": (cell(1, "text", "a\nb"), r"row 3 has 2 columns, expected 3"),
        "latin 1": (lambda b: b.replace("é".encode(), b"\xe9", 1), r"row 2 is not UTF-8"),
        "header": (lambda b: b.replace(b"text", b"sentence", 1), r"row 1: no column 'text'"),
        "columns": (lambda b: b.replace(b"split", b"text", 1), r"'text' stands there twice"),
        "empty": (lambda b: b"", r"has no rows"),
        "head only": (lambda b: b.split(b"\n")[0], r"has no rows"),
    }


BAD_TABLES = bad_tables()


@pytest.mark.parametrize("name", sorted(BAD_TABLES))
def test_bad_tables(corpus, tmp_path, name):
    change, message = BAD_TABLES[name]
    rows = rows_of(corpus, split=SPLITS)
    table = save(corpus, rows)
    build_table(table, tmp_path / "out", force=True)
    before = snapshot(tmp_path / "out")
    if name in ("latin 1", "header", "columns", "empty", "head only"):
        table.write_bytes(change(table.read_bytes()))
    else:
        change(rows)
        save(corpus, rows)
    with pytest.raises(UserError, match=message) as caught:
        build_table(table, tmp_path / "out", force=True)
    assert "table.tsv" in str(caught.value) and "\n" not in str(caught.value)
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.flac"}', r"row 1 has no text"),
        ('{"path": "a.flac", "text": "a"}\n[1]', r"row 2: expected \{"),
        ('{"path": "a.flac", "text": "a"}\n{"path', r"row 2 cannot be read as JSON \(Unt"),
        ('{"path": "a.flac", "text": ["a"]}', r"row 1: text is \['a'\], expected text"),
        ('{"path": "a\\u0000.flac", "text": "a"}', r"row 1: a NUL stands in its path"),
        ('{"path": "a.flac", "text": "a\\u0000"}', r"row 1: a NUL stands in its text"),
        ('{"path": "a.flac", "text": "a \\ud800"}', r"row 1 cannot .*surrogates not allowed"),
        ('{"path": "a.flac", "text": "a", "text": "b"}', r"row 1 cannot .*'text' is a duplicate"),
        ('{"path": "a.flac", "text": ' + "[" * 9999 + "]" * 9999 + "}", r"row 1 cannot .*too deep"),
        (
            '{"path": "a.flac", "text": "a"}\n\n{"path": "b.wav", "text": "b", "split": "x"}',
            "row 3",
        ),
    ],
)
def test_bad_json_lines(corpus, tmp_path, text, message):
    table = corpus[0] / "t.jsonl"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"t\.jsonl {message}"):
        build_table(table, tmp_path / "out", force=True)
    assert not (tmp_path / "out").exists()


def test_bad_csv_counts_lines_of_the_file(corpus, tmp_path):
    table = corpus[0] / "t.csv"
    table.write_text('path,text\na.flac,"one\ntwo"\nb.wav,x,y\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.csv row 4 has 3 columns"):
        build_table(table, tmp_path / "out", force=True)
    table.write_text('path,text\na.flac,"one\nb.wav,x\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.csv row 2: .*quotation marks"):
        build_table(table, tmp_path / "out", force=True)


def test_bad_audio_names_the_row(corpus, tmp_path):
    folder, _ = corpus
    table = save(corpus, rows_of(corpus, split=SPLITS))
    for content, message in (
        (b"", r"row 5: .*c\.flac .*empty file"),
        (b"fLaC" + bytes(60), r"row 5: .*c\.flac .*header is damaged"),
    ):
        (folder / "c.flac").write_bytes(content)
        for convert in (False, True):
            with pytest.raises(UserError, match=message):
                build_table(table, tmp_path / "out", convert=convert, force=True)
    write_audio(folder / "c.flac", 399)
    with pytest.raises(UserError, match=r"row 5: .*c\.flac is shorter than 25 ms"):
        build_table(table, tmp_path / "out", force=True)
    assert not (tmp_path / "out").exists()


def test_options(corpus, tmp_path):
    table = save(corpus, rows_of(corpus, split=SPLITS))
    out = tmp_path / "out"
    with pytest.raises(UserError, match="has a column split; leave --valid-share out"):
        build_table(table, out, valid_share=0.5, force=True)
    table = save(corpus, rows_of(corpus))
    with pytest.raises(UserError, match="--valid-share is 1, expected"):
        build_table(table, out, valid_share=1, force=True)
    table = save(corpus, rows_of(corpus, speaker=["x"] * 6))
    with pytest.raises(UserError, match="one speaker and no column split"):
        build_table(table, out, force=True)
    with pytest.raises(UserError, match=r"ends in \.tsv, \.csv, \.jsonl"):
        build_table(corpus[0] / "a.flac", out, force=True)
    with pytest.raises(UserError, match=r"gone\.tsv: no such table"):
        build_table(corpus[0] / "gone.tsv", out, force=True)


def test_command(corpus, tmp_path, monkeypatch, capsys):
    table = save(corpus, rows_of(corpus, split=SPLITS))
    line = ["parp", "manifest", "table", str(table), "--out", str(tmp_path / "o"), "--json"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert len(json.loads(capsys.readouterr().out)["splits"]) == 3
