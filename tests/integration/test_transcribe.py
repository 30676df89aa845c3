"""`parp transcribe` on a trained subnetwork, against what `parp eval` hears."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parp_fairseq.evaluation import evaluate
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.hf import export_hf
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference import recognise as transcribing
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.subnetwork import open_subnetwork
from parp_fairseq.kernels import native
from parp_fairseq.manifests.audio.headers import read_recording


@pytest.fixture(scope="module")
def models(finetuned, tmp_path_factory):
    """The subnetwork in every form."""
    folder = tmp_path_factory.mktemp("models")
    export_sparse(finetuned, folder / "sparse.safetensors")
    export_hf(finetuned, folder / "hf")
    export_fairseq(finetuned, folder / "stock" / "model.pt")
    return {
        "checkpoint": finetuned,
        "sparse": folder / "sparse.safetensors",
        "hf": folder / "hf",
        "stock": folder / "stock" / "model.pt",
    }


@pytest.fixture(scope="module")
def heard(models, data):
    """Audio file → what `parp eval` hears in it, one utterance a batch."""
    root = (data / "dev-other.tsv").read_text(encoding="utf-8").splitlines()[0]
    score = evaluate(
        models["checkpoint"], data, "dev-other", batch_size=1, device="cpu", num_workers=0
    )
    found = {
        f"{root}/{utterance.path}": " ".join(utterance.hypothesis.split())
        for utterance in score.utterances
    }
    assert len(set(found.values())) > 4
    return found


@pytest.fixture
def hear(models, parp):
    """Run `parp transcribe` with a form of the model; exit code, lines, standard error."""

    def run(form, *arguments):
        code, out, err = parp("transcribe", models[form], *arguments)
        return code, out.splitlines(), err

    return run


@pytest.mark.parametrize(
    ("form", "engine"),
    [(form, "auto") for form in ("checkpoint", "sparse", "hf", "stock")]
    + [("sparse", "sparse"), ("sparse", "dense")],
)
def test_transcripts_are_those_of_parp_eval(form, engine, hear, heard):
    code, lines, err = hear(form, *heard, "--engine", engine)
    assert code == 0
    assert dict(line.split("\t") for line in lines) == heard
    if engine == "auto" and native.level() in ("avx2", "avx512"):
        assert "groups of layers ran sparse" in err
    assert re.search(r"8 recordings, [\d.]+ s of audio; computed in .*real-time factor", err)


def test_a_folder_as_json_lines_and_captions(hear, heard, tmp_path):
    out = tmp_path / "heard.jsonl"
    folder = next(iter(heard)).rsplit("/dev-other/")[0] + "/dev-other"
    assert hear("sparse", folder, "--format", "jsonl", "-o", out)[:2] == (0, [])
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["path"]: row["text"] for row in rows} == heard
    assert [row["path"] for row in rows] == sorted(heard)
    for row in rows:
        assert row["seconds"] == pytest.approx(soundfile.info(row["path"]).duration, abs=1e-3)
        assert [word["word"] for word in row["words"]] == row["text"].split()
        times = [time for word in row["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times) and all(0 <= time <= row["seconds"] for time in times)
    assert hear("sparse", folder, "--format", "srt", "-o", tmp_path / "srt")[:2] == (0, [])
    for path, text in heard.items():
        content = (tmp_path / "srt" / f"{Path(path).stem}.srt").read_text(encoding="utf-8")
        assert content.count(" --> ") >= bool(text) and all(w in content for w in text.split())


def test_one_file_other_rates_and_channels(hear, heard, tmp_path):
    path, text = max(heard.items(), key=lambda item: len(item[1]))
    assert hear("sparse", path)[:2] == (0, [text])
    wave, rate = soundfile.read(path)
    soundfile.write(tmp_path / "stereo.wav", np.stack([wave, wave], 1), rate)
    soundfile.write(tmp_path / "slow.wav", wave[::2], rate // 2)
    code, lines, _ = hear("sparse", tmp_path)
    assert code == 0
    found = dict(line.split("\t") for line in lines)
    assert found[str(tmp_path / "stereo.wav")] == text
    assert found[str(tmp_path / "slow.wav")] != ""


def test_standard_input(hear, heard, monkeypatch):
    path, text = max(heard.items(), key=lambda item: len(item[1]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(path).read_bytes())))
    code, (line,), _ = hear("sparse", "-", "--format", "jsonl")
    assert code == 0 and json.loads(line)["path"] == "-" and json.loads(line)["text"] == text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no audio")))
    assert hear("sparse", "-")[0] == 2


def test_files_that_cannot_be_used_do_not_stop_others(hear, heard, tmp_path):
    path, text = next(iter(heard.items()))
    (tmp_path / "0.wav").write_bytes(b"\x1aE\xdf\xa3" + bytes(99))
    wave = np.full(32_000, np.nan, np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", *soundfile.read(path), subtype="PCM_16")
    soundfile.write(tmp_path / "c.wav", np.zeros(32_000), 16_000)
    out = tmp_path / "out.txt"
    code, _, err = hear("sparse", tmp_path, "-o", out)
    assert code == 2
    assert out.read_text(encoding="utf-8").startswith(f"{tmp_path / 'b.wav'}\t{text}\n")
    assert f"{tmp_path / 'c.wav'} holds nothing to hear" in err
    assert re.search(r"parp: error: .*a\.wav holds NaN or infinity", err)
    assert re.search(r"parp: error: .*0\.wav is not readable as audio: it is WebM", err)
    assert re.search(r"2 recordings, .*2 FAILED, see above", err)
    # With nothing to write, nothing is written.
    for name in ("a.wav", "0.wav"):
        code, _, err = hear("sparse", tmp_path / name, "-o", tmp_path / "none.txt")
        assert (code, len(err.splitlines())) == (2, 1) and not (tmp_path / "none.txt").exists()


def test_long_recordings_run_in_windows(models, heard, tmp_path, monkeypatch):
    """Two minutes: no more than a window at a time, and what eval hears in their parts."""
    pause = np.zeros(24_000)
    parts = [np.concatenate([soundfile.read(path)[0], pause]) for path in heard]
    round_of = np.concatenate(parts)
    times = int(120 * 16_000 / len(round_of)) + 1
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16_000, 1) as file:
        for _ in range(times):
            file.write(round_of)
    seen = []
    alone = transcribing._logits

    def counted(subnetwork, window, recording):
        seen.append(len(window))
        return alone(subnetwork, window, recording)

    monkeypatch.setattr(transcribing, "_logits", counted)
    subnetwork = open_subnetwork(models["sparse"])
    done = transcribe(subnetwork, read_recording(tmp_path / "long.flac"))
    assert max(seen) == 20 * 16_000
    assert len(seen) == -(-(len(round_of) * times - 20 * 16_000) // (16 * 16_000)) + 1
    assert done.seconds > 120 and done.words[-1].end <= done.seconds
    # A window's norms are not those of a short recording: letters may differ, the words' places
    # may not. Every part is as long as it is, whichever window saw it.
    lengths = [len(part) / 16_000 for part in parts] * times
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for start, length, text in zip(starts, lengths, [*heard.values()] * times):
        inside = [word for word in done.words if start <= word.start < start + length]
        assert abs(len(inside) - len(text.split())) <= 2 + len(text.split()) // 2
