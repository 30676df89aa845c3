"""`evaluate` against fairseq's own infer script, on real files and a tiny random model."""

from __future__ import annotations

import argparse
import copy
import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from stock_infer import run_fairseq_infer

from parp_fairseq import cli
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import decode, evaluate
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.inference.audio import read_recording
from parp_fairseq.inference.opening import open_subnetwork
from parp_fairseq.inference.transcribe import transcribe
from parp_fairseq.manifests.labels.units import english_dictionary, to_letters

CONV = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
LETTERS = "ETAONIHSRDLU"
PHONES = ["a", "b", "tʃ", "ɛ", "i:", "m", "n", "o"]
PIECES = ["\u2581", "\u2581THE", "\u2581A", "S", "T", "ING", "É", "\u2581NO"]
SYMBOLS = {"phn": PHONES, "spm": PIECES}


def write_data(folder: Path, *, labels: str = "ltr", utterances: int = 26, seed: int = 5) -> Path:
    """A split `test` of coloured noise between 0.2 and 1.5 s, some of equal length."""
    import soundfile

    random = np.random.default_rng(seed)
    audio = folder / "audio"
    audio.mkdir(parents=True)
    rows, lines = [str(audio)], []
    for index in range(utterances):
        length = int(random.integers(3_200, 24_000)) if index % 4 else 8_000
        wave = np.convolve(random.normal(0, 0.1, length + 7), np.ones(8) / 8, "valid")
        wave = wave * np.linspace(0.1, 1.0, length) ** (index % 3)
        soundfile.write(audio / f"u-{index}.flac", wave, 16_000)
        rows.append(f"u-{index}.flac\t{length}")
        if labels == "ltr":
            words = ["".join(random.choice(list(LETTERS), random.integers(1, 6))) for _ in range(4)]
            lines.append(to_letters(" ".join(words)))
        else:
            lines.append(" ".join(random.choice(SYMBOLS[labels], random.integers(3, 12))))
    dictionary = english_dictionary()
    if labels in SYMBOLS:
        dictionary = "".join(f"{symbol} 1\n" for symbol in SYMBOLS[labels])
    for name, content in (
        ("test.tsv", rows),
        (f"test.{labels}", lines),
        (f"dict.{labels}.txt", dictionary.splitlines()),
    ):
        (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder


def model_settings(**changes) -> dict[str, object]:
    """A wav2vec 2.0 of two layers, width 32."""
    return {
        "_name": "wav2vec2",
        "extractor_mode": "default",
        "conv_feature_layers": CONV,
        "encoder_layers": 2,
        "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 64,
        "encoder_attention_heads": 4,
        "final_dim": 16,
        "latent_vars": 8,
        "latent_groups": 2,
        "quantize_targets": True,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        **changes,
    }


def save_checkpoints(folder: Path, data: Path, *, labels: str = "ltr") -> dict[str, Path]:
    """A random pre-trained model and its fine-tuned form, in the forms fairseq has used."""
    import torch
    from fairseq import tasks
    from omegaconf import OmegaConf

    torch.manual_seed(7)
    folder.mkdir(parents=True)
    paths = {name: folder / f"{name}.pt" for name in ("pretrained", "finetuned", "args", "no_dict")}
    pretraining = {"_name": "audio_pretraining", "data": "/gone", "normalize": False}
    common = {
        "common": {"tpu": False, "seed": 1},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        **dict.fromkeys(("criterion", "optimizer", "lr_scheduler")),
    }
    cfg = {**common, "model": model_settings(), "task": pretraining}
    root = OmegaConf.create(cfg)
    task = tasks.setup_task(root.task)
    history = [
        {
            "optimizer_name": "FairseqAdam",
            "criterion_name": "x",
            "lr_scheduler_state": {},
            "num_updates": 3,
        }
    ]
    rest = {"optimizer_history": history, "extra_state": {"metrics": [], "train_iterator": None}}
    state = {"args": None, "cfg": cfg, "model": task.build_model(root.model).state_dict(), **rest}
    torch.save(state, paths["pretrained"])

    finetuning = {
        "_name": "audio_finetuning",
        "data": str(data),
        "labels": labels,
        "normalize": False,
    }
    model = {
        "_name": "wav2vec_ctc",
        "w2v_path": str(paths["pretrained"]),
        "data": str(data),
        "normalize": False,
        "layerdrop": 0.1,
        "apply_mask": True,
        "mask_prob": 0.6,
        "mask_channel_prob": 0.2,
    }
    cfg = {**common, "task": finetuning, "model": model}
    root = OmegaConf.create(cfg)
    task = tasks.setup_task(root.task)
    network = task.build_model(root.model)
    with torch.no_grad():
        # Without training every frame would look alike; a steep head makes them differ.
        network.w2v_encoder.proj.weight.mul_(40)
    # The Trainer saves every setting, defaults included.
    cfg["model"] = OmegaConf.to_container(network.cfg, resolve=True, enum_to_str=True)
    cfg["task"] = OmegaConf.to_container(task.cfg, resolve=True, enum_to_str=True)
    inner = cfg["model"]["w2v_args"]
    state = {
        "args": None,
        "cfg": cfg,
        "model": network.state_dict(),
        "task_state": task.state_dict(),
        **rest,
    }
    torch.save(state, paths["finetuned"])
    torch.save({**state, "task_state": {}}, paths["no_dict"])

    # As fine-tuned models were saved before fairseq 0.10.2: flat namespaces, no dictionary.
    w2v_args = {**inner["model"], "arch": "wav2vec2", "task": "audio_pretraining"}
    w2v_args.update(normalize=False, data="/gone", criterion="wav2vec", lr=[0.1], optimizer="adam")
    args = {**model, "arch": "wav2vec_ctc", "task": "audio_pretraining", "labels": labels}
    args.update(
        criterion="ctc", lr=[0.1], optimizer="adam", w2v_args=argparse.Namespace(**w2v_args)
    )
    for flat in (args, w2v_args):
        flat.pop("_name", None)
    args["w2v_args"] = argparse.Namespace(**w2v_args)
    old = {**state, "args": argparse.Namespace(**args), "cfg": None, "task_state": {}}
    torch.save(old, paths["args"], _use_new_zipfile_serialization=False)
    return paths


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Data with letters and its checkpoints."""
    folder = tmp_path_factory.mktemp("letters")
    data = write_data(folder / "data")
    paths = save_checkpoints(folder / "checkpoints", data)
    return data, paths


@pytest.fixture
def without_pretrained(letters):
    """The same where the pre-trained file that the checkpoints name is gone."""
    data, paths = letters
    moved = paths["pretrained"].with_suffix(".moved")
    paths["pretrained"].rename(moved)
    yield data, paths
    moved.rename(paths["pretrained"])


def assert_same_as_infer(score, infer, rows=26):
    files = infer["files"]
    assert len(files["ref.word"]) == len(score.utterances) == rows
    assert score.rate == infer["wer"]
    assert (score.words.errors, score.words.length) == (infer["errors"], infer["length"])
    assert {u.row: u.hypothesis for u in score.utterances} == files["hypo.word"]
    assert {u.row: u.reference for u in score.utterances} == files["ref.word"]
    assert {u.row: u.hypothesis_units for u in score.utterances} == files["hypo.units"]
    assert {u.row: u.reference_units for u in score.utterances} == files["ref.units"]


@pytest.mark.legacy
def test_letters_equal_infer(without_pretrained, tmp_path):
    data, paths = without_pretrained
    options = ("dataset.required_batch_size_multiple=1",)
    infer = run_fairseq_infer(
        paths["finetuned"], data, "test", tmp_path, overrides=options, python=sys.executable
    )
    score = evaluate(paths["finetuned"], data, "test", required_batch_size_multiple=1, device="cpu")
    assert score.metric == "WER"
    assert len({u.hypothesis for u in score.utterances}) > 10
    assert_same_as_infer(score, infer)


def test_default_batches_are_those_of_infer_and_nothing_is_left_out(letters, tmp_path):
    data, paths = letters
    infer = run_fairseq_infer(paths["finetuned"], data, "test", tmp_path)
    score = evaluate(paths["finetuned"], data, "test", device="cpu")
    assert [u.row for u in score.utterances] == list(range(26))
    heard = infer["files"]["hypo.units"]
    # 26 is no multiple of 8: later fairseq leaves the two shortest out, 0.12.2 does not.
    assert len(heard) in (24, 26)
    assert {u.row: u.hypothesis_units for u in score.utterances if u.row in heard} == heard
    if len(heard) == 26:
        assert_same_as_infer(score, infer)


def test_small_batches_equal_infer(letters, tmp_path):
    data, paths = letters
    options = ("dataset.max_tokens=60000", "dataset.required_batch_size_multiple=1")
    infer = run_fairseq_infer(paths["finetuned"], data, "test", tmp_path, overrides=options)
    score = evaluate(
        paths["finetuned"],
        data,
        "test",
        max_tokens=60_000,
        required_batch_size_multiple=1,
        device="cpu",
        num_workers=0,
    )
    assert_same_as_infer(score, infer)
    # The batches matter: with others this model hears something else.
    whole = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    assert [u.hypothesis for u in whole.utterances] != [u.hypothesis for u in score.utterances]


@pytest.mark.parametrize(
    ("labels", "post_process", "metric"), [("phn", "none", "PER"), ("spm", "sentencepiece", "WER")]
)
def test_other_units_equal_infer_and_jiwer(tmp_path, labels, post_process, metric):
    import jiwer

    data = write_data(tmp_path / "data", labels=labels, utterances=24, seed=9)
    paths = save_checkpoints(tmp_path / "checkpoints", data, labels=labels)
    infer = run_fairseq_infer(
        *(paths["finetuned"], data, "test", tmp_path / "infer"),
        labels=labels,
        post_process=post_process,
    )
    score = evaluate(paths["finetuned"], data, "test", device="cpu")
    assert score.metric == metric
    assert_same_as_infer(score, infer, rows=24)
    references = [u.reference for u in score.utterances]
    hypotheses = [u.hypothesis for u in score.utterances]
    assert score.rate == pytest.approx(100 * jiwer.wer(references, hypotheses))
    if metric == "PER":
        assert score.characters is None
    else:
        assert any(" " in hypothesis for hypothesis in hypotheses)
        assert not any("\u2581" in text for text in references + hypotheses)
        assert score.characters.rate == pytest.approx(100 * jiwer.cer(references, hypotheses))


def test_the_dictionary_that_a_run_saved_is_used(letters, tmp_path):
    import torch

    data, paths = letters
    state = torch.load(paths["finetuned"], weights_only=False)
    dictionary = state["task_state"]["target_dictionary"]
    symbols = {"symbols": dictionary.symbols[4:], "counts": dictionary.count[4:]}
    torch.save({**state, "task_state": {"parp_symbols": symbols}}, tmp_path / "parp.pt")
    other = tmp_path / "data"
    other.mkdir()
    for name in ("test.tsv", "test.ltr"):
        shutil.copy(data / name, other / name)
    lines = (data / "dict.ltr.txt").read_text(encoding="utf-8").splitlines()
    (other / "dict.ltr.txt").write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")
    expected = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    score = evaluate(tmp_path / "parp.pt", other, "test", device="cpu", num_workers=0)
    assert score.utterances == expected.utterances


@pytest.mark.legacy
@pytest.mark.parametrize("form", ["args", "no_dict"])
def test_other_forms_of_the_same_weights_score_the_same(without_pretrained, form):
    data, paths = without_pretrained
    expected = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    score = evaluate(paths[form], data, "test", device="cpu", num_workers=0)
    assert score.utterances == expected.utterances


@pytest.mark.parametrize("labels", ["ltr", "phn", "spm"])
def test_parp_transcribe_hears_the_same(labels, letters, tmp_path, capfd):
    """Letters, phones and pieces, from each form of checkpoint that fairseq has used."""
    data, paths = letters
    if labels != "ltr":
        data = write_data(tmp_path / "data", labels=labels, utterances=6)
        paths = save_checkpoints(tmp_path / "checkpoints", data, labels=labels)
    score = evaluate(paths["finetuned"], data, "test", batch_size=1, device="cpu", num_workers=0)
    capfd.readouterr()
    for form in ("finetuned", "args", "no_dict"):
        subnetwork = open_subnetwork(paths[form])
        for utterance in score.utterances:
            recording = read_recording(data / "audio" / utterance.path)
            assert transcribe(subnetwork, recording).text == utterance.hypothesis
    assert len({utterance.hypothesis for utterance in score.utterances}) > 4
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def several(letters, tmp_path_factory):
    """Two splits, and two checkpoints that hear different things: (data, checkpoints)."""
    import torch

    data, paths = letters
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(data, folder / "data")
    for ending in ("tsv", "ltr"):
        lines = (data / f"test.{ending}").read_text(encoding="utf-8").splitlines()
        short = [*lines[: 1 if ending == "tsv" else 0], *lines[5:12]]
        (folder / "data" / f"dev.{ending}").write_text("\n".join(short) + "\n", encoding="utf-8")
    # An utterance without a word: what is heard there is inserted.
    rows = (folder / "data" / "dev.ltr").read_text(encoding="utf-8").splitlines()
    tsv = (folder / "data" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    rows[len(tsv) - 2 :] = ["|"]
    (folder / "data" / "dev.ltr").write_text("\n".join(rows) + "\n", encoding="utf-8")
    state = torch.load(paths["finetuned"], weights_only=False)
    state["model"]["w2v_encoder.proj.bias"] += torch.linspace(-3, 3, 32)
    checkpoints = [folder / name / "best.pt" for name in ("one", "two")]
    for checkpoint in checkpoints:
        checkpoint.parent.mkdir()
    shutil.copy(paths["finetuned"], checkpoints[0])
    torch.save(state, checkpoints[1])
    return folder / "data", checkpoints


@pytest.fixture
def parp(monkeypatch, capsys):
    """Run `parp eval`; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["parp", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run


QUICK = ("--device", "cpu", "--workers", "0")


@pytest.mark.legacy
def test_many_checkpoints_and_splits_in_one_call(several, parp, monkeypatch, tmp_path):
    data, checkpoints = several
    alone = [
        evaluate(checkpoint, data, split, device="cpu", num_workers=0)
        for checkpoint in checkpoints
        for split in ("test", "dev")
    ]
    assert alone[0].utterances != alone[2].utterances
    built, build = [], decode.build_model
    monkeypatch.setattr(decode, "build_model", lambda *a, **k: built.append(1) or build(*a, **k))
    files = ("--json", tmp_path / "s.json", "--csv", tmp_path / "s.csv")
    code, out, err = parp(
        *checkpoints, "--data", data, "--split", "test,dev", *QUICK, *files, "--transcripts",
        tmp_path / "heard",
    )  # fmt: skip
    assert (code, err, len(built)) == (0, "", 2)
    assert json.loads((tmp_path / "s.json").read_text()) == [score.to_json() for score in alone]
    with open(tmp_path / "s.csv", newline="") as handle:
        assert [float(row["rate"]) for row in csv.DictReader(handle)] == [s.rate for s in alone]
    rows = [line.split() for line in out.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows[1:]] == [
        (score.checkpoint, score.split, f"{score.rate:.2f}") for score in alone
    ]
    heard = tmp_path / "heard" / "two" / "best.pt" / "dev.tsv"
    lines = heard.read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split("\t")[2] for line in lines] == [u.hypothesis for u in alone[3].utterances]
    assert alone[3].utterances[-1].reference == ""
    assert alone[3].utterances[-1].words.insertions > 0
    assert len(list((tmp_path / "heard").rglob("*.tsv"))) == 4

    code, out, err = parp(checkpoints[0], "--data", data, "--split", "dev", *QUICK, "--json", "-")
    assert (code, json.loads(out)) == (0, [alone[1].to_json()])


@pytest.mark.legacy
def test_a_sparse_file_scores_as_its_checkpoint(several, monkeypatch, tmp_path):
    import torch

    from parp_fairseq.engine import acceleration as engine
    from parp_fairseq.evaluation.load import load_sparse
    from parp_fairseq.export.sparse import export_sparse

    data, checkpoints = several
    state = torch.load(checkpoints[0], weights_only=False)
    for name, tensor in state["model"].items():
        if ".fc1.weight" in name:
            state["model"][name] = tensor * (torch.rand_like(tensor) < 0.1)
    torch.save(state, tmp_path / "pruned.pt")
    export_sparse(tmp_path / "pruned.pt", tmp_path / "pruned.safetensors")
    expected = evaluate(tmp_path / "pruned.pt", data, "dev", device="cpu", num_workers=0)
    score = evaluate(tmp_path / "pruned.safetensors", data, "dev", device="cpu", num_workers=0)
    assert score.utterances == expected.utterances
    # By its zeros and not by measuring: in so small a model nothing wins.
    monkeypatch.setattr(engine, "MARGIN", float("inf"))
    monkeypatch.setattr(engine, "LEAST_ENTRIES", 0)
    options = {"device": "cpu", "num_workers": 0, "engine": "sparse"}
    score = evaluate(tmp_path / "pruned.safetensors", data, "dev", **options)
    loaded = load_sparse(tmp_path / "pruned.safetensors", engine="sparse")
    assert loaded.acceleration.replaced == 2
    assert [u.hypothesis for u in score.utterances] == [u.hypothesis for u in expected.utterances]


@pytest.mark.legacy
def test_theta_scores_as_a_checkpoint_that_holds_it(several, parp, tmp_path):
    import torch

    from parp_fairseq.pruning import Pruner, Scope, SparsitySchedule, magnitude_mask

    data, checkpoints = several
    state = torch.load(checkpoints[0], weights_only=False)
    theta = {name: tensor.clone() for name, tensor in state["model"].items()}
    names = Scope().select(theta)
    pruner = Pruner(SparsitySchedule(0.9), interval=2)
    pruned = {name: theta[name] for name in names}
    pruner.start(pruned, magnitude_mask(pruned, 0.9))
    for weight in pruned.values():
        weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    pruner.end_update(1)
    torch.save({**state, "model": theta}, tmp_path / "theta.pt")
    model = {name: pruner.masked(name, tensor) for name, tensor in theta.items()}
    saved = {**state, "model": model, "last_optimizer_state": {"parp": pruner.state_dict()}}
    torch.save(saved, tmp_path / "run.pt")
    options = {"device": "cpu", "num_workers": 0}
    expected = evaluate(tmp_path / "theta.pt", data, "dev", **options)
    found = evaluate(tmp_path / "run.pt", data, "dev", weights="theta", **options)
    other = evaluate(tmp_path / "run.pt", data, "dev", **options)
    assert found.utterances == expected.utterances != other.utterances
    assert (found.weights, other.weights) == ("theta", "subnetwork")
    assert found.zeros == 0.0 and other.zeros == pytest.approx(0.9, abs=1e-4)
    arguments = (tmp_path / "run.pt", "--data", data, "--split", "dev", "--weights", "theta")
    code, out, err = parp(*arguments, *QUICK, "--json", tmp_path / "s.json")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "s.json").read_text()) == [found.to_json()]
    assert out.splitlines()[1].split()[-2:] == ["theta", "0.00"]


@pytest.mark.legacy
def test_an_interrupted_evaluation(several, parp, monkeypatch, tmp_path):
    data, checkpoints = several
    transcribe, calls = decode.transcribe, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return transcribe(*arguments)

    monkeypatch.setattr(decode, "transcribe", interrupted)
    arguments = (*checkpoints, "--data", data, "--split", "dev,test", *QUICK)
    files = ("--json", tmp_path / "s.json", "--csv", tmp_path / "s.csv")
    code, out, err = parp(*arguments, *files, "--transcripts", tmp_path / "heard")
    assert code == 130
    assert err.splitlines() == [
        "parp: interrupted: 1 of 4 scores were done; no JSON or CSV is written"
    ]
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[str(checkpoints[0]), "dev"]]
    assert [f.relative_to(tmp_path) for f in tmp_path.rglob("*") if f.is_file()] == [
        Path("heard/one/best.pt/dev.tsv")
    ]


def test_a_checkpoint_that_cannot_be_built_leaves_the_scores_before_it(several, parp, tmp_path):
    import torch

    data, checkpoints = several
    state = torch.load(checkpoints[0], weights_only=False)
    del state["model"]["w2v_encoder.w2v_model.encoder.layers.1.fc2.weight"]
    torch.save(state, tmp_path / "short.pt")
    arguments = (checkpoints[0], tmp_path / "short.pt", "--data", data, "--split", "dev", *QUICK)
    code, out, err = parp(*arguments, "--json", tmp_path / "s.json")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "short.pt: fairseq cannot build its model" in err and "fc2.weight" in err
    assert [line.split()[0] for line in out.splitlines()[1:]] == [str(checkpoints[0])]
    assert not (tmp_path / "s.json").exists()


def test_nothing_is_decoded_before_all_is_checked(several, parp, monkeypatch, tmp_path):
    data, checkpoints = several
    monkeypatch.setattr(decode, "build_model", None)

    def refused(pattern, *arguments, split="dev"):
        code, out, err = parp(checkpoints[0], *arguments, "--data", data, "--split", split, *QUICK)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1 and pattern in err, err

    refused("none.pt: no such checkpoint", tmp_path / "none.pt")
    refused("one/best.pt is given twice", checkpoints[0])
    refused("the split dev is given twice", split="dev,test,dev")
    refused("no split was given", split=",")
    refused("valid.tsv: no such manifest; the splits in", split="test,valid")
    refused("--json and --csv cannot both be standard output", "--json", "-", "--csv", "-")
    refused(f"--csv {tmp_path} is a folder", "--csv", tmp_path)
    refused("engine csr: use one of dense, sparse", "--engine", "csr")


def test_unknown_settings_of_another_version_are_left_out(letters, tmp_path):
    import torch

    data, paths = letters
    state = torch.load(paths["finetuned"], weights_only=False)
    state = {**state, "cfg": copy.deepcopy(state["cfg"])}
    state["cfg"]["model"]["from_the_future"] = 1
    state["cfg"]["model"]["w2v_args"]["model"]["from_the_future"] = [1]
    state["cfg"]["model"]["w2v_args"]["task"]["eval_wer_config"] = {"print_alignment": False}
    state["cfg"]["task"] = {"_name": "parp", "labels": "ltr", "normalize": False, "prune": {"a": 1}}
    del state["optimizer_history"], state["extra_state"]
    torch.save(state, tmp_path / "other.pt")
    expected = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    score = evaluate(tmp_path / "other.pt", data, "test", device="cpu", num_workers=0)
    assert score.utterances == expected.utterances


def test_architecture_from_the_pretrained_file_or_an_error(letters, tmp_path):
    import torch

    data, paths = letters
    state = torch.load(paths["finetuned"], weights_only=False)
    state["cfg"]["model"]["w2v_args"] = None
    state["cfg"]["model"]["w2v_path"] = "/gone/base.pt"
    torch.save(state, tmp_path / "bare.pt")
    with pytest.raises(UserError, match=r"bare\.pt does not hold its architecture.*gone/base"):
        evaluate(tmp_path / "bare.pt", data, "test", device="cpu")
    expected = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    score = evaluate(
        tmp_path / "bare.pt",
        data,
        "test",
        device="cpu",
        num_workers=0,
        w2v_path=paths["pretrained"],
    )
    assert score.utterances == expected.utterances


def test_the_dictionary_beside_a_checkpoint_counts_and_not_another_of_the_datas(letters, tmp_path):
    data, paths = letters
    expected = evaluate(paths["no_dict"], data, "test", device="cpu", num_workers=0)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    lines = (data / "dict.ltr.txt").read_text(encoding="utf-8").splitlines()
    (other / "dict.ltr.txt").write_text("\n".join(lines[::-1]) + "\n", encoding="utf-8")
    exported = tmp_path / "exported"
    exported.mkdir()
    shutil.copy(paths["no_dict"], exported / "model.pt")
    wrong = evaluate(exported / "model.pt", other, "test", device="cpu", num_workers=0)
    assert wrong.rate != expected.rate
    shutil.copy(data / "dict.ltr.txt", exported)
    # Nothing says which of the two it is.
    with pytest.raises(
        UserError, match=r"exported/dict\.ltr\.txt and .*other/dict\.ltr\.txt number"
    ):
        evaluate(exported / "model.pt", other, "test", device="cpu", num_workers=0)
    export_fairseq(paths["finetuned"], exported / "again.pt")
    score = evaluate(exported / "again.pt", other, "test", device="cpu", num_workers=0)
    assert score.rate == expected.rate
    (exported / "dict.ltr.txt").unlink()
    with pytest.raises(UserError, match=r"other/dict\.ltr\.txt is not the dictionary that .*again"):
        evaluate(exported / "again.pt", other, "test", device="cpu", num_workers=0)


def test_bad_input(letters, tmp_path):
    import torch

    data, paths = letters
    good = paths["finetuned"]

    def refused(pattern, checkpoint=good, folder=data, split="test", **options):
        with pytest.raises(UserError, match=pattern) as caught:
            evaluate(checkpoint, folder, split, device="cpu", num_workers=0, **options)
        assert "\n" not in str(caught.value)

    refused(r"pretrained\.pt is a pre-trained wav2vec2 without a CTC head", paths["pretrained"])
    refused(r"none\.pt: no such checkpoint", tmp_path / "none.pt")
    refused(r"valid\.tsv: no such manifest; the splits in .* are: test", split="valid")
    refused(r"test\.phn: no such label file", labels="phn")
    refused(r"no such folder", folder=tmp_path / "nowhere")
    refused(r"--max-tokens is 0", max_tokens=0)
    refused(r"test\.tsv row \d+: .* more than a batch may hold", max_tokens=10_000)
    with pytest.raises(UserError, match="engine sparse works on the CPU, not on cuda"):
        evaluate(good, data, "test", device="cuda", engine="sparse")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            evaluate(good, data, "test", device="cuda")

    other = tmp_path / "other"
    shutil.copytree(data, other)
    (other / "dict.ltr.txt").write_text("| 1\nE 1\n", encoding="utf-8")
    refused(r"dict\.ltr\.txt has 6 symbols .* has 32", paths["no_dict"], other)
    lines = (data / "test.ltr").read_text(encoding="utf-8").splitlines()
    lines[4] = "E é |"
    (other / "test.ltr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused(r"test\.ltr row 5: the symbol 'é' is not in the dictionary of", folder=other)
    lines[4] = ""
    (other / "test.ltr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused(r"test\.ltr row 5 is empty", folder=other)
    (other / "test.ltr").write_text("|\n" * len(lines), encoding="utf-8")
    refused(r"test\.ltr: no row has a word", folder=other)
    (other / "dict.ltr.txt").unlink()
    refused(r"no_dict\.pt holds no dictionary and .*dict\.ltr\.txt is not", paths["no_dict"], other)
    (other / "test.tsv").write_text(str(other) + "\n", encoding="utf-8")
    refused(r"test\.tsv lists no audio", folder=other)
    shutil.copy(data / "test.tsv", other / "test.tsv")
    phones = ["a b", *["a"] * 25]
    (other / "test.phn").write_text("\n".join(phones) + "\n", encoding="utf-8")
    refused(r"test\.phn row 1: the symbol 'a' is not in", folder=other, labels="phn")
    shutil.copy(data / "test.ltr", other / "test.ltr")
    moved = (other / "test.tsv").read_text(encoding="utf-8").replace(str(data), str(other))
    (other / "test.tsv").write_text(moved, encoding="utf-8")
    damaged = other / "audio" / "u-7.flac"
    damaged.write_bytes(damaged.read_bytes()[:200] + b"\0" * 50)
    refused(r"test\.tsv: audio below .* cannot be read", folder=other)

    translation = {"cfg": {"model": {"_name": "transformer"}, "task": {}}, "model": {}}
    torch.save(translation, tmp_path / "translation.pt")
    kind = r"translation\.pt holds a model of another kind \(transformer\)"
    refused(kind, tmp_path / "translation.pt")
    shutil.copy(good, tmp_path / "cut.pt")
    os.truncate(tmp_path / "cut.pt", 20_000)
    refused(r"cut\.pt is truncated", tmp_path / "cut.pt")


def test_a_trained_subnetwork_equals_infer(train, data, tmp_path):
    run = train("optimization.max_update=6", "optimization.lr=[0.01]")
    checkpoint = run.folder / "checkpoints" / "checkpoint_last.pt"
    assert checkpoint.is_file(), run.tail
    options = ("dataset.required_batch_size_multiple=1",)
    infer = run_fairseq_infer(checkpoint, data, "dev-other", tmp_path / "infer", overrides=options)
    score = evaluate(checkpoint, data, "dev-other", required_batch_size_multiple=1, device="cpu")
    assert_same_as_infer(score, infer, rows=8)
