from __future__ import annotations

import shutil
import tarfile

import pytest
from small_commonvoice import rows_of, write_mp3, write_published, write_release

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice
from parp_fairseq.manifests.corpora.commonvoice_left import LeftOut
from parp_fairseq.manifests.corpora.commonvoice_published import read_inventory, read_published
from parp_fairseq.manifests.output import RECORD_FILE

pytest.importorskip("soxr")

# Odd symbols, and numbers that are not in the order of the phones.
INVENTORY = {"ɛː": 4, "tʃʰ": 0, "a5": 2, "#": 1, "<": 3, "never": 5}
IDS = {
    "trainSeqs_1.0": ["c1", "c0"],
    "trainSeqs_5.0": ["c3", "c0", "c2", "c1"],
    "valSeqs_1.0": ["c4"],
    "testSeqs": ["c5", "c6"],
}
PHONES = {f"c{n}": [(n + k) % 5 for k in range(1 + n)] for n in range(9)}


def lines_of(path):
    return path.read_bytes().decode("utf-8").split("\n")[:-1]


@pytest.fixture
def release(tmp_path):
    """Clips without tables, as a folder of a release with a region in its name."""
    clips = tmp_path / "cv-corpus-4" / "sv-SE" / "clips"
    for number in range(7):
        write_mp3(clips / f"c{number}.mp3", 0.3)
    return clips.parent


@pytest.fixture
def splits(tmp_path):
    folder = tmp_path / "common_voices_splits"
    write_published(folder, "sv", PHONES, INVENTORY, IDS)
    return folder


def contents(out):
    """All but the record, which names the inputs."""
    files = [p for p in out.iterdir() if p.is_file() and p.name != RECORD_FILE]
    return {p.name: p.read_bytes() for p in files}


def test_lists_and_phones_as_published(release, splits, tmp_path):
    out = tmp_path / "out"
    summary = build_commonvoice(release.parent, "sv-SE", out, splits=splits, force=True)
    symbols = {number: phone for phone, number in INVENTORY.items()}
    for split, key in (("train", "trainSeqs_1.0"), ("dev", "valSeqs_1.0"), ("test", "testSeqs")):
        rows = lines_of(out / f"{split}.tsv")
        clips = sorted(IDS[key])
        assert rows == [str((out / "audio").resolve()), *(f"{c}.flac\t4800" for c in clips)]
        expected = [" ".join(symbols[number] for number in PHONES[clip]) for clip in clips]
        assert lines_of(out / f"{split}.phn") == expected
        assert not (out / f"{split}.wrd").exists()
    # In the order of the integers; counts are those of train.
    expected = ["tʃʰ 1", "# 1", "a5 1", "< 0", "ɛː 0", "never 0"]
    assert lines_of(out / "dict.phn.txt") == expected
    assert summary.left.counts == {}
    assert "note: no train.wrd: validated.tsv lacks the text of 2 clips" in summary.render()


def test_folder_archive_and_language_folder_give_the_same(release, splits, tmp_path):
    with tarfile.open(tmp_path / "splits.tar.gz", "w:gz") as tar:
        tar.add(splits, "common_voices_splits")
    places = [splits, splits.parent, splits / "sv", tmp_path / "splits.tar.gz"]
    audio = tmp_path / "audio"
    found = []
    for number, place in enumerate(places):
        out = tmp_path / f"out{number}"
        build_commonvoice(release, "sv", out, splits=place, hours=5, audio=audio, force=True)
        found.append(contents(out))
    assert len(lines_of(tmp_path / "out0" / "train.tsv")) == 5
    assert all(one == found[0] for one in found)


def test_five_hours_take_their_own_validation_list_where_there_is_one(release, splits, tmp_path):
    (splits / "sv" / "valSeqs_5.0_uniform_new_version.txt").write_text("c6\n", encoding="utf-8")
    (splits / "sv" / "testSeqs_uniform_new_version.txt").write_text("c5\n", encoding="utf-8")
    out = tmp_path / "out"
    build_commonvoice(release, "sv-SE", out, splits=splits, hours=5, force=True)
    assert lines_of(out / "dev.tsv")[1:] == ["c6.flac\t4800"]
    for hours in (2, 1.04):
        with pytest.raises(UserError, match=rf"no list for {hours} hours .* it has: 1, 5"):
            build_commonvoice(release, "sv-SE", out, splits=splits, hours=hours, force=True)


def test_text_where_the_release_has_it(splits, tmp_path):
    rows = [(f"s{n}", f"c{n}", f'Det är "mening" {n}.') for n in range(7)]
    release = write_release(tmp_path / "with-text", "sv-SE", {"validated": rows})
    out = tmp_path / "out"
    build_commonvoice(release, "sv-SE", out, splits=splits, force=True)
    assert lines_of(out / "train.wrd") == ['Det är "mening" 0.', 'Det är "mening" 1.']
    # Rows and text of one build stay together: a file that no longer fits goes.
    write_release(tmp_path / "with-text", "sv-SE", {"validated": rows[1:]})
    summary = build_commonvoice(release, "sv-SE", out, splits=splits, force=True)
    assert not (out / "train.wrd").exists() and (out / "test.wrd").exists()
    assert any("no train.wrd" in note and "1 clips" in note for note in summary.notes)


def test_clips_that_are_missing_or_in_two_lists_are_counted_and_named(release, splits, tmp_path):
    lists = {
        "trainSeqs_1.0": ["c0", "c1", "c1", "c4", "gone", "c8", "silent", "unknown"],
        "valSeqs_1.0": ["c4", "c5"],
        "testSeqs": ["c5", "c6"],
    }
    phones = {**PHONES, "gone": [1], "silent": []}
    shutil.rmtree(splits)
    write_published(splits, "sv", phones, INVENTORY, lists)
    summary = build_commonvoice(release, "sv-SE", tmp_path / "out", splits=splits, force=True)
    assert summary.left.counts == {
        "listed twice": 1,
        "dev clip that the list of test holds too": 1,
        "train clip that the list of dev holds too": 1,
        "no phones in the published annotations": 2,
        "no such clip": 2,
    }
    assert "left out: no such clip (2): c8, gone" in summary.render()
    assert [s.utterances for s in summary.splits] == [2, 1, 2]


def test_another_languages_release(splits, tmp_path):
    release = write_release(tmp_path, "sv-SE", {"validated": rows_of("nl", "train", 1, 2)})
    text = (release / "validated.tsv").read_text(encoding="utf-8").replace("\tsv-SE\t", "\tnl\t")
    (release / "validated.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="row 2 is in the language 'nl', not 'sv-SE'"):
        build_commonvoice(release, "sv-SE", tmp_path / "out", splits=splits, force=True)
    (release / "validated.tsv").unlink()
    with pytest.raises(UserError, match=r"train would be empty.*no such clip \(5\): c0, c1, c4, …"):
        build_commonvoice(release, "sv-SE", tmp_path / "out", splits=splits, force=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("phonesMatches_reduced.json", b"{", "is no sound JSON"),
        ("phonesMatches_reduced.json", b"[1]", "expected an object"),
        ("phonesMatches_reduced.json", b'{"a": "1"}', "the phone 'a' has '1'"),
        ("phonesMatches_reduced.json", b'{"a": 1, "b": 1}', "'a' and 'b' both have 1"),
        ("phonesMatches_reduced.json", b'{"a": true}', "the phone 'a' has True"),
        ("phonesMatches_reduced.json", None, "no such file"),
        ("validated_phones_reduced.txt", b"c9 x\nc0 1 x\n", "row 2: .* no integer of phones"),
        ("validated_phones_reduced.txt", b"c0 1\nc1 77\n", "row 2: 77 is no integer of phones"),
        ("validated_phones_reduced.txt", b"c0 1\nc0 2\n", "row 2: c0 has other phones"),
        ("validated_phones_reduced.txt", b"c0 1\n\xff\n", "row 2 is not UTF-8"),
        ("trainSeqs_1.0_uniform_new_version.txt", b"c0\n../c1\n", r"row 2: '../c1' is no plain"),
        ("trainSeqs_1.0_uniform_new_version.txt", b"c0\na\tb\n", r"row 2: 'a\\tb' is no plain"),
        ("valSeqs_1.0_uniform_new_version.txt", None, "no such file"),
    ],
)
def test_files_that_are_refused(release, splits, tmp_path, name, content, said):
    path = splits / "sv" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        build_commonvoice(release, "sv-SE", tmp_path / "out", splits=splits, force=True)
    assert name in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("phone", ["a b", "", "<s>", "<unk>", "a\u2028", "\u00a0"])
def test_phones_that_no_dictionary_can_hold(release, splits, tmp_path, phone):
    shutil.rmtree(splits)
    write_published(splits, "sv", PHONES, {**INVENTORY, phone: 6}, IDS)
    with pytest.raises(UserError, match="cannot stand in a fairseq dictionary"):
        build_commonvoice(release, "sv-SE", tmp_path / "out", splits=splits, force=True)
    assert not (tmp_path / "out").exists()


def test_archives_and_folders_that_are_refused(release, splits, tmp_path):
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(splits, "common_voices_splits")
        tar.add(splits / "sv" / "phonesMatches_reduced.json", "../evil.json")
    for place, said in (
        (tmp_path / "evil.tar.gz", r"member '\.\./evil\.json' points outside"),
        (tmp_path / "none", "no such folder or archive"),
        (release, r"holds no sv/validated_phones_reduced\.txt"),
    ):
        with pytest.raises(UserError, match=said):
            build_commonvoice(release, "sv-SE", tmp_path / "out", splits=place, force=True)
    assert not (tmp_path / "out").exists()


def test_windows_line_ends(splits, tmp_path):
    before = read_published(splits / "sv", 1.0, LeftOut())
    for path in (splits / "sv").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_published(splits / "sv", 1.0, LeftOut()) == before
    assert read_inventory(splits / "sv" / "phonesMatches_reduced.json")[4] == "ɛː"
