"""The builders against fairseq's own scripts, run from the installed package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parp_fairseq.demo.voices import Speaker, speak
from parp_fairseq.evaluation import evaluate
from parp_fairseq.manifests.check.findings import check_folder
from parp_fairseq.manifests.check.split import check_manifest
from parp_fairseq.manifests.corpora.joint import build_joint
from parp_fairseq.manifests.corpora.librilight import build_librilight
from parp_fairseq.manifests.corpora.own_table import build_table
from parp_fairseq.manifests.labels.ctc import ctc_frames, least_samples
from parp_fairseq.manifests.labels.units import dictionary_lines

WORDS = ["THE", "QUICK", "BROWN", "FOX", "DIDN'T", "JUMP", "OVER", "A", "LAZY", "DOG"]


def fairseq_script(name: str) -> Path:
    """A file below fairseq's examples, without importing fairseq (it takes seconds)."""
    package = Path(importlib.util.find_spec("fairseq").origin).parent
    return package / "examples" / "wav2vec" / name


def run(script: Path, *arguments: object) -> None:
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def corpora(tmp_path):
    random = np.random.default_rng(3)
    parts = [f"librispeech_finetuning/1h/{f}/{k}" for f in range(6) for k in ("clean", "other")]
    parts += ["librispeech_finetuning/9h/clean", "librispeech_finetuning/9h/other"]
    parts += ["LibriSpeech/dev-other", "LibriSpeech/test-clean"]
    for number, part in enumerate(parts):
        speaker, chapter = 100 - number, 7 * number
        folder = tmp_path / part / str(speaker) / str(chapter)
        folder.mkdir(parents=True)
        lines = []
        for index in range(3):
            name = f"{speaker}-{chapter}-{index:04d}"
            wave = random.normal(0, 0.1, int(random.integers(500, 3000)))
            soundfile.write(folder / f"{name}.flac", wave, 16_000)
            lines.append(f"{name} {' '.join(random.choice(WORDS, random.integers(1, 5)))}\n")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def content(folder: Path, split: str) -> tuple[str, set]:
    """A split's root, and its rows with their labels, in no order."""
    read = {e: (folder / f"{split}.{e}").read_text().splitlines() for e in ("tsv", "ltr", "wrd")}
    rows = list(zip(read["tsv"][1:], read["ltr"], read["wrd"]))
    assert len(rows) == len(read["tsv"]) - 1 == len(read["ltr"]) == len(read["wrd"])
    return read["tsv"][0], set(rows)


@pytest.mark.legacy
def test_same_content_as_fairseqs_scripts(corpora, tmp_path):
    finetuning, speech = corpora / "librispeech_finetuning", corpora / "LibriSpeech"
    summary = build_librilight(finetuning, speech, tmp_path / "ours", force=True)
    for folder, split, root, below, count in (
        ("10min", "train", finetuning, "/1h/0/", 6),
        ("10h", "train", finetuning, None, 42),
        ("10h", "dev-other", speech / "dev-other", None, 3),
    ):
        theirs = tmp_path / "theirs" / folder / split
        only = ["--path-must-contain", below] if below else []
        options = ["--dest", theirs, "--ext", "flac", "--valid-percent", 0, *only]
        run(fairseq_script("wav2vec_manifest.py"), root, *options)
        (theirs / "train.tsv").rename(theirs / f"{split}.tsv")
        options = ["--output-dir", theirs, "--output-name", split]
        run(fairseq_script("libri_labels.py"), theirs / f"{split}.tsv", *options)
        ours = content(tmp_path / "ours" / folder, split)
        assert ours == content(theirs, split)
        assert len(ours[1]) == count
    assert [note.split("/")[-1] for note in summary.notes] == [
        "dev-clean (not found)",
        "test-other (not found)",
    ]
    assert {len(content(tmp_path / "ours" / "1h", "train")[1])} == {36}
    for split in summary.splits:
        checked = check_manifest(tmp_path / "ours" / split.folder, split.split, "ltr")
        assert len(checked.labels) == split.utterances
        root = Path(checked.manifest.root)
        assert all((root / row.path).is_file() for row in checked.manifest.rows)


@pytest.mark.legacy
def test_dictionaries_stand_in_fairseqs_order(tmp_path):
    from fairseq.data import Dictionary

    line = "b a ʒ ʒ c ŋ tʃ c ʒ 日 b \u2581the"
    theirs = Dictionary()
    theirs.encode_line(line)
    theirs.finalize(padding_factor=1)
    ours = tmp_path / "dict.phn.txt"
    counts = dictionary_lines({symbol: line.split().count(symbol) for symbol in line.split()})
    ours.write_text("".join(f"{count}\n" for count in counts), encoding="utf-8")
    assert Dictionary.load(str(ours)).symbols == theirs.symbols
    assert Dictionary.load(str(ours)).count[4:] == theirs.count[4:]


def test_audio_that_check_calls_too_short_is_what_fairseqs_span_masks_stop_at():
    from fairseq.data.data_utils import compute_mask_indices

    for mask_length in (5, 10):
        enough = ctc_frames(least_samples(mask_length))
        for frames in range(enough, enough + 30):
            for _ in range(20):
                compute_mask_indices((1, frames), None, 0.75, mask_length, min_masks=2)
        with pytest.raises(ValueError, match="entire sequence is masked"):
            for _ in range(60):
                compute_mask_indices((1, enough - 1), None, 0.75, mask_length, min_masks=2)


def speak_table(folder: Path, voice: str, sentences: list[str]) -> Path:
    """A table of spoken sentences, three of five for training."""
    speaker = Speaker(voice, 50, 50, 160, None, 3)
    lines = ["path\ttext\tsplit"]
    for index, wave in enumerate(speak(speaker, sentences)):
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{index}.flac", wave, 16_000)
        split = ("train", "train", "train", "dev", "test")[index % 5]
        lines.append(f"{index}.flac\t{sentences[index]}\t{split}")
    (folder / "corpus.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "corpus.tsv"


NL = ["goede morgen", "dank u wel", "een kop koffie", "waar is het station", "tot ziens"] * 2
FR = ["bonjour", "merci beaucoup", "une tasse de café", "où est la gare", "au revoir"]


def test_one_model_of_two_languages_is_scored_on_each(train, tmp_path):
    pytest.importorskip("phonemizer")
    for lang, voice, sentences in (("nl", "nl", NL), ("fr", "fr", FR)):
        table = speak_table(tmp_path / "speech" / lang, voice, sentences)
        build_table(table, tmp_path / lang, units="phones", lang=lang, force=True)
    joint = tmp_path / "joint"
    summary = build_joint([str(tmp_path / "nl"), str(tmp_path / "fr")], joint, force=True)
    assert check_folder(joint).ok
    (overrides,) = summary.overrides
    run = train(
        *[word for word in overrides.split() if "max_update" not in word],
        "dataset.valid_subset='dev,dev-nl,dev-fr'",
        "task.prune.interval=3",
    )
    assert run.code == 0, run.tail
    for split in ("dev", "dev-nl", "dev-fr"):
        assert run.meters(split)[-1][f"{split}_wer"]
    for lang in ("nl", "fr"):
        checkpoint = run.folder / "checkpoints" / "checkpoint_last.pt"
        score = evaluate(checkpoint, joint, f"test-{lang}")
        assert score.metric == "PER"


def test_pieces_train_and_are_scored_as_words(train, tmp_path):
    pytest.importorskip("sentencepiece")
    table = speak_table(tmp_path / "speech", "nl", NL)
    summary = build_table(table, tmp_path / "spm", units="spm", vocab_size=20, force=True)
    (overrides,) = summary.overrides
    run = train(*[word for word in overrides.split() if "max_update" not in word])
    assert run.code == 0, run.tail
    score = evaluate(run.folder / "checkpoints" / "checkpoint_last.pt", tmp_path / "spm", "test")
    assert score.metric == "WER"
    assert [u.reference for u in score.utterances] == ["tot ziens"] * 2
