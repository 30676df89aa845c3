"""The builders against fairseq's own scripts, run from the installed package."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from small_corpora import write_librilight, write_lines

from parp_fairseq.demo.voices import Speaker, speak
from parp_fairseq.evaluation import evaluate
from parp_fairseq.manifests.check.split import check_manifest
from parp_fairseq.manifests.corpora.librilight import build_librilight
from parp_fairseq.manifests.corpora.own_table import build_table
from parp_fairseq.manifests.labels.ctc import ctc_frames, least_samples
from parp_fairseq.manifests.labels.labelling import dictionary_lines


def fairseq_script(name: str) -> Path:
    """A file below fairseq's examples, without importing fairseq (it takes seconds)."""
    package = Path(importlib.util.find_spec("fairseq").origin).parent
    return package / "examples" / "wav2vec" / name


def run(script: Path, *arguments: object) -> None:
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def content(folder: Path, split: str) -> tuple[str, set]:
    """A split's root, and its rows with their labels, in no order."""
    read = {e: (folder / f"{split}.{e}").read_text().splitlines() for e in ("tsv", "ltr", "wrd")}
    rows = list(zip(read["tsv"][1:], read["ltr"], read["wrd"]))
    assert len(rows) == len(read["tsv"]) - 1 == len(read["ltr"]) == len(read["wrd"])
    return read["tsv"][0], set(rows)


@pytest.mark.legacy
def test_same_content_as_fairseqs_scripts(tmp_path):
    corpora = write_librilight(tmp_path)
    finetuning, speech = corpora / "librispeech_finetuning", corpora / "LibriSpeech"
    for part in ("dev-clean", "test-other"):
        shutil.rmtree(speech / part)
    summary = build_librilight(finetuning, speech, tmp_path / "ours", force=True)
    for folder, split, root, below, count in (
        ("10min", "train", finetuning, "/1h/0/", 4),
        ("10h", "train", finetuning, None, 29),
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


def test_the_printed_command_trains(train, tmp_path):
    sentences = ["goede morgen", "dank u wel", "een kop koffie", "waar is het station", "tot ziens"]
    lines = ["path\ttext\tsplit"]
    for index, wave in enumerate(speak(Speaker("nl", 50, 50, 160, None, 3), sentences * 2)):
        soundfile.write(tmp_path / f"{index}.flac", wave, 16_000)
        split = ("train", "train", "train", "dev", "test")[index % 5]
        lines.append(f"{index}.flac\t{sentences[index % 5]}\t{split}")
    table = write_lines(tmp_path / "corpus.tsv", lines)
    summary = build_table(table, tmp_path / "out")
    (command,) = summary.commands
    program, *words = shlex.split(command.replace("\\\n", ""))
    assert program == "fairseq-hydra-train" and words[:2] == ["--config-name", "parp_10min"]
    run = train(*words[4:])
    assert run.code == 0, run.tail
    score = evaluate(run.folder / "checkpoints" / "checkpoint_last.pt", tmp_path / "out", "test")
    assert score.metric == "WER"
    assert [u.reference for u in score.utterances] == ["tot ziens"] * 2
