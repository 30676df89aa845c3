from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from small_commonvoice import rows_of, write_mp3, write_release, write_table

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.audio.convert import Audio
from parp_fairseq.manifests.corpora.commonvoice import build_commonvoice
from parp_fairseq.manifests.corpora.commonvoice_left import LeftOut
from parp_fairseq.manifests.corpora.commonvoice_release import (
    Recording,
    choose,
    disjoint_candidates,
    find_release,
    read_table,
)
from parp_fairseq.manifests.labels.phones import Phonemizer

pytest.importorskip("soxr")
pytest.importorskip("phonemizer")


def lines_of(path):
    content = path.read_bytes()
    assert b"\r" not in content and content.endswith(b"\n")
    return content.decode("utf-8").split("\n")[:-1]


def snapshot(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def tables_of(lang):
    tables = {
        "train": rows_of(lang, "train", 3, 2),
        "dev": rows_of(lang, "dev", 2, 2),
        "test": rows_of(lang, "test", 2, 1),
    }
    extra = rows_of(lang, "extra", 4, 3)
    return {**tables, "validated": [row for rows in tables.values() for row in rows] + extra}


def release_of(folder, lang):
    return write_release(folder / "cv-corpus-6.1-2020-12-11", lang, tables_of(lang))


@pytest.mark.parametrize("lang", ["nl", "ru", "zh-TW"])
def test_the_releases_own_split(tmp_path, lang):
    release_of(tmp_path, lang)
    out = tmp_path / "out é"
    summary = build_commonvoice(tmp_path, lang, out, jobs=2, force=True)
    names = [f"{split}.{e}" for split in ("train", "dev", "test") for e in ("tsv", "phn", "wrd")]
    assert sorted(os.listdir(out)) == sorted([*names, "dict.phn.txt", "manifest.json", "audio"])
    sentences = {f"{name}.flac": text for _, name, text in tables_of(lang)["validated"]}
    phonemizer = Phonemizer(lang)
    counts = Counter()
    for split, count in (("train", 6), ("dev", 4), ("test", 2)):
        root, *rows = lines_of(out / f"{split}.tsv")
        phones, words = lines_of(out / f"{split}.phn"), lines_of(out / f"{split}.wrd")
        assert root == str((out / "audio").resolve())
        assert len(rows) == len(phones) == len(words) == count
        assert rows == sorted(rows)
        for row, phone, text in zip(rows, phones, words):
            path, frames = row.split("\t")
            samples, rate = soundfile.read(os.path.join(root, path), always_2d=True)
            assert (rate, samples.shape) == (16_000, (int(frames), 1))
            assert text == sentences[path] and phone == phonemizer([text])[0]
            # Each clip is a tone of its own.
            heard = np.fft.rfftfreq(len(samples), 1 / rate)[
                np.abs(np.fft.rfft(samples[:, 0])).argmax()
            ]
            names = sorted(name for _, name, _ in tables_of(lang)["validated"])
            assert heard == pytest.approx(200 + 10 * names.index(path[:-5]), abs=4)
        counts.update(" ".join(phones).split() if split == "train" else ())
        counts.update(dict.fromkeys(" ".join(phones).split(), 0))
    expected = [f"{p} {n}" for p, n in sorted(counts.items(), key=lambda e: (-e[1], e[0]))]
    assert lines_of(out / "dict.phn.txt") == expected
    assert [(s.split, s.utterances) for s in summary.splits] == [
        ("train", 6),
        ("dev", 4),
        ("test", 2),
    ]
    assert summary.left.counts == {}


def test_chosen_hours_share_no_speaker_and_no_sentence(tmp_path):
    tables = tables_of("nl")
    tables["dev"] += [(tables["test"][0][0], "common_voice_nl_both", "Nog een zin.")]
    tables["validated"] += [("extra-9", "common_voice_nl_said", tables["test"][0][2])]
    release = write_release(tmp_path, "nl", tables)
    hours = 16 / 3600
    summary = build_commonvoice(release, "nl", tmp_path / "out", hours=hours, jobs=2, force=True)
    speakers = {clip: who for rows in tables.values() for who, clip, _ in rows}
    found = {}
    for split in ("train", "dev", "test"):
        rows = lines_of(tmp_path / "out" / f"{split}.tsv")[1:]
        found[split] = {speakers[row.split(".flac")[0]] for row in rows}
    assert not (
        found["train"] & found["dev"]
        or found["train"] & found["test"]
        or found["dev"] & found["test"]
    )
    assert found["train"] <= {f"{p}-{n}" for p in ("train", "extra") for n in range(4)}
    total = {s.split: s.hours for s in summary.splits}
    # The clips last 2.4 to 2.6 s: the choice ends where the next would be too much.
    assert hours - 2.6 / 3600 < total["train"] <= hours
    assert summary.left.counts == {
        "dev clip of a speaker in test": 1,
        "validated clip of a speaker in dev or test": 6,
        "validated clip of a sentence in dev or test": 1,
    }
    assert "extra-9" not in found["train"]


def test_the_same_seed_gives_the_same_bytes_whatever_the_jobs(tmp_path):
    release = release_of(tmp_path, "nl")
    out = tmp_path / "out"
    content = {}
    for name, seed, jobs in (("a", 1, 1), ("b", 1, 5), ("c", 2, 1)):
        hours = 8 / 3600
        build_commonvoice(release, "nl", out, hours=hours, seed=seed, jobs=jobs, force=True)
        content[name] = snapshot(out)
        shutil.rmtree(out)
    assert content["a"] == content["b"]
    assert content["a"]["train.tsv"] != content["c"]["train.tsv"]


def test_hours_that_are_not_there(tmp_path):
    release = release_of(tmp_path, "nl")
    with pytest.raises(UserError, match=r"validated\.tsv has only 0\.01 hours .* not 5;"):
        build_commonvoice(release, "nl", tmp_path / "out", hours=5, force=True)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--hours is"):
            build_commonvoice(release, "nl", tmp_path / "out", hours=wrong, force=True)
    assert not (tmp_path / "out").exists()


NAMES = st.sampled_from([f"s{n}" for n in range(5)])


@given(
    speakers=st.lists(NAMES, min_size=1, max_size=30),
    lengths=st.lists(st.integers(1, 9), min_size=30, max_size=30),
    wanted=st.integers(1, 120),
    seed=st.integers(0, 9),
)
@settings(max_examples=200, deadline=None)
def test_choice_is_even_full_and_independent_of_the_order(speakers, lengths, wanted, seed):
    candidates = [Recording(f"c{i}", who, f"zin {i}") for i, who in enumerate(speakers)]
    length = {f"c{i}": 3600 * 16_000 * n for i, n in enumerate(lengths)}

    def measure(names):
        return [Audio(length[name]) for name in names]

    def pick(rows):
        return choose(rows, wanted, seed, measure, LeftOut(), progress=False)

    chosen, hours, more = pick(candidates)
    assert hours == sum(length[r.id] for r in chosen) / 3600 / 16_000 <= wanted
    assert more == (len(chosen) < len(candidates))
    if more:
        assert hours + 9 > wanted
    assert pick(candidates[::-1]) == (chosen, hours, more)
    # Even: nobody has two clips more than one who has some left.
    taken = Counter(r.speaker for r in chosen)
    for who, count in Counter(speakers).items():
        if taken[who] < count:
            assert max(taken.values(), default=0) <= taken[who] + 1


@given(st.lists(st.tuples(NAMES, st.sampled_from("abc")), max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_candidates_are_disjoint_and_nothing_goes_uncounted(rows, data):
    cut = sorted(data.draw(st.lists(st.integers(0, len(rows)), min_size=2, max_size=2)))
    recordings = [Recording(f"c{i}", who, text) for i, (who, text) in enumerate(rows)]
    test = {r.id: r for r in recordings[: cut[0]]}
    dev = {r.id: r for r in recordings[cut[0] : cut[1]]}
    left = LeftOut()
    kept = disjoint_candidates({r.id: r for r in recordings}, dev, test, left)
    speakers = {split: {r.speaker for r in found} for split, found in kept.items()}
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert not speakers["dev"] & speakers["test"]
    assert not {r.sentence for r in kept["train"]} & {r.sentence for r in [*kept["dev"]]}
    assert kept["test"] == list(test.values())
    assert sum(map(len, kept.values())) + sum(left.counts.values()) == len(rows) + len(dev) + len(
        test
    )


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    tables = tables_of("nl")
    tables["train"] += [("train-9", f"bad{n}", "Een zin.") for n in range(5)]
    tables["train"] += [("train-9", "gone", "Een zin."), ("train-9", "mute", "...!?")]
    tables["train"] += [tables["test"][0], tables["train"][0]]
    release = write_release(tmp_path, "nl", tables)
    for number in range(5):
        (release / "clips" / f"bad{number}.mp3").write_bytes(b"")
    (release / "clips" / "gone.mp3").unlink()
    with (release / "train.tsv").open("a", encoding="utf-8") as handle:
        handle.write("train-9\ttab.mp3\tEen\tzin.\t2\t0\t\t\t\t\tnl\t\n")
        handle.write("train-9\tline.mp3\tEen\nzin.\t2\t0\t\t\t\t\tnl\t\n\n")
    summary = build_commonvoice(release, "nl", tmp_path / "out", force=True)
    assert summary.left.counts == {
        "malformed row": 3,
        "listed twice": 1,
        "train clip that a later split holds too": 1,
        "no phones in the sentence": 1,
        "empty file": 5,
        "no such clip": 1,
    }
    shown = summary.render()
    assert "left out: empty file (5): bad0, bad1, bad2, …" in shown
    assert "left out: malformed row (3): train.tsv row 17, train.tsv row 18, train.tsv row" in shown
    assert "left out: no such clip (1): gone" in shown
    assert len(lines_of(tmp_path / "out" / "train.tsv")) == 1 + 6
    told = json.loads(json.dumps(summary.to_json()))
    assert told["left_out"]["empty file"] == {"count": 5, "first": ["bad0", "bad1", "bad2"]}


def test_windows_line_ends_byte_order_mark_and_quotes(tmp_path):
    release = release_of(tmp_path, "nl")
    build_commonvoice(release, "nl", tmp_path / "plain", force=True)
    for split in ("train", "dev", "test"):
        path = release / f"{split}.tsv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    build_commonvoice(
        release, "nl", tmp_path / "windows", audio=tmp_path / "plain" / "audio", force=True
    )
    plain = snapshot(tmp_path / "plain")
    for name, content in snapshot(tmp_path / "windows").items():
        assert content == plain[name]
    quoted = [("a", "one", '"Ik'), ("a", "two", 'fiets" zei  hij')]
    write_table(tmp_path / "q.tsv", "nl", quoted)
    table = read_table(tmp_path / "q.tsv", "nl", LeftOut())
    assert [r.sentence for r in table.values()] == ['"Ik', 'fiets" zei hij']


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r"))))
@settings(max_examples=50, deadline=None)
def test_any_sentence_comes_through_with_its_spaces_squeezed(tmp_path_factory, sentences):
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    write_table(path, "nl", [("who", f"c{n}", text) for n, text in enumerate(sentences)])
    left = LeftOut()
    table = read_table(path, "nl", left)
    assert [r.sentence for r in table.values()] == [
        " ".join(text.replace("\0", " ").split()) for text in sentences
    ]
    assert not left.counts


def test_shared_speakers_of_the_releases_own_split_are_told(tmp_path):
    tables = tables_of("nl")
    tables["dev"].append((tables["train"][0][0], "common_voice_nl_more", "Nog een zin."))
    release = write_release(tmp_path, "nl", tables)
    summary = build_commonvoice(release, "nl", tmp_path / "out", force=True)
    assert "note: 1 speakers are in more than one split, as in the release" in summary.render()
    assert [s.utterances for s in summary.splits] == [6, 5, 2]
    assert sum(c != 0 for c in summary.left.counts.values()) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"client_id\tpath\n", r"train\.tsv row 1: no column 'sentence'"),
        (b"", "train would be empty"),
        (b"client_id\tpath\tsentence\na\tb.mp3\tcaf\xe9\n", r"train\.tsv row 2 is not UTF-8"),
        (b"client_id\tpath\tsentence\na\t../b.mp3\tc\n", r"row 2: '\.\./b\.mp3' is no plain"),
        (b"client_id\tpath\tsentence\na\t..\tc\n", r"row 2: '\.\.' is no plain"),
        (b"client_id\tpath\tsentence\na\t/b.mp3\tc\n", "row 2: '/b.mp3' is no plain"),
        (b"client_id\tpath\tsentence\na\t\tc\n", "row 2: '' is no plain"),
        (
            b"client_id\tpath\tsentence\na\tb.mp3\tc\na\tb.mp3\td\n",
            r"train\.tsv row 3: b stands in row 2 with another sentence",
        ),
        (
            b"client_id\tpath\tsentence\tlocale\na\tb.mp3\tc\tfr\n",
            r"train\.tsv row 2 is in the language 'fr', not 'nl'",
        ),
        (None, r"train\.tsv: no such file"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, said):
    release = release_of(tmp_path, "nl")
    path = release / "train.tsv"
    path.unlink() if content is None else path.write_bytes(content)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=said) as error:
        build_commonvoice(release, "nl", out, force=True)
    assert "\n" not in str(error.value)
    # Only audio may stay, for the next time.
    assert not out.exists() or os.listdir(out) == ["audio"]


def test_names_with_spaces_and_other_letters(tmp_path):
    tables = tables_of("nl")
    tables["train"].append(("train-9", "een clip é 語", "Ik fiets."))
    release = write_release(tmp_path / "Map met spaties 語", "nl", tables)
    build_commonvoice(release, "nl", tmp_path / "uit é", force=True)
    rows = lines_of(tmp_path / "uit é" / "train.tsv")
    assert any(row.startswith("een clip é 語.flac\t") for row in rows)


def test_which_folder_is_the_release(tmp_path):
    one = release_of(tmp_path, "nl")
    for folder in (one, one.parent, tmp_path):
        assert find_release(folder, "nl") == one.resolve()
    with pytest.raises(UserError, match="holds no fr/clips"):
        find_release(tmp_path, "fr")
    with pytest.raises(UserError, match="no such folder"):
        find_release(tmp_path / "none", "nl")
    shutil.copytree(one, tmp_path / "cv-corpus-7.0" / "nl")
    with pytest.raises(UserError, match="holds several releases of nl"):
        find_release(tmp_path, "nl")


def test_options_that_do_not_go_together(tmp_path):
    def refused(said, lang="nl", **options):
        with pytest.raises(UserError, match=said):
            build_commonvoice(tmp_path, lang, tmp_path / "out", **options, force=True)

    refused("--dev-hours does not go without --hours", dev_hours=1)
    refused("--test-hours does not go with --splits", test_hours=1, splits=tmp_path)
    refused("--voice does not go with --splits", voice="nl", splits=tmp_path)
    refused("jobs is 0", jobs=0)
    refused("'../nl' is no language code", lang="../nl")


def test_a_failed_build_keeps_the_audio_and_the_earlier_manifests(tmp_path):
    release = release_of(tmp_path, "nl")
    out = tmp_path / "out"
    build_commonvoice(release, "nl", out, force=True)
    before = snapshot(out)
    write_table(release / "train.tsv", "nl", [("new", "new_clip", "Een nieuwe zin.")])
    write_mp3(release / "clips" / "new_clip.mp3", 0.5)
    for clip in (release / "clips").glob("*_dev*.mp3"):
        os.truncate(clip, 100)
        later = (out / "audio" / f"{clip.stem}.flac").stat().st_mtime + 9
        os.utime(clip, (later, later))
    with pytest.raises(UserError, match=r"dev would be empty.*not readable as audio \(4\)"):
        build_commonvoice(release, "nl", out, force=True)
    after = snapshot(out)
    new = Path("audio") / "new_clip.flac"
    assert after.pop(str(new)) is not None
    assert after == before


def test_the_command(tmp_path, capsys, monkeypatch):
    import typer

    from parp_fairseq.cli.commonvoice import commonvoice

    release_of(tmp_path, "nl")
    app = typer.Typer()
    app.command()(commonvoice)
    base = ["--release", str(tmp_path), "--lang", "nl", "--out", str(tmp_path / "out")]
    app([*base, "-j", "1"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "voice nl, by phonemizer" in shown
    app([*base, "--force", "--hours", "0.002", "--json"], standalone_mode=False)
    assert [s["split"] for s in json.loads(capsys.readouterr().out)["splits"]] == [
        "train",
        "dev",
        "test",
    ]
    monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    with pytest.raises(UserError, match=r"pip install '\.\[phones\]'"):
        app([*base, "--force"], standalone_mode=False)


def test_train_leaves_out_what_a_run_could_not_use(tmp_path):
    tables = tables_of("nl")
    short, wordy = tables["train"][0][1], tables["train"][1][1]
    heard = tables["dev"][0][1]
    release = write_release(tmp_path, "nl", tables)
    for name, seconds in ((short, 0.2), (wordy, 0.4), (heard, 0.2)):
        write_mp3(release / "clips" / f"{name}.mp3", seconds)
    summary = build_commonvoice(release, "nl", tmp_path / "out", jobs=1, force=True)
    assert summary.left.names == {
        "train clip shorter than span masks need": [short],
        "train clip with more phones than CTC can align": [wordy],
    }
    train = "".join(lines_of(tmp_path / "out" / "train.tsv"))
    assert short not in train and wordy not in train
    assert heard in "".join(lines_of(tmp_path / "out" / "dev.tsv"))
    assert len(lines_of(tmp_path / "out" / "train.phn")) == len(tables["train"]) - 2
