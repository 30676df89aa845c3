"""Corpora that one folder holds, on small ones of the same layout."""

import shutil

import pytest
from small_corpora import SPEECHOCEAN, lines_of, write_lines, write_mboshi, write_speechocean

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.corpora import mboshi, speechocean762
from parp_fairseq.manifests.corpora.corpus import build_corpus


@pytest.fixture
def ocean(tmp_path):
    return write_speechocean(tmp_path / "speechocean762")


@pytest.fixture
def bantu(tmp_path):
    return write_mboshi(tmp_path / "mboshi-french-parallel-corpus")


def test_speechocean(ocean, tmp_path):
    out, phones = tmp_path / "out", {}
    summary = build_corpus(speechocean762.CORPUS, ocean, out, valid_share=0.4)
    assert lines_of(out / "test.tsv") == [str(ocean), "WAVE/SPEAKER0003/000030012.WAV\t10005"]
    assert lines_of(out / "test.wrd") == ["IT'S ME"]
    assert lines_of(out / "test.ltr") == ["I T ' S | M E |"]
    assert "dataset.valid_subset=valid" in summary.commands[0]
    build_corpus(speechocean762.CORPUS, ocean.parent, out, units="phones", force=True)
    # No speaker is in two splits, and nothing is lost.
    rows = {split: lines_of(out / f"{split}.tsv")[1:] for split in ("train", "valid", "test")}
    speakers = [{row.split("/")[1] for row in there} for there in rows.values()]
    assert all(speakers) and len(set.union(*speakers)) == sum(map(len, speakers)) == 4
    for split, there in rows.items():
        names = [row.split("/")[2].split(".")[0] for row in there]
        assert lines_of(out / f"{split}.wrd") == [SPEECHOCEAN[name][2] for name in names]
        phones.update(zip(names, lines_of(out / f"{split}.phn")))
    assert (phones["000010011"], phones["000020035"]) == ("W IY K AO L", "B EH R")
    assert len(phones) == len(SPEECHOCEAN) and check_folder(out).ok


def test_mboshi_letters_without_tones(bantu, tmp_path):
    out = tmp_path / "out"
    summary = build_corpus(mboshi.CORPUS, bantu, out)
    assert lines_of(out / "train.tsv")[0] == str(bantu / "full_corpus_newsplit")
    assert lines_of(out / "train.phn")[0] == "w a a m i t u u n g a i t s ω ω"
    assert lines_of(out / "train.phn")[3] == "n ε"
    assert lines_of(out / "train.wrd")[0] == "wa ámitúúngá itsωώ"
    assert lines_of(out / "dev.phn") == ["n g a"]
    assert "criterion.post_process=none dataset.valid_subset=dev" in summary.commands[0]
    assert {s.split for s in summary.splits} == {"train", "dev"}
    assert check_folder(out).ok
    build_corpus(mboshi.CORPUS, bantu / "full_corpus_newsplit", out, units="letters", force=True)
    assert lines_of(out / "train.ltr")[1] == "s | é l é n g é |"
    assert not (out / "train.phn").exists()


@pytest.mark.parametrize("seed", range(6))
def test_a_sentence_of_mboshi_is_not_in_train_and_valid(bantu, tmp_path, seed):
    out = tmp_path / "out"
    build_corpus(mboshi.CORPUS, bantu, out, valid_share=0.3, seed=seed)
    assert not {*lines_of(out / "train.wrd")} & {*lines_of(out / "valid.wrd")}


def test_hours_and_options_that_cannot_be(ocean, tmp_path):
    hours = (2 * 10_004 + 100) / 16_000 / 3600
    build_corpus(speechocean762.CORPUS, ocean, tmp_path / "2", hours=hours, valid_share=0.3)
    rows = lines_of(tmp_path / "2" / "train.tsv")[1:]
    # One of each speaker before a second of any.
    assert len({row.split("/")[1] for row in rows}) == len(rows) == 2 and rows == sorted(rows)
    for options, message in (
        ({"hours": 1.0}, r"train has only 0\.00 hours, not 1; give fewer --hours"),
        ({"hours": 1e-7}, "less than one utterance"),
        ({"valid_share": 1.0}, "--valid-share is 1.0"),
        ({"units": "words"}, "speechocean762 has no units 'words'; choose letters or phones"),
    ):
        with pytest.raises(UserError, match=message):
            build_corpus(speechocean762.CORPUS, ocean, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()


CORPORA = {"ocean": speechocean762.CORPUS, "bantu": mboshi.CORPUS}
MBOSHI = "full_corpus_newsplit/"
PHONES = "resource/text-phone"


@pytest.mark.parametrize(
    ("corpus", "path", "lines", "told"),
    [
        (
            "ocean",
            PHONES,
            ["000010011.0\tW_B"],
            r"train/text row \d: 0000\d+ has \d words?, and res",
        ),
        ("ocean", PHONES, ["000010011.0\tw_B"], "row 1: expected ID.WORD"),
        ("ocean", "test/utt2spk", ["other 1"], r"test/text row 1: 000030012 is not in .*utt2spk"),
        ("ocean", "WAVE/SPEAKER0003/000030012.WAV", None, r"test/text row 1: .*012\.WAV: no such"),
        ("ocean", "test", None, "holds no test; expected speechocean762/"),
        ("bantu", f"{MBOSHI}dev/abiayi_Dico18_3.wav", None, r"dev holds no \.wav files; expected"),
        ("bantu", f"{MBOSHI}train/martial_Dico2_7.wav", None, r"Dico2_7\.wav is missing"),
        ("bantu", f"{MBOSHI}train/martial_Dico2_7.mb.cleaned", None, r"7\.mb\.cleaned is missing"),
        ("bantu", f"{MBOSHI}train/martial_Dico2_7.mb.cleaned", [""], r"cleaned has no text"),
    ],
)
def test_damaged_corpora(request, tmp_path, corpus, path, lines, told):
    folder = request.getfixturevalue(corpus)
    if lines is not None:
        write_lines(folder / path, lines)
    elif (folder / path).is_dir():
        shutil.rmtree(folder / path)
    else:
        (folder / path).unlink()
    with pytest.raises(UserError, match=told):
        build_corpus(CORPORA[corpus], folder, tmp_path / "out", units="phones")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["speechocean762", "mboshi"])
def test_the_commands(parp, name, ocean, bantu, tmp_path):
    folder = {"speechocean762": ocean, "mboshi": bantu / "full_corpus_newsplit"}[name]
    line = ["manifest", name, folder, "--out", tmp_path / "out"]
    code, printed, _ = parp(*line)
    assert code == 0 and "train with:" in printed
    for arguments, message in ((line, "--force"), ([*line, "--out", folder], "is also an input")):
        code, _, error = parp(*arguments)
        assert code == 2 and message in error
