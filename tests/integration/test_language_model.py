"""Beam search with an n-gram, against fairseq's own `decoding.type=kenlm`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stock_infer import run_fairseq_infer

from parp_fairseq.checkpoints.dictionary import Symbols
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import evaluate
from parp_fairseq.inference.beam_search import BeamSearch, LanguageModel

kenlm = pytest.importorskip("kenlm", reason="the extra lm is not installed")
pytest.importorskip("flashlight.lib.text.decoder.kenlm")

SCRIPT = Path(__file__).parents[2] / "examples" / "word_ngram.py"
CPU = {"device": "cpu", "num_workers": 0}


@pytest.fixture(scope="module")
def language(data, tmp_path_factory):
    """An n-gram and a lexicon from the training text, by the documented command."""
    out = tmp_path_factory.mktemp("lm") / "lm"
    command = [sys.executable, SCRIPT, data / "train.ltr", "--order", "3", "--out", out]
    subprocess.run(command, check=True, capture_output=True)
    return LanguageModel(f"{out}.arpa", f"{out}.lexicon")


@pytest.mark.parametrize("numbers", [(50, 2.0, -1.0), (7, 0.7, 1.5)])
def test_rates_and_transcripts_equal_infers(finetuned, data, language, tmp_path, numbers):
    beam, weight, score = numbers
    options = (
        *("dataset.required_batch_size_multiple=1", "decoding.type=kenlm"),
        *(f"decoding.lmpath={language.lm}", f"decoding.lexicon={language.lexicon}"),
        *(f"decoding.beam={beam}", f"decoding.lmweight={weight}", f"decoding.wordscore={score}"),
    )
    infer = run_fairseq_infer(finetuned, data, "dev-other", tmp_path, overrides=options)
    chosen = LanguageModel(language.lm, language.lexicon, beam, weight, score)
    found = evaluate(finetuned, data, "dev-other", language=chosen, **CPU)
    greedy = evaluate(finetuned, data, "dev-other", **CPU)
    assert (found.rate, found.words.errors) == (infer["wer"], infer["errors"])
    assert {u.row: u.hypothesis for u in found.utterances} == infer["files"]["hypo.word"]
    assert {u.row: u.hypothesis_units for u in found.utterances} == infer["files"]["hypo.units"]
    assert [u.hypothesis for u in found.utterances] != [u.hypothesis for u in greedy.utterances]


def test_parp_eval_and_parp_transcribe_hear_the_same(finetuned, data, language, parp, tmp_path):
    files = ("--lm", language.lm, "--lexicon", language.lexicon)
    where = tmp_path / "s.json"
    arguments = (finetuned, "--data", data, "--split", "dev-other", "--device", "cpu", *files)
    arguments += ("--lm-weight", "1.5", "--word-score", "0.5", "--json", where)
    code, out, _ = parp("eval", *arguments)
    (score,) = json.loads(where.read_text(encoding="utf-8"))
    told = LanguageModel(language.lm, language.lexicon, 50, 1.5, 0.5)
    assert (
        code == 0
        and score == evaluate(finetuned, data, "dev-other", language=told, **CPU).to_json()
    )
    assert ["1.5", "0.5"] in [line.split()[-2:] for line in out.splitlines()]

    heard = evaluate(finetuned, data, "dev-other", batch_size=1, language=language, **CPU)
    root = Path((data / "dev-other.tsv").read_text(encoding="utf-8").splitlines()[0])
    paths = [root / utterance.path for utterance in heard.utterances]
    code, out, _ = parp("transcribe", finetuned, *paths, *files, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["text"] for row in rows] == [u.hypothesis for u in heard.utterances]
    for row in rows:
        times = [time for word in row["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times) and all(0 <= time <= row["seconds"] for time in times)
        assert [word["word"] for word in row["words"]] == row["text"].split()
    assert any(row["words"] for row in rows)


def test_the_script_writes_a_distribution(language):
    model = kenlm.Model(language.lm)
    words = [line.split()[0] for line in Path(language.lexicon).read_text().splitlines()]
    assert (model.order, len(words) > 40) == (3, True)
    for history in ([], words[:1], words[2:4], ["never", words[0]]):
        state = kenlm.State()
        model.BeginSentenceWrite(state)
        for word in history:
            after = kenlm.State()
            model.BaseScore(state, word, after)
            state = after
        scores = [model.BaseScore(state, w, kenlm.State()) for w in (*words, "</s>", "<unk>")]
        assert sum(10**score for score in scores) == pytest.approx(1, abs=1e-4)


ARPA = """\
\\data\\
ngram 1=4
ngram 2=1

\\1-grams:
-99\t<s>\t-0.1
-1\t</s>
-1\t<unk>
-0.5\tAB\t-0.1

\\2-grams:
-0.3\tAB AB

\\end\\
"""
LETTERS = Symbols.of_dictionary(["|", "A", "B"], "letter")


def test_words_and_their_frames(tmp_path):
    (tmp_path / "lm").write_text(ARPA)
    (tmp_path / "words").write_text("AB\tA B |\n")
    search = BeamSearch(LanguageModel(tmp_path / "lm", tmp_path / "words"), LETTERS)
    blank, bar, a, b = 0, 4, 5, 6
    path = [blank, a, a, blank, b, bar, bar, blank, a, b, b, blank, bar]
    logits = np.full((len(path), 7), -9.0)
    logits[np.arange(len(path)), path] = 9.0
    found = search.decode(logits)
    assert found.text == "AB AB"
    assert [(w.text, w.start, w.end) for w in found.words] == [("AB", 1, 5), ("AB", 8, 11)]
    assert search.decode(np.where(np.arange(7) == blank, 9.0, -9.0)[None]).text in ("", "AB")


@pytest.mark.parametrize(
    ("words", "arpa", "symbols", "message"),
    [
        ("AB A B |\nC C |", ARPA, LETTERS, "words row 2: 'C' is spelt with 'C', which the model"),
        ("AB", ARPA, LETTERS, "words row 1: 'AB' has no symbols"),
        ("\n", ARPA, LETTERS, "words holds no word"),
        (None, ARPA, LETTERS, "words: no lexicon"),
        ("ab A B |", ARPA, LETTERS, "lm knows no word of .*words; write both in the same case"),
        ("AB A B |", ARPA.replace("ngram 2=1\n", ""), LETTERS, "lm: no n-gram that KenLM reads"),
        ("AB A B |", None, LETTERS, "lm: no such language model"),
        ("AB A B |", ARPA, Symbols.of_dictionary(["a", "b"], "none"), "hears phones"),
    ],
)
def test_refused(tmp_path, words, arpa, symbols, message):
    for name, text in (("words", words), ("lm", arpa)):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        BeamSearch(LanguageModel(tmp_path / "lm", tmp_path / "words"), symbols)
