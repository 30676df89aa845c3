from __future__ import annotations

import os
import shutil

import pytest
import soundfile
from small_corpora import write_audio, write_chapter

from parp_fairseq.errors import UserError
from parp_fairseq.manifests import build_librilight


def lines_of(path):
    return path.read_bytes().decode("utf-8").split("\n")[:-1]


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def build(corpora, out=None, **options):
    out = out or corpora / "out"
    return build_librilight(
        corpora / "librispeech_finetuning", corpora / "LibriSpeech", out, **options, force=True
    )


def test_three_sets_with_all_their_files(corpora):
    summary = build(corpora)
    names = ["dict.ltr.txt"]
    for split in ("train", "dev-clean", "dev-other", "test-clean", "test-other"):
        names += [f"{split}.tsv", f"{split}.ltr", f"{split}.wrd"]
    for folder in ("10min", "1h", "10h"):
        assert sorted(os.listdir(corpora / "out" / folder)) == sorted([*names, "manifest.json"])
    assert sorted(os.listdir(corpora / "out")) == ["10h", "10min", "1h"]
    counts = {(s.folder, s.split): s.utterances for s in summary.splits}
    assert counts["10min", "train"] == 4
    assert counts["1h", "train"] == 24
    assert counts["10h", "train"] == 29
    assert all(counts[f, "dev-other"] == 3 for f in ("10min", "1h", "10h"))
    assert summary.missing_parts == ()


def test_rows_are_true_sorted_and_below_one_root(corpora):
    build(corpora)
    root = str((corpora / "librispeech_finetuning").resolve())
    for folder in ("10min", "1h", "10h"):
        lines = lines_of(corpora / "out" / folder / "train.tsv")
        assert lines[0] == root
        paths = [line.split("\t")[0] for line in lines[1:]]
        assert paths == sorted(paths) and len(set(paths)) == len(paths)
        assert not any(".." in path or path.startswith("/") for path in paths)
        for line in lines[1:]:
            path, frames = line.split("\t")
            assert soundfile.info(os.path.join(root, path)).frames == int(frames)
    ten = {line.split("/")[0] for line in lines_of(corpora / "out/10h/train.tsv")[1:]}
    assert ten == {"1h", "9h"}
    assert all(line.startswith("1h/0/") for line in lines_of(corpora / "out/10min/train.tsv")[1:])
    dev = lines_of(corpora / "out/1h/dev-other.tsv")
    assert dev[0] == str((corpora / "LibriSpeech" / "dev-other").resolve())
    assert dev[1].startswith("201/400/201-400-0000.flac\t")


def test_labels_follow_the_rows(corpora):
    chapter = corpora / "librispeech_finetuning/1h/0/clean/10/100"
    text = "10-100-0000 IT'S  A\r\n10-100-0001 WORLD \r\n\r\n"
    (chapter / "10-100.trans.txt").write_bytes(text.encode())
    build(corpora)
    out = corpora / "out" / "10min"
    assert lines_of(out / "train.ltr")[:2] == ["I T ' S | A |", "W O R L D |"]
    assert lines_of(out / "train.wrd")[:2] == ["IT'S A", "WORLD"]
    assert len(lines_of(out / "train.ltr")) == len(lines_of(out / "train.tsv")) - 1
    assert b"\r" not in (out / "train.ltr").read_bytes()


def test_builds_are_the_same_whatever_the_jobs_and_replace_older_ones(corpora):
    build(corpora, jobs=1)
    first = snapshot(corpora / "out")
    (corpora / "out" / "10min" / "note.txt").write_text("mine", encoding="utf-8")
    build(corpora, jobs=8)
    second = snapshot(corpora / "out")
    assert second.pop(os.path.join("10min", "note.txt")) == b"mine"
    assert second == first


def test_folder_above_is_found_and_sets_and_folds_chosen(corpora):
    summary = build_librilight(
        corpora, corpora, corpora / "out", sets=["10min"], folds=[0, 3], jobs=2, force=True
    )
    assert sorted(os.listdir(corpora / "out")) == ["10min", "10min-fold3"]
    rows = lines_of(corpora / "out" / "10min-fold3" / "train.tsv")[1:]
    assert len(rows) == 4 and all(row.startswith("1h/3/") for row in rows)
    assert "10min-fold3" in summary.render()


def test_missing_parts_are_named(corpora):
    shutil.rmtree(corpora / "LibriSpeech" / "test-other")
    summary = build(corpora)
    assert [p.split(os.sep)[-1] for p in summary.missing_parts] == ["test-other"]
    assert "test-other (not found)" in summary.render()
    assert not (corpora / "out" / "1h" / "test-other.tsv").exists()


def test_summary_adds_up(corpora):
    summary = build(corpora)
    train = next(s for s in summary.splits if (s.folder, s.split) == ("10min", "train"))
    rows = lines_of(corpora / "out" / "10min" / "train.tsv")[1:]
    samples = sum(int(row.split("\t")[1]) for row in rows)
    words = sum(len(line.split()) for line in lines_of(corpora / "out/10min/train.wrd"))
    assert (train.samples, train.words) == (samples, words)
    assert train.hours == pytest.approx(samples / 16_000 / 3600)
    assert summary.to_json()["splits"][0]["utterances"] == 4


def test_links_into_the_corpus_are_followed_and_loops_are_not(corpora):
    fold = corpora / "librispeech_finetuning/1h/0"
    (fold / "other").rename(corpora / "elsewhere")
    (fold / "other").symlink_to(corpora / "elsewhere")
    (fold / "clean" / "10" / "back").symlink_to(fold)
    build(corpora)
    paths = [r.split("\t")[0] for r in lines_of(corpora / "out/10min/train.tsv")[1:]]
    assert len(paths) == 4 and any(path.startswith("1h/0/other/10/101/") for path in paths)


CHAPTER = "librispeech_finetuning/1h/0/clean/10/100"


def damages():
    """Name → what is done to the corpora, and the message it must give."""

    def corrupt(root):
        (root / CHAPTER / "10-100-0001.flac").write_bytes(b"fLaC" + b"\0" * 60)

    def empty_file(root):
        (root / CHAPTER / "10-100-0001.flac").write_bytes(b"")

    def rate(root):
        write_audio(root / CHAPTER / "10-100-0001.flac", 900, rate=8_000)

    def stereo(root):
        write_audio(root / CHAPTER / "10-100-0001.flac", 900, channels=2)

    def no_audio(root):
        (root / CHAPTER / "10-100-0001.flac").unlink()

    def no_transcript(root):
        write_audio(root / CHAPTER / "10-100-0009.flac", 900)

    def no_transcripts(root):
        (root / CHAPTER / "10-100.trans.txt").unlink()

    def rewrite(text):
        def change(root):
            (root / CHAPTER / "10-100.trans.txt").write_bytes(text)

        return change

    def twice(root):
        write_chapter(root / "librispeech_finetuning/9h/clean", 10, 100, 2)

    def no_fold(root):
        shutil.rmtree(root / "librispeech_finetuning/1h/4")

    def empty_fold(root):
        shutil.rmtree(root / "librispeech_finetuning/1h/4/clean")
        shutil.rmtree(root / "librispeech_finetuning/1h/4/other")

    def no_dev(root):
        shutil.rmtree(root / "LibriSpeech/dev-other")

    def no_tree(root):
        shutil.rmtree(root / "librispeech_finetuning")
        (root / "librispeech_finetuning").mkdir()

    return {
        "corrupt": (corrupt, r"10-100-0001\.flac cannot be read as audio: its header is damaged"),
        "empty": (empty_file, r"10-100-0001\.flac cannot be read as audio"),
        "rate": (rate, r"10-100-0001\.flac has 8000 samples a second, expected 16000"),
        "stereo": (stereo, r"10-100-0001\.flac has 2 channels, expected 1"),
        "no audio": (no_audio, r"10-100\.trans\.txt row 2: 10-100-0001\.flac is missing"),
        "no transcript": (no_transcript, r"10-100-0009\.flac has no transcript in 10-100\.trans"),
        "no transcripts": (no_transcripts, r"100 has no 10-100\.trans\.txt"),
        "id twice": (
            rewrite(b"10-100-0000 A\n10-100-0001 B\n10-100-0000 A\n"),
            r"10-100\.trans\.txt row 3: 10-100-0000 was already transcribed in row 1",
        ),
        "lower case": (
            rewrite(b"10-100-0000 A\n10-100-0001 WORLd\n"),
            r"10-100\.trans\.txt row 2: the character 'd' is not in the letter.*capitals",
        ),
        "digit": (
            rewrite(b"10-100-0000 A\n10-100-0001 4\n"),
            r"10-100\.trans\.txt row 2: the character '4' is not in the letter dictionary",
        ),
        "boundary": (
            rewrite(b"10-100-0000 A|B\n10-100-0001 B\n"),
            r"row 1: the character '\|' is not in the letter dictionary",
        ),
        "no text": (
            rewrite(b"10-100-0000 A\n10-100-0001\n"),
            r"10-100\.trans\.txt row 2: 10-100-0001 has no text",
        ),
        "latin 1": (
            rewrite("10-100-0000 É\n10-100-0001 B\n".encode("latin-1")),
            r"10-100\.trans\.txt is not UTF-8 text",
        ),
        "id in two folders": (twice, r"9h/clean/10/100.*10-100-0000 also stands in .*1h/0/clean"),
        "no fold": (no_fold, r"1h/4: no such folder, and 1h needs it"),
        "empty fold": (empty_fold, r"1h/4 holds no \.flac files; expected"),
        "no dev-other": (no_dev, r"dev-other: no such folder; training validates on it"),
        "no tree": (
            no_tree,
            r"has neither 1h nor 9h; expected librispeech_finetuning/1h/\{0\.\.5\}",
        ),
    }


DAMAGES = damages()


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
    with pytest.raises(UserError):
        build(corpora, corpora / "fresh" / "deep")
    assert not (corpora / "fresh").exists()


def test_transcripts_without_audio_can_be_left_out(corpora):
    (corpora / CHAPTER / "10-100-0001.flac").unlink()
    summary = build(corpora, sets=["10min", "1h"], allow_missing_audio=True)
    assert len(lines_of(corpora / "out/10min/train.tsv")) == 1 + 3
    # Once in 10min, once in 1h.
    assert summary.transcripts_without_audio == 2
    assert "2 transcripts without audio" in summary.render()


def test_wrong_arguments(corpora):
    for options, message in (
        ({"sets": ["100h"]}, "no set '100h'"),
        ({"folds": [6]}, "no fold 6"),
        ({"jobs": 0}, "jobs is 0"),
    ):
        with pytest.raises(UserError, match=message):
            build(corpora, **options)
    with pytest.raises(UserError, match=r"gone: no such folder; expected librispeech_finetuning"):
        build_librilight(corpora / "gone", corpora, corpora / "out", force=True)
    (corpora / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be written"):
        build(corpora, corpora / "file")
    assert not (corpora / "out").exists()
