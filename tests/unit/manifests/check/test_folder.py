from __future__ import annotations

import json
import sys

import pytest
from small_corpora import write_audio
from small_manifests import lines_of, write_split, write_text

from parp_fairseq import cli
from parp_fairseq.errors import UserError
from parp_fairseq.manifests import check_folder, check_manifest


@pytest.fixture
def data(tmp_path):
    """Sound: train, dev and test with phones."""
    write_split(tmp_path, "train", ["a b", "tʃ", "b b a", "a"])
    write_split(tmp_path, "dev", ["a b", "b"])
    write_split(tmp_path, "test", ["tʃ", "b"])
    write_text(tmp_path / "dict.phn.txt", ["a 5", "b 3", "tʃ 1"])
    return tmp_path


def edit(path, row, text):
    lines = lines_of(path)
    lines[row - 1] = text
    write_text(path, lines)


def found(data, **options):
    report = check_folder(data, **options)
    assert all("\n" not in finding.first for finding in report.findings)
    return {(f.split, f.level, f.problem): f.count for f in report.findings}


def test_a_sound_folder(data):
    report = check_folder(data, decode=True)
    assert report.ok and report.findings == ()
    header, *rows = report.render().splitlines()
    assert header.split() == ["split", "labels", "utterances", "hours", "result", "times", "first"]
    assert [row.split() for row in rows] == [
        ["dev", "phn", "2", "0.00", "ok"],
        ["test", "phn", "2", "0.00", "ok"],
        ["train", "phn", "4", "0.00", "ok"],
    ]
    assert report.to_json()["ok"] is True


def breaks():
    """Name → what is done to the folder, the split and what must be found there."""

    def audio(**options):
        return lambda data: write_audio(data / "audio" / "train-1.flac", 8001, **options)

    def set_row(name, row, text):
        return lambda data: edit(data / name, row, text)

    def cut(data):
        path = data / "audio" / "train-1.flac"
        path.write_bytes(path.read_bytes()[:60])

    return {
        "missing": (lambda data: (data / "audio/train-1.flac").unlink(), "missing audio"),
        "empty": (lambda data: (data / "audio/train-1.flac").write_bytes(b""), "empty file"),
        "cut": (cut, "damaged audio"),
        "8 kHz": (audio(rate=8_000), "other sample rate"),
        "44.1 kHz": (audio(rate=44_100), "other sample rate"),
        "48 kHz": (audio(rate=48_000), "other sample rate"),
        "stereo": (audio(channels=2), "not mono"),
        "length": (set_row("train.tsv", 3, "train-1.flac\t8000"), "other length"),
        "symbol": (set_row("train.phn", 2, "ŋ"), "symbol outside the dictionary"),
        "no label": (set_row("train.phn", 2, " "), "empty label"),
        "too long": (set_row("train.phn", 2, " ".join("a" * 13)), "label longer than its audio"),
        "short": (
            lambda data: write_split(data, "train", ["a"], frames=4239),
            "audio too short",
        ),
        "moved": (set_row("train.tsv", 1, "/nowhere/at/all"), "missing root"),
        "row": (set_row("train.tsv", 3, "train-1.flac 8001"), "unusable"),
        "fewer": (lambda data: write_text(data / "train.phn", ["a"]), "unusable"),
        "no labels": (lambda data: (data / "train.phn").unlink(), "unusable"),
        "latin 1": (lambda data: (data / "train.phn").write_bytes(b"\xe9\n" * 4), "unusable"),
        "dictionary": (lambda data: write_text(data / "dict.phn.txt", ["a"]), "unusable"),
    }


BREAKS = breaks()


@pytest.mark.legacy
@pytest.mark.parametrize("name", sorted(BREAKS))
def test_what_breaks_a_run_is_an_error_that_training_refuses_too(data, name):
    damage, problem = BREAKS[name]
    check_manifest(data, "train", "phn", training=True)
    damage(data)
    assert found(data)["train", "error", problem] == 1
    assert not check_folder(data).ok
    first = next(f.first for f in check_folder(data).findings if f.split == "train")
    with pytest.raises(UserError) as caught:
        check_manifest(data, "train", "phn", training=True)
    assert str(caught.value) == first


def test_13_symbols_fit_into_24_frames_only_if_they_differ(data):
    # 8,001 samples are 24 frames; 13 equal symbols need 12 blanks between them.
    edit(data / "train.phn", 2, " ".join("a" * 12))
    assert found(data) == {}
    edit(data / "train.phn", 2, " ".join("ab" * 12))
    assert found(data) == {}


def test_errors_are_counted_and_the_first_is_told(data):
    for index in (1, 3):
        (data / "audio" / f"train-{index}.flac").unlink()
    edit(data / "train.phn", 1, "x")
    report = check_folder(data)
    assert [(f.problem, f.count) for f in report.findings] == [
        ("symbol outside the dictionary", 1),
        ("missing audio", 2),
    ]
    assert "train.tsv row 3: " in report.findings[1].first


def test_held_out_labels_may_be_too_long_but_are_told(data):
    edit(data / "test.phn", 1, " ".join("a" * 30))
    assert found(data) == {("test", "warning", "label longer than its audio"): 1}
    check_manifest(data, "test", "phn")


def test_what_splits_share_is_a_warning(data):
    root = str(data / "audio")
    write_text(data / "test.tsv", [root, "train-1.flac\t8001", "dev-0.flac\t8000"])
    # Between valid and valid-nl, and repeated in train, audio is meant to be shared.
    write_text(data / "dev-x.tsv", [root, "dev-0.flac\t8000", "dev-0.flac\t8000"])
    write_text(data / "dev-x.phn", ["a", "a"])
    write_text(data / "train.tsv", [root, *["train-1.flac\t8001"] * 4])
    assert found(data) == {
        ("test", "warning", "audio also in train"): 1,
        ("test", "warning", "audio also in dev"): 1,
        ("dev-x", "warning", "audio twice"): 1,
    }
    assert check_folder(data).ok


def test_speakers_of_librispeech_paths(data):
    for split, speaker in (("train", 7), ("dev", 8), ("test", 7)):
        labels = ["a", "b"]
        write_split(data, split, labels, name=f"{speaker}/12/{speaker}-12-{{split}}{{index}}.flac")
    assert found(data) == {}  # Not LibriSpeech's names.
    for split, speaker, chapter in (("train", 7, 1), ("dev", 8, 2), ("test", 7, 3)):
        name = f"{speaker}/{chapter}/{speaker}-{chapter}-000{{index}}.flac"
        write_split(data, split, ["a", "b"], name=name)
    assert found(data) == {("test", "warning", "speakers also in train"): 1}


def test_decoding_finds_audio_that_ends_early(data):
    path = data / "audio" / "train-2.flac"
    write_audio(path, 40_000)
    edit(data / "train.tsv", 4, "train-2.flac\t40000")
    path.write_bytes(path.read_bytes()[:-9000])
    assert found(data) == {}
    assert found(data, decode=True) == {("train", "error", "audio ends early"): 1}


def test_two_kinds_of_labels(data):
    write_text(data / "dict.ltr.txt", ["a 1", "| 1"])
    for split, count in (("train", 4), ("dev", 2), ("test", 2)):
        write_text(data / f"{split}.ltr", ["a |"] * count)
    (data / "audio" / "dev-0.flac").unlink()
    edit(data / "dev.ltr", 2, "z |")
    assert found(data) == {
        ("dev", "error", "missing audio"): 1,
        ("dev", "error", "symbol outside the dictionary"): 1,
    }
    assert len(check_folder(data).splits) == 6
    assert found(data, labels="phn") == {("dev", "error", "missing audio"): 1}


def test_command(data, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["parp", "manifest", "check", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr()

    code, output = run(data)
    assert code == 0 and "train  phn" in output.out
    (data / "audio" / "dev-0.flac").unlink()
    code, output = run(data, "--json")
    assert code == 1 and json.loads(output.out)["findings"][0]["problem"] == "missing audio"
    code, output = run(data / "gone")
    assert code == 2 and output.out == ""
    assert output.err.startswith("parp: error: ") and output.err.count("\n") == 1


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.tsv"):
        check_folder(tmp_path)
    write_split(tmp_path, "train", ["a"])
    with pytest.raises(UserError, match=r"holds no dict\.\*\.txt"):
        check_folder(tmp_path)
