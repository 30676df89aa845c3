"""From a release of Common Voice to a phone error rate, by the commands that a user types."""

from __future__ import annotations

import json

import pytest
from running import Trainer, entries, zeros

from parp_fairseq.cli.commands import app
from parp_fairseq.demo.voices import Speaker, speak

pytest.importorskip("phonemizer")
soxr = pytest.importorskip("soxr")

HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\tlocale\tsegment"
SENTENCES = [
    "Ik vind dat een dubieuze procedure.",
    "Het regent al de hele dag.",
    "Waar is mijn fiets?",
    '"Morgen", zei hij, "gaan we naar zee."',
    "Zij leest een dik boek.",
    "De trein komt te laat aan.",
]
VOICES = [("train", "nl+m1"), ("train", "nl+f1"), ("train", "nl+m3"), ("train", "nl+f4")]
VOICES += [("dev", "nl+m5"), ("test", "nl+f2"), ("validated", "nl+m7")]


@pytest.fixture
def release(tmp_path):
    """Dutch by espeak-ng as 48 kHz MP3, a voice a speaker, in a release's folders."""
    import soundfile

    folder = tmp_path / "cv-corpus-6.1-2020-12-11" / "nl"
    (folder / "clips").mkdir(parents=True)
    rows = {"train": [], "dev": [], "test": [], "validated": []}
    for number, (split, voice) in enumerate(VOICES):
        speaker = Speaker(voice, 50, 50, 165, None, number + 1)
        for index, samples in enumerate(speak(speaker, SENTENCES)):
            name = f"common_voice_nl_{17_000_000 + 100 * number + index}.mp3"
            wave = soxr.resample(samples, 16_000, 48_000)
            soundfile.write(folder / "clips" / name, wave, 48_000, format="MP3")
            row = f"{voice}\t{name}\t{SENTENCES[index]}\t2\t0\t\t\t\tnl\t"
            for table in {split, "validated"}:
                rows[table].append(row)
    for table, lines in rows.items():
        text = "\n".join([HEADER, *lines]) + "\n"
        (folder / f"{table}.tsv").write_text(text, encoding="utf-8")
    (folder / "clips" / "common_voice_nl_17000005.mp3").write_bytes(b"")
    return folder.parent


def test_from_a_release_to_a_phone_error_rate(release, tmp_path, capsys):
    out = tmp_path / "data"
    command = ["manifest", "commonvoice", "--release", str(release), "--lang", "nl"]
    app([*command, "--out", str(out), "--jobs", "2"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "left out: empty file (1): common_voice_nl_17000005" in shown

    run = Trainer(tmp_path, out)(
        "task.labels=phn",
        "criterion.post_process=none",
        "dataset.valid_subset=dev",
        "task.prune.sparsity=0.5",
        "task.prune.interval=20",
        "optimization.max_update=40",
        "optimization.lr=[0.005]",
    )
    assert run.code == 0, run.tail
    losses = [float(row["loss"]) for row in run.meters("train_inner")]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    weights = run.prunable()
    assert zeros(weights) == round(0.5 * entries(weights))

    checkpoint = run.folder / "checkpoints" / "checkpoint_last.pt"
    score = ["eval", str(checkpoint), "--data", str(out), "--split", "test", "--device", "cpu"]
    app([*score, "--json", str(tmp_path / "score.json")], standalone_mode=False)
    assert "PER" in capsys.readouterr().out
    (told,) = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    phones = (out / "test.phn").read_text(encoding="utf-8").split()
    assert told["metric"] == "PER" and told["length"] == len(phones)
    assert 0 < told["errors"] < len(phones)
