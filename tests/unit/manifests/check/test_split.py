from __future__ import annotations

import threading

import pytest
from small_corpora import write_audio

from parp_fairseq.errors import UserError
from parp_fairseq.manifests import check_manifest

SYMBOLS = "a 5\nb 3\ntʃ 1\n"


@pytest.fixture
def data(tmp_path):
    """Three utterances with phones."""
    for index in range(3):
        write_audio(tmp_path / "audio" / f"{index}.flac", 1000 + index)
    rows = [str(tmp_path / "audio"), *(f"{i}.flac\t{1000 + i}" for i in range(3))]
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "train.phn").write_text("a b\ntʃ\nb b a\n", encoding="utf-8")
    (tmp_path / "dict.phn.txt").write_text(SYMBOLS, encoding="utf-8")
    return tmp_path


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def refused(data, pattern, **options):
    with pytest.raises(UserError, match=pattern) as caught:
        check_manifest(data, "train", "phn", **options)
    assert "\n" not in str(caught.value)


def test_a_sound_manifest(data):
    checked = check_manifest(data, "train", "phn")
    assert checked.labels == ["a b", "tʃ", "b b a"]
    assert [row.path for row in checked.manifest.rows] == ["0.flac", "1.flac", "2.flac"]
    assert checked.manifest.frames == 3003
    assert checked.hours == pytest.approx(3003 / 16_000 / 3600)


def test_crlf_no_last_line_end_absolute_and_repeated_rows(data):
    audio = data / "audio"
    rows = ["/nowhere", f"{audio}/0.flac\t1000", f"{audio}/0.flac\t1000", f"{audio}/2.flac\t1002"]
    (data / "train.tsv").write_bytes("\r\n".join(rows).encode())
    (data / "train.phn").write_bytes("a b\r\ntʃ \r\nb b a".encode())
    (data / "dict.phn.txt").write_bytes(SYMBOLS.replace("\n", "\r\n").encode())
    assert len(check_manifest(data, "train", "phn").manifest.rows) == 3


def test_symbols_of_a_checkpoint_instead_of_the_file(data):
    (data / "dict.phn.txt").unlink()
    check_manifest(data, "train", "phn", symbols=["a", "b", "tʃ"])
    refused(
        data,
        r"train\.phn row 2: the symbol 'tʃ' is not in model\.pt",
        symbols=["a", "b"],
        symbols_from="model.pt",
    )


def test_missing_files(data):
    with pytest.raises(UserError, match=r"gone: no such folder"):
        check_manifest(data / "gone", "train", "phn")
    with pytest.raises(UserError, match=r"test\.tsv: no such manifest; .*: train$"):
        check_manifest(data, "test", "phn")
    with pytest.raises(UserError, match=r"train\.ltr: no such label file"):
        check_manifest(data, "train", "ltr")
    (data / "dict.phn.txt").unlink()
    refused(data, r"dict\.phn\.txt: no dictionary there")


def test_counts_differ(data):
    edit(data / "train.phn", "tʃ\n", "")
    refused(data, r"train\.phn has 2 lines but .*train\.tsv lists 3 audio files")


def test_empty_split(data):
    (data / "train.tsv").write_text(f"{data}/audio\n", encoding="utf-8")
    refused(data, r"train\.tsv lists no audio")
    (data / "train.tsv").write_text("", encoding="utf-8")
    refused(data, r"train\.tsv row 1: expected the folder")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.flac\t1001", "1.flac 1001", r"train\.tsv row 3: expected 'path<TAB>samples'"),
        ("1.flac\t1001", "1.flac\t10.5", r"train\.tsv row 3: the number of samples is '10\.5'"),
        ("1.flac\t1001", "1.flac\t0", r"train\.tsv row 3: the number of samples is '0'"),
        ("1.flac\t1001", "1.flac\t1001\tx", r"train\.tsv row 3: expected 'path<TAB>samples'"),
        ("1.flac\t1001", "x.flac\t1001", r"train\.tsv row 3: .*x\.flac: no such audio file"),
        ("1.flac\t1001", "1.flac\t1002", r"train\.tsv row 3: .* has 1001 samples, not 1002"),
        ("1.flac\t1001\n", "\n1.flac\t1001\n", r"train\.tsv row 3: expected"),
        ("audio\n", "moved\n", r"train\.tsv row 1: .*moved: no such folder"),
    ],
)
def test_bad_rows(data, old, new, message):
    edit(data / "train.tsv", old, new)
    refused(data, message)


def test_a_manifest_without_its_root_line(data):
    text = (data / "train.tsv").read_text(encoding="utf-8")
    (data / "train.tsv").write_text(text.split("\n", 1)[1], encoding="utf-8")
    refused(data, r"train\.tsv row 1: expected the folder .* found an audio row")


def test_bad_labels(data):
    edit(data / "train.phn", "b b a", "b ŋ a")
    refused(data, r"train\.phn row 3: the symbol 'ŋ' is not in .*dict\.phn\.txt")
    edit(data / "train.phn", "b ŋ a", " ")
    refused(data, r"train\.phn row 3 is empty")
    (data / "train.phn").write_bytes("a\nb\né\n".encode("latin-1"))
    refused(data, r"train\.phn is not UTF-8 text")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 5\nb\n", r"dict\.phn\.txt row 2: expected '<symbol> <count>', found 'b'"),
        ("a 5\nb x\n", r"dict\.phn\.txt row 2: expected"),
        ("a 5\nb 1\na 2\n", r"dict\.phn\.txt row 3: the symbol 'a' is a duplicate"),
        ("<unk> 5\n", r"dict\.phn\.txt row 1: the symbol '<unk>' is a duplicate"),
        ("\n", r"dict\.phn\.txt is empty"),
    ],
)
def test_bad_dictionaries(data, text, message):
    (data / "dict.phn.txt").write_text(text, encoding="utf-8")
    refused(data, message)


def test_bad_audio(data):
    (data / "audio" / "1.flac").write_bytes(b"")
    refused(data, r"train\.tsv row 3: .*1\.flac .* it is an empty file")
    write_audio(data / "audio" / "1.flac", 1001, rate=44_100)
    refused(data, r"1\.flac has 44100 samples a second")


def test_stored_archives_are_looked_for(data):
    rows = [str(data), "audio.zip:0:100\t1000", "audio.zip:9:10\t900", "gone.zip:9:10\t900"]
    (data / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (data / "audio.zip").write_bytes(b"PK")
    refused(data, r"train\.tsv row 4: .*gone\.zip:9:10: no such audio file")


@pytest.mark.parametrize("row", [1, 137, 500])
def test_every_header_is_read(data, row):
    rows = [str(data / "audio"), *["0.flac\t1000"] * 500]
    (data / "train.phn").write_text("a\n" * 500, encoding="utf-8")
    rows[row] = "2.flac\t1000"
    (data / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    refused(data, rf"train\.tsv row {row + 1}: .*2\.flac has 1002 samples, not 1000")
    rows[row] = "gone.flac\t1000"
    (data / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    refused(data, rf"train\.tsv row {row + 1}: .*gone\.flac: no such audio file")


def test_training_asks_for_more_than_scoring(data):
    refused(
        data, r"train\.tsv row 2: 0\.flac has 1000 samples, too few for span masks", training=True
    )
    # Two frames; three symbols of which two are the same need four.
    refused(
        data, r"train\.phn row 3 needs 4 frames, and 2\.flac has 2", training=True, mask_length=0
    )
    edit(data / "train.phn", "b b a", "b a")
    check_manifest(data, "train", "phn", training=True, mask_length=0)
    write_audio(data / "audio" / "1.flac", 399)
    edit(data / "train.tsv", "\t1001", "\t399")
    refused(data, r"train\.tsv row 3: 1\.flac has 399 samples, too few for a frame")


def test_threads_end_with_the_check(data):
    # Left to the garbage collector, they can block the next check for ever.
    (data / "audio" / "0.flac").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        check_manifest(data, "train", "phn")
    assert caught.value.__traceback__ is not None
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]
