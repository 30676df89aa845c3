import csv
import hashlib
import json
import os
import shutil
import unicodedata
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import lines_of, snapshot, write_audio, write_lines

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.corpora.own_table import build_table
from parp_fairseq.manifests.table_reader import read_table

NAMES = ["a.flac", "b.wav", "sub dir/Ж ö.flac", "c.flac", "d.flac", "e.flac"]
TEXTS = ["één, twee", "it's 5 o'clock", 'she said "no"', "日本 語", "dž ű ŋ", "x y"]
SPLITS = ["train", "train", "train", "valid", "test", "train"]


@pytest.fixture
def corpus(tmp_path):
    """Six files, one in a folder with spaces and letters that are not Latin."""
    for index, name in enumerate(NAMES):
        write_audio(tmp_path / "corpus" / name, 12_000 + index)
    return tmp_path / "corpus"


def rows_of(**columns):
    rows = [{"path": name, "text": text} for name, text in zip(NAMES, TEXTS)]
    for column, values in columns.items():
        for row, value in zip(rows, values):
            row[column] = value
    return rows


def save(folder, rows, ending="tsv", end="\n"):
    path, names = folder / f"table.{ending}", list(rows[0])
    with path.open("w", newline="", encoding="utf-8") as handle:
        if ending == "jsonl":
            handle.writelines(json.dumps(row, ensure_ascii=False) + end for row in rows)
        elif ending == "tsv":
            handle.writelines("\t".join(r) + end for r in [names, *(r.values() for r in rows)])
        else:
            writer = csv.DictWriter(handle, names, lineterminator=end)
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.legacy
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_the_three_formats_give_the_same(corpus, tmp_path, ending, end):
    table, out = save(corpus, rows_of(split=SPLITS), ending, end), tmp_path / "out"
    summary = build_table(table, out)
    assert lines_of(out / "train.tsv") == [
        str(corpus.resolve()),
        "a.flac\t12000",
        "b.wav\t12001",
        "e.flac\t12005",
        "sub dir/Ж ö.flac\t12002",
    ]
    assert lines_of(out / "train.wrd") == [TEXTS[0], TEXTS[1], TEXTS[5], TEXTS[2]]
    assert lines_of(out / "train.ltr")[0] == "é é n , | t w e e |"
    assert lines_of(out / "valid.ltr") == ["日 本 | 語 |"]
    assert lines_of(out / "dict.ltr.txt")[0] == "| 10"
    counts = [(s.split, s.utterances) for s in summary.splits]
    assert counts == [("test", 1), ("train", 4), ("valid", 1)] and check_folder(out).ok
    assert summary.render().endswith(
        "train with:\nfairseq-hydra-train --config-name parp_10min common.user_dir=parp_fairseq "
        f"model.w2v_path=wav2vec_small.pt \\\n  task.data={out} task.labels=ltr "
        "criterion.post_process=letter dataset.valid_subset=valid"
    )
    # Every byte as an earlier version wrote it, but for the place.
    digest = hashlib.sha256()
    for path in sorted(out.iterdir()):
        if path.name != "manifest.json":
            digest.update(path.read_bytes().replace(bytes(corpus.resolve()), b"ROOT"))
    assert digest.hexdigest() == (
        "82ce234770b800f8c9d1c5f0ce0ee4915d990abab39797f3c99c4b8f71b78064"
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.text("ab,;\"'\t é日|").filter(str.strip)), min_size=1
    )
)
@settings(max_examples=60, deadline=None)
def test_any_cell_of_one_line_comes_through_csv_and_jsonl(tmp_path_factory, cells):
    folder = tmp_path_factory.getbasetemp()
    rows = [{"path": f"{n}.wav", "text": text} for n, text in cells]
    for ending in ("csv", "jsonl"):
        path = save(folder, rows, ending)
        read = list(read_table(path, ("path", "text"), needed=("path", "text")))
        start = 2 if ending == "csv" else 1
        assert read == [(number, row) for number, row in enumerate(rows, start)]


def test_bom_quotes_and_spaces_in_texts(corpus, tmp_path):
    rows = rows_of()
    rows[0]["text"] = ' "a, b"\n\tc  d '
    table = save(corpus, rows, "csv")
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    build_table(table, tmp_path / "out", valid_share=0.2)
    texts = lines_of(tmp_path / "out/train.wrd") + lines_of(tmp_path / "out/valid.wrd")
    assert sorted(texts) == sorted(['"a, b" c d', *TEXTS[1:]])


def test_absolute_paths_and_those_above_the_table(corpus, tmp_path):
    write_audio(tmp_path / "far" / "f.flac", 9000)
    rows = rows_of(split=["train", "valid", "train"])[:3]
    rows[0]["path"] = str(tmp_path / "far" / "f.flac")
    rows[1]["path"] = "../corpus/./b.wav"
    build_table(save(corpus, rows), tmp_path / "out")
    assert lines_of(tmp_path / "out/train.tsv")[2] == f"{tmp_path}/far/f.flac\t9000"
    assert lines_of(tmp_path / "out/valid.tsv")[1] == "b.wav\t12001"


@pytest.mark.parametrize("place", ["table", "target", "both"])
def test_paths_of_a_table_that_is_a_link(corpus, tmp_path, place):
    """As git-annex and DVC have them: the named folder counts, then that of the target."""
    table = save(corpus, rows_of(split=SPLITS))
    far = tmp_path / "objects" / "aB" / "x.tsv"
    far.parent.mkdir(parents=True)
    table.rename(far)
    table.symlink_to(far)
    if place == "target":
        for name in ["table.tsv", *NAMES]:
            (far.parent / name).parent.mkdir(exist_ok=True)
            (corpus / name).rename(far.parent / name)
    if place == "both":
        write_audio(far.parent / "a.flac", 9_000)
    named = (far.parent if place == "target" else corpus) / "table.tsv"
    build_table(named, tmp_path / "out")
    assert lines_of(tmp_path / "out/train.tsv")[1] == "a.flac\t12000"
    if place == "target":
        (tmp_path / "link.tsv").symlink_to(far)
        build_table(tmp_path / "link.tsv", tmp_path / "out2")
        assert lines_of(tmp_path / "out2/train.tsv")[1] == "objects/aB/a.flac\t12000"


@pytest.mark.parametrize("ours", ["NFC", "NFD"])
def test_names_in_another_unicode_form_are_found(tmp_path, ours):
    theirs = {"NFC": "NFD", "NFD": "NFC"}[ours]
    names = [f"dé{number}/été {number}.flac" for number in range(3)]
    for name in names:
        write_audio(tmp_path / unicodedata.normalize(theirs, name), 8000)
    lines = ["path\ttext", *(f"{unicodedata.normalize(ours, name)}\ta" for name in names)]
    build_table(write_lines(tmp_path / "t.tsv", lines), tmp_path / "out")
    rows = lines_of(tmp_path / "out/train.tsv")[1:] + lines_of(tmp_path / "out/valid.tsv")[1:]
    assert sorted(rows) == [f"{unicodedata.normalize(theirs, name)}\t8000" for name in names]
    assert check_folder(tmp_path / "out").ok
    train = tmp_path / "out/train.tsv"
    train.write_text(unicodedata.normalize(ours, train.read_text("utf-8")), "utf-8")
    (finding,) = check_folder(tmp_path / "out").findings
    assert "it is there in another Unicode form" in finding.first


def test_a_root_that_no_manifest_can_hold(tmp_path):
    for name in ("corpus ", "a\tcorpus", "a\ncorpus"):
        write_audio(tmp_path / name / "a.flac", 8000)
        write_audio(tmp_path / name / "b.flac", 8000)
        table = write_lines(tmp_path / name / "t.tsv", ["path\ttext", "a.flac\ta", "b.flac\ta"])
        with pytest.raises(UserError, match="a manifest cannot hold a path with tabs, line ends"):
            build_table(table, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_the_alphabet_is_shown_and_what_nobody_sees_is_a_warning_here_and_in_check(
    corpus, tmp_path
):
    rows = rows_of(split=SPLITS)
    rows[0]["text"], rows[4]["text"] = "e\u0301e\u0301n", "zee\u200b"
    summary = build_table(save(corpus, rows), tmp_path / "out")
    labels = " ".join(" ".join(lines_of(tmp_path / f"out/{s}.ltr")) for s in set(SPLITS)).split()
    assert summary.alphabet == Counter(labels)
    assert "alphabet: " in summary.render() and "U+200B 1" in summary.render()
    rows[0]["text"] = "één e\u0301n"
    warnings = build_table(save(corpus, rows), tmp_path / "out", force=True).warnings
    assert any("U+200B ZERO WIDTH SPACE" in w and "table.tsv row 6" in w for w in warnings)
    assert any("é (1 and 1 texts); normalise all to NFC" in w for w in warnings)
    report = check_folder(tmp_path / "out")
    problems = {f.problem.partition(",")[0]: (f.count, f.level) for f in report.findings}
    assert problems["invisible U+200B ZERO WIDTH SPACE"] == (1, "warning") and report.ok


def test_validation_is_a_seeded_sample_of_speakers(tmp_path):
    folder = tmp_path / "corpus"
    lines = ["path\ttext\tspeaker"]
    for speaker in range(10):
        for number in range(3):
            write_audio(folder / f"{speaker}-{number}.flac", 8000 + speaker)
            lines.append(f"{speaker}-{number}.flac\tab\tspeaker {speaker}")
    write_lines(folder / "t.tsv", lines)

    def chosen(out, **options):
        build_table(folder / "t.tsv", tmp_path / out, **options)
        speakers = {
            split: {r.split("-")[0] for r in lines_of(tmp_path / out / f"{split}.tsv")[1:]}
            for split in ("train", "valid")
        }
        assert not speakers["train"] & speakers["valid"]
        assert len(speakers["train"] | speakers["valid"]) == 10
        return speakers["valid"]

    first = chosen("a", valid_share=0.31)
    assert len(first) == 3 and len(chosen("e")) == 1
    assert len({frozenset(chosen(f"s{s}", valid_share=0.31, seed=s)) for s in range(5)}) > 1
    write_lines(folder / "t.tsv", [lines[0], *reversed(lines[1:])])
    assert chosen("c", valid_share=0.31) == first
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "c")
    # Less than one speaker: the shortest.
    assert chosen("d", valid_share=0.01) == {"0"}


def test_a_split_whose_name_begins_with_train_is_trained_on_and_no_other(corpus, tmp_path):
    names = [split.replace("train", "training") for split in SPLITS]
    (line,) = build_table(save(corpus, rows_of(split=names)), tmp_path / "out").commands
    assert "dataset.train_subset=training dataset.valid_subset=valid" in line
    counts = dict(line.split() for line in lines_of(tmp_path / "out/dict.ltr.txt"))
    labels = " ".join(lines_of(tmp_path / "out/training.ltr")).split()
    assert {s: int(n) for s, n in counts.items() if n != "0"} == Counter(labels)


def test_phones_that_are_given_and_phones_by_espeak(corpus, tmp_path):
    pytest.importorskip("phonemizer")
    rows = rows_of(split=SPLITS)
    for row, phones in zip(rows, ["t ʃ", "a", "ɛ̃ ŋ", "a a", "x", "1 ?"]):
        row["text"] = phones
    build_table(save(corpus, rows), tmp_path / "out", units="phones")
    assert lines_of(tmp_path / "out/train.phn") == ["t ʃ", "a", "1 ?", "ɛ̃ ŋ"]
    assert not (tmp_path / "out/train.wrd").exists()
    for row in rows:
        row["text"] = "goede morgen"
    build_table(save(corpus, rows), tmp_path / "nl", units="phones", lang="nl")
    phones = set(lines_of(tmp_path / "nl/train.phn"))
    assert len(phones) == 1 and len(phones.pop().split()) > 6
    assert lines_of(tmp_path / "nl/train.wrd")[0] == "goede morgen"
    assert check_folder(tmp_path / "nl").ok


def test_other_audio_is_refused_or_converted(corpus, tmp_path):
    pytest.importorskip("soxr")
    write_audio(corpus / "a.flac", 44_100, rate=44_100)
    write_audio(corpus / "b.wav", 16_000, channels=2)
    soundfile.write(corpus / "c.mp3", np.sin(np.arange(48_000) * 0.05) * 0.3, 48_000)
    rows = rows_of(split=SPLITS)
    rows[3]["path"] = "c.mp3"
    table, out = save(corpus, rows), tmp_path / "out"
    message = r"table\.tsv row 2: .*a\.flac has 44100 samples a second.*\(3 of 6.*: pass --convert"
    with pytest.raises(UserError, match=message):
        build_table(table, out)
    assert not out.exists()
    build_table(table, out, convert=True)
    assert check_folder(out, decode=True).ok
    rows = lines_of(out / "train.tsv")
    assert f"{out}/audio/a.flac.flac\t16000" in rows and "e.flac\t12005" in rows
    assert lines_of(out / "valid.tsv")[1].startswith(f"{out}/audio/c.mp3.flac\t")
    first, kept = snapshot(out), {p: os.stat(p).st_ino for p in (out / "audio").iterdir()}
    build_table(table, out, convert=True, force=True)
    assert snapshot(out) == first and {p: os.stat(p).st_ino for p in kept} == kept
    # A table of another corpus, whose files are called the same, gets its own audio.
    other = tmp_path / "other"
    write_audio(other / "a.flac", 22_050, rate=44_100)
    write_audio(other / "b.wav", 9_000)
    build_table(save(other, rows_of(split=["train", "valid"])[:2]), out, convert=True, force=True)
    assert lines_of(out / "train.tsv")[1:] == [f"{out}/audio/a.flac.flac\t8000"]


@pytest.mark.parametrize(
    ("names", "lacks", "call"),
    [
        ([*"012012"], "training", "train"),
        (["train"] * 5 + ["test"], "validation", "dev or valid"),
    ],
)
def test_without_a_split_that_training_needs_there_is_a_warning_and_no_command(
    names, lacks, call, corpus, tmp_path
):
    summary = build_table(save(corpus, rows_of(split=names)), tmp_path / "out")
    assert summary.warnings == (f"no split of . is for {lacks}: call one {call}",)
    assert summary.commands == () and "train with" not in summary.render()


def cell(row, column, value):
    return {"cell": (row, column, value)}


HEAD = b"path\ttext\n"
BAD_TABLES = {
    # Name → a changed cell, or a whole file with its ending; and what is said.
    "no path": (cell(1, "path", ""), r"tsv row 3 has no path"),
    "twice": (cell(2, "path", "./a.flac"), r"tsv row 4: .*a\.flac is a duplicate of row 2"),
    "split": (cell(1, "split", "../x"), r"row 3: the split '\.\./x' is not only letters"),
    "nul": (cell(1, "path", "a\0.flac"), r"row 3: there is a NUL in its path; take it out"),
    "tab": (cell(1, "text", "a\tb"), r"row 3 has 4 columns, expected 3"),
    "other name": ({"tsv": b"path\tsentence\na\tb\n"}, r"'text' .*; rename sentence to text"),
    "segments": ({"tsv": b"path\ttext\tstart\na\tb\t1\n"}, r"tsv has a column 'start': texts of"),
    "timed": ({"tsv": b"path\ttext\tEnd_time (s)\na\tb\t1\n"}, r"a column 'End_time \(s\)'"),
    "json name": ({"jsonl": b'{"audio_filepath": "a", "text": "b"}'}, "rename audio_filepath to p"),
    "json segments": ({"jsonl": b'{"path": "a", "text": "b", "end": 1}'}, "has a column 'end'"),
    "columns twice": ({"tsv": b"path\ttext\ttext\na\tb\tc\n"}, r"the column 'text' is there twice"),
    "csv columns": ({"csv": b'path,text\na.flac,"one\ntwo"\nb.wav,x,y\n'}, "csv row 4 has 3 col"),
    "csv open": ({"csv": b'path,text\na.flac,"one\nb.wav,x\n'}, r"csv row 2: .*quotation marks"),
    "csv swallows": (
        {"csv": b'path,text\na.flac,x\nb.wav,"so he\nc.flac,y\nd.flac,and over"\ne.flac,z\n'},
        r"table\.csv row 3: a quoted cell continues to row 5, over lines that look like rows",
    ),
    "csv swallows text": (
        {"csv": b'text,path\nx,a.flac\n"so he,b.wav\nand over",c.flac\n'},
        r"table\.csv row 3: a quoted cell continues to row 4",
    ),
    "json object": ({"jsonl": b'{"path": "a.flac", "text": "a"}\n[1]'}, r"row 2: expected \{"),
    "json type": ({"jsonl": b'{"path": "a.flac", "text": ["a"]}'}, r"row 1: text is \['a'\]"),
    "json no text": ({"jsonl": b'{"path": "a.flac"}'}, r"row 1: no column 'text'"),
    "json nul": ({"jsonl": b'{"path": "a.flac", "text": "a\\u0000"}'}, "row 1: .* NUL in its text"),
    "json deep": ({"jsonl": b'{"path": ' + b"[" * 9999 + b"]" * 9999 + b"}"}, "row 1 .*too deep"),
    "csv quoting": (
        {"tsv": b'path\ttext\na.flac\tx\nb.wav\t"say ""no"" now"\n'},
        r"tsv row 3 is quoted as in a \.csv: \"say",
    ),
    "control": (cell(3, "text", "a\x07b"), r"tsv row 5: there is the control character U\+0007"),
    "surrogate": ({"jsonl": b'{"path": "a", "text": "a\\ud83d"}'}, r"row 1.*(U\+D83D|JSON)"),
    "json more": (
        {"jsonl": b'{"path": "a.flac", "text": "a"}\n\n{"path": "b", "text": "b", "split": "x"}'},
        "row 3 has a split, the rows before have none",
    ),
}


@pytest.mark.parametrize("name", sorted(BAD_TABLES))
def test_bad_tables(corpus, tmp_path, name):
    damage, message = BAD_TABLES[name]
    ((ending, change),) = damage.items()
    rows = rows_of(split=SPLITS)
    table = save(corpus, rows)
    build_table(table, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    if ending == "cell":
        rows[change[0]][change[1]] = change[2]
        save(corpus, rows)
    else:
        table = corpus / f"table.{ending}"
        table.write_bytes(change)
    with pytest.raises(UserError, match=message) as caught:
        build_table(table, tmp_path / "out", force=True)
    assert table.name in str(caught.value) and "\n" not in str(caught.value)
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("link", [os.symlink, os.link, shutil.copyfile])
def test_one_recording_under_two_names(corpus, tmp_path, link):
    rows = rows_of(split=SPLITS)
    for row, name in zip(rows[:2], ("f.flac", "g.wav")):
        link(corpus / row["path"], corpus / name)
        rows.append({**row, "path": name, "split": "valid"})
    (warning,) = build_table(save(corpus, rows), tmp_path / "out").warnings
    told = "the same audio twice, 2 rows (valid: audio also in train); the first"
    assert warning.startswith(told) and "f.flac" in warning
    if link is not shutil.copyfile:
        rows[-1] = {"path": "g.wav", "text": "other", "split": "train"}
        with pytest.raises(UserError, match=r"row 9: .*g\.wav is the file of .* row 3, with ano"):
            build_table(save(corpus, rows), tmp_path / "out", force=True)


def test_splits_that_are_hardly_meant(corpus, tmp_path):
    rows = rows_of(split=[*SPLITS[:5], "train_dev"], speaker=["al", "bo", "cy", "bo", "cy", "al"])
    table = save(corpus, rows)
    several, speakers, of_test = build_table(table, tmp_path / "out").warnings
    assert "trains on one split, train: train_dev would not be used" in several
    assert "valid: speakers also in train" in speakers and "test: speakers also" in of_test


@pytest.mark.parametrize(
    ("duration", "fine"), [(0.77, 1), (750.0, 1), (12_020, 1), (0.4, 0), (2, 0)]
)
def test_a_duration_is_that_of_the_file(corpus, tmp_path, duration, fine):
    rows = rows_of(split=SPLITS, duration=[duration])
    for row in rows[1:]:
        row["duration"] = "?"
    warnings = build_table(save(corpus, rows, "jsonl"), tmp_path / "out").warnings
    assert [w for w in warnings if "other duration" in w and "lasts 0.75 s" in w] == list(warnings)
    assert len(warnings) == 1 - fine


def test_options_that_cannot_be(corpus, tmp_path):
    for columns, options, message in (
        ({}, {"valid_share": 1}, "--valid-share is 1, expected"),
        ({"speaker": "xxxxxx"}, {}, "only one speaker or row"),
        ({"split": SPLITS}, {"valid_share": 0.1}, "has a column split; leave --valid-share out"),
    ):
        with pytest.raises(UserError, match=message):
            build_table(save(corpus, rows_of(**columns)), tmp_path / "out", **options)


def test_command(parp, corpus, tmp_path):
    table = save(corpus, rows_of(split=SPLITS))
    code, printed, _ = parp("manifest", "table", table, "--out", tmp_path / "o")
    assert code == 0 and "train with:" in printed
