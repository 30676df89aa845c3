"""What training refuses, and what `parp manifest check` finds: they are the same."""

import json
import os

import pytest
from small_corpora import edit_row, lines_of, write_audio, write_lines, write_split

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.check.split import check_manifest


@pytest.fixture
def data(tmp_path):
    """Sound: train, dev and test with phones; train's files are of 8,000 samples and more."""
    write_split(tmp_path, "train", ["a b", "tʃ", "b b a", "a"])
    write_split(tmp_path, "dev", ["a b", "b"])
    write_split(tmp_path, "test", ["tʃ", "b"])
    write_lines(tmp_path / "dict.phn.txt", ["a 5", "b 3", "tʃ 1"])
    return tmp_path


def found(data, **options):
    report = check_folder(data, **options)
    assert all("\n" not in finding.first for finding in report.findings)
    return {(f.split, f.level, f.problem): f.count for f in report.findings}


def test_a_sound_folder(data):
    checked = check_manifest(data, "train", "phn", training=True)
    assert checked.labels == ["a b", "tʃ", "b b a", "a"]
    assert [row.frames for row in checked.manifest.rows] == [8000, 8001, 8002, 8003]
    assert checked.hours == pytest.approx(32_006 / 16_000 / 3600)
    report = check_folder(data, decode=True)
    assert report.ok and report.findings == () and report.to_json()["ok"] is True
    header, *rows = report.render().splitlines()
    assert header.split() == ["split", "labels", "utterances", "hours", "result", "times", "first"]
    assert [row.split() for row in rows] == [
        ["dev", "phn", "2", "0.00", "ok"],
        ["test", "phn", "2", "0.00", "ok"],
        ["train", "phn", "4", "0.00", "ok"],
    ]


def audio(frames=8001, **options):
    return lambda data: write_audio(data / "audio" / "train-1.flac", frames, **options)


def bytes_of(name, content):
    return lambda data: (data / name).write_bytes(content)


def row(name, number, text):
    return lambda data: edit_row(data / name, number, text)


def gone(name):
    return lambda data: (data / name).unlink()


def short(frames):
    return lambda data: write_split(data, "train", ["a"], frames=frames)


BREAKS = {
    # Name → what is done to the folder, the problem, and how it is told.
    "missing": (gone("audio/train-1.flac"), "missing audio", r"train\.tsv row 3: .*no such fi"),
    "empty": (bytes_of("audio/train-1.flac", b""), "empty file", r"row 3: .*1\.flac is empty"),
    "44.1 kHz": (audio(rate=44_100), "other sample rate", "row 3: .*44100 samples a second"),
    "stereo": (audio(channels=2), "not mono", "row 3: .*has 2 channels"),
    "length": (audio(8002), "other length", "row 3: .*8002 samples, not 8001"),
    "symbol": (row("train.phn", 2, "ŋ"), "symbol outside the dictionary", r"phn row 2: .*'ŋ'"),
    "no label": (row("train.phn", 2, " "), "empty label", r"train\.phn row 2 is empty"),
    "too long": (
        row("train.phn", 2, " ".join("a" * 13)),
        "label longer than its audio",
        r"train\.phn row 2 needs 25 frames, and train-1\.flac has 24",
    ),
    "short": (
        short(4239),
        "audio too short",
        "row 2: .*4239 samples, too few for span masks of 10",
    ),
    "no frame": (short(399), "audio too short", r"row 2: .*399 samples, too few for a frame"),
    "moved": (row("train.tsv", 1, "/nowhere"), "missing root", r"row 1: /nowhere: no such"),
    "archive": (
        row("train.tsv", 3, "x.zip:9:10\t8001"),
        "missing audio",
        r"row 3: .*x\.zip:9:10: no",
    ),
    "columns": (row("train.tsv", 3, "a.flac\t1\tx"), "unusable", "row 3: expected 'path<TAB>s"),
    "number": (row("train.tsv", 3, "a.flac\t1.5"), "unusable", "row 3: '1.5' is no number"),
    "zero": (row("train.tsv", 3, "a.flac\t0"), "unusable", "row 3: '0' is no number"),
    "no root": (row("train.tsv", 1, "a.flac\t800"), "unusable", "row 1: expected the folder"),
    "no rows": (bytes_of("train.tsv", b"/\n"), "unusable", "train.tsv lists no audio"),
    "nothing": (bytes_of("train.tsv", b""), "unusable", "row 1: expected the folder"),
    "fewer": (bytes_of("train.phn", b"a\n"), "unusable", "1 lines but .* lists 4 audio files"),
    "no labels": (gone("train.phn"), "unusable", r"train\.phn: no such label file"),
    "latin 1": (bytes_of("train.phn", b"a\n\xe9\n"), "unusable", "phn row 2 is not UTF-8"),
    "dictionary": (bytes_of("dict.phn.txt", b"a 5\nb\n"), "unusable", r"txt row 2: expected"),
    "symbol twice": (bytes_of("dict.phn.txt", b"a 5\na 1\n"), "unusable", "row 2: .*'a'"),
    "special": (bytes_of("dict.phn.txt", b"<unk> 5\n"), "unusable", "row 1: .*'<unk>'"),
    "no symbols": (bytes_of("dict.phn.txt", b"\n"), "unusable", r"dict\.phn\.txt is empty"),
}


@pytest.mark.legacy
@pytest.mark.parametrize("name", sorted(BREAKS))
def test_what_breaks_a_run_is_an_error_that_training_refuses_too(data, name):
    damage, problem, told = BREAKS[name]
    damage(data)
    assert found(data)["train", "error", problem] == 1
    assert not check_folder(data).ok
    first = next(f.first for f in check_folder(data).findings if f.split == "train")
    with pytest.raises(UserError, match=told) as caught:
        check_manifest(data, "train", "phn", training=True)
    assert str(caught.value) == first


def test_crlf_no_last_line_end_absolute_and_repeated_rows(data):
    audio = data / "audio"
    rows = ["/nowhere", *[f"{audio}/dev-0.flac\t8000"] * 2, f"{audio}/dev-1.flac\t8001"]
    (data / "train.tsv").write_bytes("\r\n".join(rows).encode())
    (data / "train.phn").write_bytes("a b\r\ntʃ \r\nb b a".encode())
    dictionary = (data / "dict.phn.txt").read_bytes()
    (data / "dict.phn.txt").write_bytes(dictionary.replace(b"\n", b"\r\n"))
    assert len(check_manifest(data, "train", "phn").manifest.rows) == 3


def test_symbols_of_a_checkpoint_instead_of_the_file(data):
    (data / "dict.phn.txt").unlink()
    check_manifest(data, "train", "phn", symbols=["a", "b", "tʃ"])
    with pytest.raises(UserError, match=r"train\.phn row 2: the symbol 'tʃ' is not in model\.pt"):
        check_manifest(data, "train", "phn", symbols=["a", "b"], symbols_from="model.pt")
    with pytest.raises(UserError, match=r"dict\.phn\.txt: no dictionary there"):
        check_manifest(data, "train", "phn")


def test_missing_folder_and_split(data, tmp_path):
    with pytest.raises(UserError, match=r"gone: no such folder"):
        check_manifest(data / "gone", "train", "phn")
    with pytest.raises(UserError, match=r"valid\.tsv: no such manifest; .*: dev, test, train$"):
        check_manifest(data, "valid", "phn")
    write_split(tmp_path / "new", "train", ["a"])
    with pytest.raises(UserError, match=r"holds no dict\.\*\.txt"):
        check_folder(tmp_path / "new")


@pytest.mark.parametrize("row", [1, 137, 500])
def test_every_header_is_read(data, row):
    rows = [str(data / "audio"), *["dev-0.flac\t8000"] * 500]
    write_lines(data / "train.phn", ["a"] * 500)
    for path, message in (("dev-1.flac", "has 8001 samples, not 8000"), ("x.flac", "no such fi")):
        rows[row] = f"{path}\t8000"
        write_lines(data / "train.tsv", rows)
        with pytest.raises(UserError, match=rf"train\.tsv row {row + 1}: .*{path}.* {message}"):
            check_manifest(data, "train", "phn")


def test_training_asks_for_more_than_scoring(data):
    edit_row(data / "test.phn", 1, " ".join("a" * 30))
    assert found(data) == {("test", "warning", "label longer than its audio"): 1}
    check_manifest(data, "test", "phn")
    with pytest.raises(UserError, match=r"test\.phn row 1 needs 59 frames"):
        check_manifest(data, "test", "phn", training=True, mask_length=0)
    # 8,001 samples are 24 frames; symbols that differ need no blanks between them.
    edit_row(data / "test.phn", 1, " ".join("ab" * 12))
    check_manifest(data, "test", "phn", training=True)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_splits_share_is_a_warning(data, link):
    root = str(data / "audio")
    link(data / "audio" / "train-2.flac", data / "audio" / "link.flac")
    write_lines(data / "test.tsv", [root, "train-1.flac\t8001", "dev-0.flac\t8000"])
    # Between valid and valid-nl, and repeated in train, audio is meant to be shared.
    write_lines(data / "dev-x.tsv", [root, "dev-0.flac\t8000", "dev-0.flac\t8000"])
    write_lines(data / "dev-x.phn", ["a", "a"])
    write_lines(data / "train.tsv", [root, *["train-1.flac\t8001"] * 3, "train-2.flac\t8002"])
    expected = {
        ("test", "warning", "audio also in train"): 1,
        ("test", "warning", "audio also in dev"): 1,
        ("dev-x", "warning", "audio twice"): 1,
    }
    assert found(data) == expected and check_folder(data).ok
    # Under another name it is the same recording.
    edit_row(data / "test.tsv", 2, "link.flac\t8002")
    assert found(data) == expected


def test_speakers_of_librispeech_paths(data):
    for split, speaker, chapter in (("train", 7, 1), ("dev", 8, 2), ("test", 7, 3)):
        name = f"{speaker}/{chapter}/{speaker}-{chapter}-000{{index}}.flac"
        write_split(data, split, ["a", "b"], name=name)
    assert found(data) == {("test", "warning", "speakers also in train"): 1}


def test_decoding_finds_damage_inside(data):
    """A header and a last sample do not show it; what was cut off they do."""
    path = data / "audio" / "train-2.flac"
    write_audio(path, 40_000)
    edit_row(data / "train.tsv", 4, "train-2.flac\t40000")
    whole = path.read_bytes()
    path.write_bytes(whole[:30_000] + bytes(9_000) + whole[39_000:])
    assert found(data) == {}
    ends_early = {("train", "error", "audio ends early"): 1}
    assert found(data, decode=True) == ends_early
    path.write_bytes(whole[:-9_000])
    assert found(data) == ends_early


def test_two_kinds_of_labels(data):
    write_lines(data / "dict.ltr.txt", ["a 1", "| 1"])
    for split in ("train", "dev", "test"):
        write_lines(data / f"{split}.ltr", ["a |"] * len(lines_of(data / f"{split}.phn")))
    for index in (0, 1):
        (data / "audio" / f"dev-{index}.flac").unlink()
    edit_row(data / "dev.ltr", 2, "z |")
    assert found(data) == {
        ("dev", "error", "missing audio"): 2,
        ("dev", "error", "symbol outside the dictionary"): 1,
    }
    assert len(check_folder(data).splits) == 6
    assert found(data, labels="phn") == {("dev", "error", "missing audio"): 2}
    assert "dev.tsv row 2: " in check_folder(data, labels="phn").findings[0].first


def test_the_command(parp, data):
    code, printed, _ = parp("manifest", "check", data)
    assert code == 0 and "train  phn" in printed
    (data / "audio" / "dev-0.flac").unlink()
    code, printed, _ = parp("manifest", "check", data, "--json")
    assert code == 1 and json.loads(printed)["findings"][0]["problem"] == "missing audio"
