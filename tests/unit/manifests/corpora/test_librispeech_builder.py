import os
import shutil

import pytest
from small_corpora import lines_of, snapshot, write_audio, write_chapter, write_librilight

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.librilight import build_librilight
from parp_fairseq.manifests.corpora.librispeech import build_librispeech

CHAPTER = "librispeech_finetuning/1h/0/clean/10/100"
TEXTS = f"{CHAPTER}/10-100.trans.txt"


@pytest.fixture
def corpora(tmp_path):
    return write_librilight(tmp_path)


def build(corpora, **options):
    finetuning, speech = corpora / "librispeech_finetuning", corpora / "LibriSpeech"
    return build_librilight(finetuning, speech, corpora / "out", **options, force=True)


@pytest.mark.legacy
def test_three_sets_with_all_their_files(corpora):
    summary = build(corpora)
    out, root = corpora / "out", str((corpora / "librispeech_finetuning").resolve())
    names = ["dict.ltr.txt", "manifest.json"]
    for split in ("train", "dev-clean", "dev-other", "test-clean", "test-other"):
        names += [f"{split}.tsv", f"{split}.ltr", f"{split}.wrd"]
    assert sorted(os.listdir(out)) == ["10h", "10min", "1h"]
    counts = {(s.folder, s.split): s.utterances for s in summary.splits}
    for folder, count in (("10min", 4), ("1h", 24), ("10h", 29)):
        assert sorted(os.listdir(out / folder)) == sorted(names)
        assert (counts[folder, "train"], counts[folder, "dev-other"]) == (count, 3)
        start, *rows = lines_of(out / folder / "train.tsv")
        assert start == root and rows == sorted(rows) and len({*rows}) == count
    assert all(line.startswith("1h/0/") for line in lines_of(out / "10min/train.tsv")[1:])
    train = summary.splits[0]
    frames = [int(line.split("\t")[1]) for line in lines_of(out / "10min" / "train.tsv")[1:]]
    assert train.samples == sum(frames)
    assert train.hours == pytest.approx(train.samples / 16_000 / 3600)
    assert train.words == len(" ".join(lines_of(out / "10min/train.wrd")).split())
    assert any("dataset.valid_subset=dev-other" in line for line in summary.commands)
    first = snapshot(out)
    build(corpora, jobs=8)
    assert snapshot(out) == first


def test_labels_follow_the_rows(corpora):
    text = "\ufeff10-100-0000 IT'S  A\r\n10-100-0001 WORLD \r\n\r\n"
    (corpora / TEXTS).write_bytes(text.encode())
    build(corpora)
    out = corpora / "out" / "10min"
    assert lines_of(out / "train.ltr")[:2] == ["I T ' S | A |", "W O R L D |"]
    assert lines_of(out / "train.wrd")[:2] == ["IT'S A", "WORLD"]


def test_sets_and_parts_that_are_not_there(corpora):
    shutil.rmtree(corpora / "LibriSpeech" / "test-other")
    out = corpora / "out"
    summary = build_librilight(corpora, corpora, out, sets=["10min"], jobs=2)
    assert os.listdir(out) == ["10min"] and "test-other (not found)" in summary.render()
    assert not (out / "10min" / "test-other.tsv").exists()
    # Another fold, as parts of its own.
    parts = "train=1h/3/clean+1h/3/other"
    build_librispeech(corpora / "librispeech_finetuning", [parts], corpora / "fold")
    rows = lines_of(corpora / "fold" / "train.tsv")[1:]
    assert len(rows) == 4 and all(row.startswith("1h/3/") for row in rows)


def test_links_into_the_corpus_are_followed_and_loops_are_not(corpora):
    fold = corpora / "librispeech_finetuning/1h/0"
    (fold / "other").rename(corpora / "elsewhere")
    (fold / "other").symlink_to(corpora / "elsewhere")
    (fold / "clean" / "10" / "back").symlink_to(fold)
    (fold / "clean" / "10" / "100" / "._10-100-0000.flac").write_bytes(b"")
    build(corpora)
    paths = [r.split("\t")[0] for r in lines_of(corpora / "out/10min/train.tsv")[1:]]
    assert len(paths) == 4 and any(path.startswith("1h/0/other/10/101/") for path in paths)


def gone(name):
    def remove(root):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def texts(content):
    return lambda root: (root / TEXTS).write_bytes(content)


def audio(name, **options):
    return lambda root: write_audio(root / CHAPTER / name, 900, **options)


AUDIO, FINETUNING = f"{CHAPTER}/10-100-0001.flac", "librispeech_finetuning"
ONE = b"10-100-0000 A\n"
DAMAGES = {
    # Name → what is done to the corpora, and the message it must give.
    "empty": (lambda root: (root / AUDIO).write_bytes(b""), r"10-100-0001\.flac is empty"),
    "rate": (
        audio("10-100-0001.flac", rate=8_000),
        r"0001\.flac has 8000 samples a second, expected 16000",
    ),
    "no audio": (gone(AUDIO), r"10-100\.trans\.txt row 2: 10-100-0001\.flac is missing"),
    "no transcript": (audio("10-100-0009.flac"), r"0009\.flac has no transcript in 10-100\.trans"),
    "upper case": (audio("10-100-0009.FLAC"), r"0009\.FLAC has no transcript in 10-100\.trans"),
    "other audio": (audio("../107/10-107-0000.wav"), r"107 has no 10-107\.trans\.txt"),
    "no transcripts": (gone(TEXTS), r"100 has no 10-100\.trans\.txt"),
    "id twice": (
        texts(ONE + b"10-100-0001 B\n" + ONE),
        r"trans\.txt row 3: 10-100-0000 is a duplicate of row 1",
    ),
    "lower case": (texts(ONE + b"10-100-0001 WORLd\n"), r"txt row 2: the character 'd'.*capi"),
    "boundary": (texts(b"10-100-0000 A|B\n10-100-0001 B\n"), r"row 1: the character '\|' is"),
    "no text": (texts(ONE + b"10-100-0001\n"), r"trans\.txt row 2: 10-100-0001 has no text"),
    "latin 1": (texts(ONE + b"10-100-0001 \xc9\n"), r"trans\.txt row 2 is not UTF-8 text"),
    "id in two folders": (
        lambda root: write_chapter(root / FINETUNING / "9h/clean", 10, 100, 2),
        r"9h/clean/10/100.*10-100-0000 is also in .*1h/0/clean",
    ),
    "no fold": (gone(f"{FINETUNING}/1h/4"), r"1h/4: no such folder, and 1h needs it"),
    "no dev-other": (gone("LibriSpeech/dev-other"), r"dev-other: no such folder; training"),
}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_bad_corpora_are_refused_and_nothing_is_written(corpora, name):
    damage, message = DAMAGES[name]
    build(corpora, sets=["10min"])
    before = snapshot(corpora / "out")
    damage(corpora)
    with pytest.raises(UserError, match=message) as caught:
        build(corpora)
    assert "\n" not in str(caught.value)
    assert snapshot(corpora / "out") == before


def test_parts_and_parts_together_sorted_as_text(corpora):
    speech = corpora / "LibriSpeech"
    # As text `train-a-b/…` comes before `train-a/…`, and `1/10/…` before `1/9/…`.
    for part, chapters in {"train-a": (9, 10, 100), "train-a-b": (9,)}.items():
        for chapter in chapters:
            write_chapter(speech / part, 1 + len(part), chapter, 3)
    write_chapter(speech / "train-a" / "x", 40, 1, 2)
    write_chapter(speech / "train-a" / "x-y", 41, 1, 2)
    summary = build_librispeech(speech, ["train=train-a+train-a-b", "dev-other"], corpora / "out")
    assert [(s.split, s.utterances) for s in summary.splits] == [("train", 16), ("dev-other", 3)]
    root, *rows = lines_of(corpora / "out" / "train.tsv")
    assert root == str(speech.resolve())
    assert rows == sorted(rows) and rows[0].startswith("train-a-b/")
    assert lines_of(corpora / "out" / "dev-other.tsv")[0] == str((speech / "dev-other").resolve())


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([], "no splits given"),
        (["dev-other", "dev-other"], "given twice"),
        (["train="], "is not understood"),
        (["a/b=dev-other"], "is not understood"),
        (["train=dev-other+dev-other"], r"the utterance .* is also in"),
    ],
)
def test_bad_splits(corpora, splits, message):
    with pytest.raises(UserError, match=message):
        build_librispeech(corpora, splits, corpora / "out")
    assert not (corpora / "out").exists()
