"""Common Voice: releases with their own splits, chosen hours, and the published splits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_corpora import (
    clips_of,
    lines_of,
    snapshot,
    write_lines,
    write_mp3,
    write_release,
    write_table,
)

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice
from parp_fairseq.manifests.corpora.commonvoice_release import (
    Clip,
    disjoint_candidates,
    find_release,
    read_clips,
)
from parp_fairseq.manifests.corpora.own_table import build_table
from parp_fairseq.manifests.labels.phones import Phonemizer
from parp_fairseq.manifests.summary import LeftOut

pytest.importorskip("soxr")
pytest.importorskip("phonemizer")

SPLITS = ("train", "dev", "test")


def tables_of(lang):
    tables = {
        "train": clips_of(lang, "train", 3, 2),
        "dev": clips_of(lang, "dev", 2, 2),
        "test": clips_of(lang, "test", 2, 1),
    }
    extra = clips_of(lang, "extra", 4, 3)
    return {**tables, "validated": [row for rows in tables.values() for row in rows] + extra}


def release_of(folder, lang):
    return write_release(folder / "cv-corpus-6.1-2020-12-11", lang, tables_of(lang))


def counts(summary):
    return {reason: len(names) for reason, names in summary.left.items()}


@pytest.mark.parametrize("lang", ["nl", "ru", "zh-TW"])
def test_the_releases_own_split(tmp_path, lang):
    release_of(tmp_path, lang)
    out, tables = tmp_path / "out é", tables_of(lang)
    summary = build_commonvoice(tmp_path, lang, out, jobs=2)
    sentences = {f"{name}.flac": text for _, name, text in tables["validated"]}
    pitches = sorted(name for _, name, _ in tables["validated"])
    phonemizer = Phonemizer(lang)
    for split, count in (("train", 6), ("dev", 4), ("test", 2)):
        root, *rows = lines_of(out / f"{split}.tsv")
        phones, words = lines_of(out / f"{split}.phn"), lines_of(out / f"{split}.wrd")
        assert root == str((out / "audio").resolve()) and rows == sorted(rows)
        assert len(rows) == len(phones) == len(words) == count
        for row, phone, text in zip(rows, phones, words):
            path, frames = row.split("\t")
            samples, rate = soundfile.read(os.path.join(root, path), always_2d=True)
            assert (rate, samples.shape) == (16_000, (int(frames), 1))
            assert text == sentences[path] and phone == phonemizer([text])[0]
            # Each clip is a tone of its own.
            spectrum = np.abs(np.fft.rfft(samples[:, 0]))
            heard = np.fft.rfftfreq(len(samples), 1 / rate)[spectrum.argmax()]
            assert heard == pytest.approx(200 + 10 * pitches.index(path[:-5]), abs=4)
    assert [(s.split, s.utterances) for s in summary.splits] == [*zip(SPLITS, (6, 4, 2))]
    assert counts(summary) == {}


def test_chosen_hours_share_no_speaker_and_no_sentence(tmp_path):
    tables = tables_of("nl")
    tables["dev"] += [(tables["test"][0][0], "common_voice_nl_both", "Nog een zin.")]
    tables["validated"] += [("extra-9", "common_voice_nl_said", tables["test"][0][2])]
    release, hours = write_release(tmp_path, "nl", tables), 16 / 3600
    (release / "clips" / "common_voice_nl_dev01.mp3").write_bytes(b"")
    soundfile.write(release / "clips" / "common_voice_nl_dev00.mp3", np.zeros(96_000), 48_000)
    summary = build_commonvoice(release, "nl", tmp_path / "out", hours=hours, jobs=2)
    speakers = {clip: who for rows in tables.values() for who, clip, _ in rows}
    found = [
        {speakers[row.split(".flac")[0]] for row in lines_of(tmp_path / f"out/{split}.tsv")[1:]}
        for split in SPLITS
    ]
    assert sum(map(len, found)) == len(set().union(*found))
    assert found[0] <= {f"{p}-{n}" for p in ("train", "extra") for n in range(4)}
    # The clips last 2.4 to 2.6 s: the choice ends where the next would be too much.
    assert hours - 2.6 / 3600 < summary.splits[0].hours <= hours
    assert counts(summary) == {
        "dev clip of a speaker in test": 1,
        "validated clip of a speaker in dev or test": 6,
        "validated clip of a sentence in dev or test": 1,
        "empty file": 1,
        "silent": 1,
    }
    # The same seed gives the same bytes, whatever the jobs.
    content = snapshot(tmp_path / "out")
    for seed, jobs in ((1, 5), (2, 1)):
        shutil.rmtree(tmp_path / "out")
        build_commonvoice(release, "nl", tmp_path / "out", hours=hours, seed=seed, jobs=jobs)
        assert (snapshot(tmp_path / "out") == content) == (seed == 1)
    with pytest.raises(UserError, match=r"validated\.tsv has only 0\.01 hours .* not 5;"):
        build_commonvoice(release, "nl", tmp_path / "new", hours=5)
    assert not (tmp_path / "new").exists()


NAMES = st.sampled_from([f"s{n}" for n in range(5)])


@given(st.lists(st.tuples(NAMES, st.sampled_from("abc")), max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_candidates_are_disjoint_and_nothing_goes_uncounted(rows, data):
    cut = sorted(data.draw(st.lists(st.integers(0, len(rows)), min_size=2, max_size=2)))
    clips = [Clip(f"c{i}", who, text) for i, (who, text) in enumerate(rows)]
    test = {clip.id: clip for clip in clips[: cut[0]]}
    dev = {clip.id: clip for clip in clips[cut[0] : cut[1]]}
    left = LeftOut()
    kept = disjoint_candidates({clip.id: clip for clip in clips}, dev, test, left)
    speakers = {split: {clip.speaker for clip in found} for split, found in kept.items()}
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert not speakers["dev"] & speakers["test"]
    assert not {clip.text for clip in kept["train"]} & {clip.text for clip in kept["dev"]}
    assert kept["test"] == list(test.values())
    there = sum(map(len, kept.values())) + sum(map(len, left.values()))
    assert there == len(rows) + len(dev) + len(test)


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    tables = tables_of("nl")
    tables["train"] += [("train-9", f"bad{n}", "Een zin.") for n in range(5)]
    tables["train"] += [("train-9", "gone", "Een zin."), ("train-9", "mute", "...!?")]
    tables["train"] += [("train-9", "spelt", "Een 😀 привет.")]
    tables["train"] += [("train-9", "silent", "Een zin.")]
    tables["train"] += [tables["test"][0], tables["train"][0]]
    tables["dev"].append((tables["train"][0][0], "common_voice_nl_more", "Nog een zin."))
    short, wordy, heard = tables["train"][0][1], tables["train"][1][1], tables["dev"][0][1]
    release = write_release(tmp_path, "nl", tables)
    for name, seconds in ((short, 0.2), (wordy, 0.4), (heard, 0.2)):
        write_mp3(release / "clips" / f"{name}.mp3", seconds)
    for number in range(5):
        (release / "clips" / f"bad{number}.mp3").write_bytes(b"")
    (release / "clips" / "gone.mp3").unlink()
    soundfile.write(release / "clips" / "silent.mp3", np.zeros(96_000), 48_000)
    with (release / "train.tsv").open("a", encoding="utf-8") as handle:
        handle.write("train-9\ttab.mp3\tEen\tzin.\t2\t0\t\t\t\t\tnl\t\n")
        handle.write("train-9\tline.mp3\tEen\nzin.\t2\t0\t\t\t\t\tnl\t\n\n")
    summary = build_commonvoice(release, "nl", tmp_path / "out")
    assert counts(summary) == {
        "malformed row": 3,
        "listed twice": 1,
        "train clip that a later split holds too": 1,
        "no phones in the sentence": 1,
        "sentence with letters or signs that espeak-ng spells": 1,
        "empty file": 5,
        "missing audio": 1,
        "silent": 1,
        "train clip shorter than span masks need": 1,
        "train clip with more phones than CTC can align": 1,
    }
    shown = summary.render()
    assert "left out: empty file (5): bad0, bad1, bad2, …" in shown
    assert "left out: malformed row (3): train.tsv row 19, train.tsv row 20, train.tsv row" in shown
    assert "note: 1 speakers are in more than one split, as in the release" in shown
    train = "".join(lines_of(tmp_path / "out" / "train.tsv"))
    assert train.count(".flac") == 4 and short not in train and wordy not in train
    assert heard in "".join(lines_of(tmp_path / "out" / "dev.tsv"))


ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"))


@given(st.lists(ANY), st.booleans())
@settings(max_examples=50, deadline=None)
def test_any_sentence_comes_through_with_its_spaces_squeezed(tmp_path_factory, sentences, windows):
    path, left = tmp_path_factory.getbasetemp() / "een lijst é 語.tsv", LeftOut()
    write_table(path, "nl", [("who", f"c{n} é", text) for n, text in enumerate(sentences)])
    if windows:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    read = [clip.text for clip in read_clips(path, "nl", left).values()]
    assert read == [" ".join(text.replace("\0", " ").split()) for text in sentences]
    assert not left


HEAD = b"client_id\tpath\tsentence\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"client_id\tpath\n", r"train\.tsv row 1: no column 'sentence'"),
        (b"", "train would be empty"),
        (HEAD + b"a\tb.mp3\tcaf\xe9\n", r"train\.tsv row 2 is not UTF-8"),
        (HEAD + b"a\t../b.mp3\tc\n", r"row 2: '\.\./b\.mp3' is no plain"),
        (HEAD + b"a\t..\tc\n", r"row 2: '\.\.' is no plain"),
        (HEAD + b"a\tb.mp3\tc\na\tb.mp3\td\n", "row 3: b has another sentence"),
        (HEAD[:-1] + b"\tlocale\na\tb.mp3\tc\tfr\n", r"row 2 is in the language 'fr', not 'nl'"),
        (None, r"train\.tsv: no such table; expected cv-corpus"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, said):
    path, out = release_of(tmp_path, "nl") / "train.tsv", tmp_path / "out"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        build_commonvoice(tmp_path, "nl", out)
    assert "\n" not in str(error.value)
    # Only audio may stay, for the next time.
    assert not out.exists() or os.listdir(out) == ["audio"]


def test_which_folder_is_the_release(tmp_path):
    one = release_of(tmp_path, "nl")
    for folder in (one, one.parent, tmp_path):
        assert find_release(folder, "nl") == one.resolve()
    shutil.copytree(one, tmp_path / "cv-corpus-7.0" / "nl")
    with pytest.raises(UserError, match="holds several releases"):
        find_release(tmp_path, "nl")


def test_options_that_do_not_go_together(tmp_path):
    for options, said in (
        ({"lang": "../nl"}, "'../nl' is no language code"),
        ({"hours": float("nan")}, "--hours is nan"),
    ):
        with pytest.raises(UserError, match=said):
            build_commonvoice(tmp_path, **{"lang": "nl", "out": tmp_path / "out", **options})


def test_a_failed_build_keeps_the_audio_and_the_earlier_manifests(tmp_path):
    release, out = release_of(tmp_path, "nl"), tmp_path / "out"
    build_commonvoice(release, "nl", out)
    before = snapshot(out)
    write_table(release / "train.tsv", "nl", [("new", "new_clip", "Een nieuwe zin.")])
    write_mp3(release / "clips" / "new_clip.mp3", 0.5)
    for clip in (release / "clips").glob("*_dev*.mp3"):
        os.truncate(clip, 100)
    with pytest.raises(UserError, match=r"dev would be empty.*(damaged|ends early) ?\w* \(4\)"):
        build_commonvoice(release, "nl", out, force=True)
    after = snapshot(out)
    assert after.pop(str(Path("audio") / "new_clip.flac")) is not None
    assert after == before


def test_the_papers_splits_by_the_script_of_the_docs(tmp_path):
    page = (Path(__file__).parents[4] / "docs/data-commonvoice.md").read_text("utf-8")
    script = page.split("```python\n")[1].split("```")[0]
    lists, clips = tmp_path / "sv", tmp_path / "clips"
    # Odd symbols, numbers that are not in order, spaces at line ends, a clip in two lists.
    inventory = {"ɛː": 4, "tʃʰ": 0, "a5": 2, "#": 1, "<": 3}
    write_lines(lists / "phonesMatches_reduced.json", [json.dumps(inventory)])
    rows = [f"c{n} {' '.join(str((n + k) % 5) for k in range(n))} " for n in range(9)]
    write_lines(lists / "validated_phones_reduced.txt", rows)
    for name, ids in (("train", "0 1 2 3 8"), ("val", "4 3"), ("test", "5 6")):
        name = "testSeqs" if name == "test" else f"{name}Seqs_1.0"
        write_lines(lists / f"{name}_uniform_new_version.txt", [f"c{n}" for n in ids.split()])
    for number in range(7):
        write_mp3(clips / f"c{number}.mp3", 0.3)
    command = [sys.executable, "-c", script, str(lists), str(clips)]
    made = subprocess.run(command, check=True, capture_output=True, env={"PYTHONUTF8": "1"}).stdout
    (tmp_path / "sv.tsv").write_bytes(made)
    build_table(tmp_path / "sv.tsv", tmp_path / "out", units="phones", convert=True)
    found = {split: lines_of(tmp_path / f"out/{split}.phn") for split in SPLITS}
    assert found["train"] == ["#", "a5 <"] and found["dev"] == ["< ɛː tʃʰ", "ɛː tʃʰ # a5"]
    assert [len(line.split()) for line in found["test"]] == [5, 6]
