"""`evaluate` against fairseq's own infer script, on real files and a tiny random model."""

from __future__ import annotations

import argparse
import copy
import os
from pathlib import Path

import numpy as np
import pytest
from stock_infer import run_fairseq_infer

from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import evaluate, write_transcripts
from parp_fairseq.manifests.units import english_dictionary, to_letters

CONV = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
LETTERS = "ETAONIHSRDLU"
PHONES = ["a", "b", "tʃ", "ɛ", "i:", "m", "n", "o"]


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
            lines.append(" ".join(random.choice(PHONES, random.integers(3, 12))))
    dictionary = english_dictionary()
    if labels == "phn":
        dictionary = "".join(f"{phone} 1\n" for phone in PHONES)
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
    assert (score.errors, score.length) == (infer["errors"], infer["length"])
    assert {u.row: u.hypothesis for u in score.utterances} == files["hypo.word"]
    assert {u.row: u.reference for u in score.utterances} == files["ref.word"]
    assert {u.row: u.hypothesis_units for u in score.utterances} == files["hypo.units"]
    assert {u.row: u.reference_units for u in score.utterances} == files["ref.units"]


@pytest.mark.legacy
def test_letters_equal_infer(without_pretrained, tmp_path):
    data, paths = without_pretrained
    options = ("dataset.required_batch_size_multiple=1",)
    infer = run_fairseq_infer(paths["finetuned"], data, "test", tmp_path, overrides=options)
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


def test_phones_equal_infer(tmp_path):
    data = write_data(tmp_path / "data", labels="phn", utterances=24, seed=9)
    paths = save_checkpoints(tmp_path / "checkpoints", data, labels="phn")
    infer = run_fairseq_infer(
        paths["finetuned"], data, "test", tmp_path / "infer", labels="phn", post_process="none"
    )
    score = evaluate(paths["finetuned"], data, "test", device="cpu")
    assert score.metric == "PER"
    assert_same_as_infer(score, infer, rows=24)


@pytest.mark.legacy
@pytest.mark.parametrize("form", ["args", "no_dict"])
def test_other_forms_of_the_same_weights_score_the_same(without_pretrained, form):
    data, paths = without_pretrained
    expected = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    score = evaluate(paths[form], data, "test", device="cpu", num_workers=0)
    assert score.utterances == expected.utterances


def test_transcript_files(letters, tmp_path):
    data, paths = letters
    score = evaluate(paths["finetuned"], data, "test", device="cpu", num_workers=0)
    write_transcripts(score, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "hypo.units",
        "hypo.word",
        "ref.units",
        "ref.word",
    ]
    references = (data / "test.ltr").read_text(encoding="utf-8").splitlines()
    written = (tmp_path / "out" / "ref.units").read_text(encoding="utf-8").splitlines()
    assert written == [f"{line} (u-{index})" for index, line in enumerate(references)]


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


def test_bad_input(letters, tmp_path):
    import shutil

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
    refused(r"max_tokens is 0", max_tokens=0)
    refused(r"test\.tsv row \d+: .* more than a batch may hold", max_tokens=10_000)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            evaluate(good, data, "test", device="cuda")

    other = tmp_path / "other"
    shutil.copytree(data, other)
    (other / "dict.ltr.txt").write_text("| 1\nE 1\n", encoding="utf-8")
    refused(r"dict\.ltr\.txt: its dictionary has 6 symbols .* has 32", paths["no_dict"], other)
    lines = (data / "test.ltr").read_text(encoding="utf-8").splitlines()
    lines[4] = "E é |"
    (other / "test.ltr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused(r"test\.ltr row 5: the symbol 'é' is not in the dictionary of", folder=other)
    lines[4] = ""
    (other / "test.ltr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    refused(r"test\.ltr row 5 is empty", folder=other)
    shutil.copy(data / "test.ltr", other / "test.ltr")
    moved = (other / "test.tsv").read_text(encoding="utf-8").replace(str(data), str(other))
    (other / "test.tsv").write_text(moved, encoding="utf-8")
    damaged = other / "audio" / "u-7.flac"
    damaged.write_bytes(damaged.read_bytes()[:200] + b"\0" * 50)
    refused(r"test\.tsv: audio below .* cannot be read", folder=other)

    state = torch.load(good, weights_only=False)
    del state["model"]["w2v_encoder.w2v_model.encoder.layers.1.fc2.weight"]
    torch.save(state, tmp_path / "short.pt")
    refused(r"short\.pt: fairseq cannot build its model: .*fc2\.weight", tmp_path / "short.pt")
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
