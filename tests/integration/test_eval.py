"""`evaluate` against fairseq's own infer script, on real files and a tiny random model."""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_model import random_state
from stock_infer import run_fairseq_infer

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.errors import UserError
from parp_fairseq.evaluation import decode, evaluate
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.inference.recognise import transcribe
from parp_fairseq.inference.subnetwork import open_subnetwork
from parp_fairseq.manifests.audio.headers import read_recording
from parp_fairseq.runs.reading import read_run

LETTERS = "ETAONIHSRDLU"
SYMBOLS = {
    "ltr": ["|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"],
    "phn": ["a", "b", "tʃ", "ɛ", "i:", "m", "n", "o"],
    "spm": ["\u2581", "\u2581THE", "\u2581A", "S", "T", "ING", "É", "\u2581NO"],
}
CPU = {"device": "cpu", "num_workers": 0}


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_data(folder: Path, labels: str, utterances: int = 26) -> Path:
    """A split `test` of coloured noise between 0.2 and 1.5 s, some of equal length."""
    random = np.random.default_rng(5)
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
            words = [random.choice(list(LETTERS), random.integers(1, 6)) for _ in range(4)]
            lines.append(" ".join(f"{' '.join(word)} |" for word in words))
        else:
            lines.append(" ".join(random.choice(SYMBOLS[labels], random.integers(3, 12))))
    write_lines(folder / "test.tsv", rows)
    write_lines(folder / f"test.{labels}", lines)
    write_lines(folder / f"dict.{labels}.txt", [f"{symbol} 1" for symbol in SYMBOLS[labels]])
    return folder


def save_checkpoints(folder: Path, data: Path, labels: str) -> dict[str, Path]:
    """A random pre-trained model and its fine-tuned form, in the forms fairseq has used."""
    from fairseq import tasks
    from fairseq.data import Dictionary
    from omegaconf import OmegaConf

    state = random_state(sparsity=0.0)
    dictionary = Dictionary()
    for symbol in SYMBOLS[labels]:
        dictionary.add_symbol(symbol)
    # Without training every frame would look alike; a steep head makes them differ.
    head = {"weight": 7 * torch.randn(len(dictionary), 32), "bias": torch.zeros(len(dictionary))}
    for name, tensor in head.items():
        state["model"][f"w2v_encoder.proj.{name}"] = tensor
    cfg, where = state["cfg"], {"data": str(data), "normalize": False}
    cfg.update(dict.fromkeys(("criterion", "optimizer", "lr_scheduler")))
    cfg["task"] = {"_name": "audio_finetuning", "labels": labels, **where}
    cfg["model"].update(where, layerdrop=0.1, mask_prob=0.6, mask_channel_prob=0.2)
    # The Trainer saves every setting, defaults included.
    task = tasks.setup_task(OmegaConf.create(cfg).task)
    cfg["task"] = OmegaConf.to_container(task.cfg, resolve=True, enum_to_str=True)
    inner = cfg["model"]["w2v_args"]
    state["task_state"] = {"target_dictionary": dictionary}
    state["optimizer_history"][0].update(criterion_name="x", lr_scheduler_state={})
    # As fine-tuned models were saved before fairseq 0.10.2: flat namespaces, no dictionary.
    flat = {"lr": [0.1], "optimizer": "adam", "task": "audio_pretraining", "normalize": False}
    w2v_args = argparse.Namespace(
        **{**inner["model"], **flat, "arch": "wav2vec2", "data": "/gone", "criterion": "wav2vec"}
    )
    args = {**cfg["model"], **flat, "arch": "wav2vec_ctc", "labels": labels, "criterion": "ctc"}
    old = argparse.Namespace(**{**args, "w2v_args": w2v_args})
    prefix = "w2v_encoder.w2v_model."
    network = {k[len(prefix) :]: v for k, v in state["model"].items() if k.startswith(prefix)}
    folder.mkdir(parents=True)
    for name, content in {
        "pretrained": {**state, "cfg": {**cfg, **inner}, "model": network, "task_state": {}},
        "finetuned": state,
        "no_dict": {**state, "task_state": {}},
        "args": {**state, "args": old, "cfg": None, "task_state": {}},
    }.items():
        torch.save(content, folder / f"{name}.pt", _use_new_zipfile_serialization=name != "args")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Labels → data with such labels, and checkpoints."""
    found = {}

    def make(labels):
        if labels not in found:
            folder = tmp_path_factory.mktemp(labels)
            data = write_data(folder / "data", labels, 26 if labels == "ltr" else 24)
            found[labels] = data, save_checkpoints(folder / "checkpoints", data, labels)
        return found[labels]

    return make


@pytest.fixture
def letters(made):
    """Data with letters and its checkpoints."""
    return made("ltr")


@pytest.fixture
def expected(letters, made):
    """What the fine-tuned model scores on it."""
    data, paths = letters
    return evaluate(paths["finetuned"], data, "test", **CPU)


def assert_same_as_infer(score, infer, rows):
    files = infer["files"]
    assert len(files["ref.word"]) == len(score.utterances) == rows
    assert score.rate == infer["wer"]
    assert (score.words.errors, score.words.length) == (infer["errors"], infer["length"])
    assert {u.row: u.hypothesis for u in score.utterances} == files["hypo.word"]
    assert {u.row: u.reference for u in score.utterances} == files["ref.word"]
    assert {u.row: u.hypothesis_units for u in score.utterances} == files["hypo.units"]
    assert {u.row: u.reference_units for u in score.utterances} == files["ref.units"]


def test_default_batches_are_those_of_infer_and_nothing_is_left_out(letters, expected, tmp_path):
    data, paths = letters
    infer = run_fairseq_infer(paths["finetuned"], data, "test", tmp_path)
    assert expected.metric == "WER"
    assert [u.row for u in expected.utterances] == list(range(26))
    heard = infer["files"]["hypo.units"]
    # 26 is no multiple of 8: this fairseq leaves the two shortest out (0.12.2 batches them apart).
    assert len(heard) == 24
    units = {u.row: u.hypothesis_units for u in expected.utterances if u.row in heard}
    assert units == heard and len(set(units.values())) > 10


@pytest.mark.legacy
def test_small_batches_equal_infer(letters, expected, tmp_path):
    data, paths = letters
    options = ("dataset.max_tokens=60000", "dataset.required_batch_size_multiple=1")
    infer = run_fairseq_infer(paths["finetuned"], data, "test", tmp_path, overrides=options)
    score = evaluate(paths["finetuned"], data, "test", max_tokens=60_000, device="cpu")
    assert_same_as_infer(score, infer, rows=26)
    # The batches matter: with others this model hears something else.
    assert [u.hypothesis for u in expected.utterances] != [u.hypothesis for u in score.utterances]


def test_what_a_training_validated_is_what_it_saved(finetuned, data):
    printed = read_run(finetuned.with_name("run.json")).valid_rate("dev-other")
    score = evaluate(finetuned, data, "dev-other", max_tokens=160_000, **CPU)
    assert round(score.rate, 3) == printed


@pytest.mark.parametrize(
    ("labels", "post_process", "metric"), [("phn", "none", "PER"), ("spm", "sentencepiece", "WER")]
)
def test_other_units_equal_infer(made, tmp_path, labels, post_process, metric):
    data, paths = made(labels)
    options = {"labels": labels, "post_process": post_process}
    infer = run_fairseq_infer(paths["finetuned"], data, "test", tmp_path, **options)
    score = evaluate(paths["finetuned"], data, "test", **CPU)
    assert score.metric == metric
    assert_same_as_infer(score, infer, rows=24)
    texts = [text for u in score.utterances for text in (u.reference, u.hypothesis)]
    assert any(" " in text for text in texts) and not any("\u2581" in text for text in texts)
    assert (score.characters is None) == (metric == "PER")


@pytest.mark.legacy
def test_other_forms_of_the_same_weights_score_the_same(letters, expected, tmp_path):
    """fairseq's older forms, and settings of its future."""
    data, paths = letters
    state = torch.load(paths["finetuned"], weights_only=False)
    future = {**state, "cfg": copy.deepcopy(state["cfg"])}
    future["cfg"]["model"]["from_the_future"] = 1
    future["cfg"]["model"]["w2v_args"]["model"]["from_the_future"] = [1]
    future["cfg"]["model"]["w2v_args"]["task"]["eval_wer_config"] = {"print_alignment": False}
    future["cfg"]["task"] = {
        "_name": "parp",
        "labels": "ltr",
        "normalize": False,
        "prune": {"a": 1},
    }
    del future["optimizer_history"], future["extra_state"]
    torch.save(future, tmp_path / "future.pt")
    for path in (paths["args"], paths["no_dict"], tmp_path / "future.pt"):
        assert evaluate(path, data, "test", **CPU).utterances == expected.utterances


def table_rows(out: str) -> list[list[str]]:
    """Cells of the rows of a table whose first column, of long paths, has lines of its own."""
    name, rows = "", []
    for line in out.splitlines()[1:]:
        if line.startswith("  "):
            rows.append([name, *line.split()])
        else:
            name = line
    return rows


@pytest.mark.parametrize("labels", ["ltr", "phn", "spm"])
def test_parp_transcribe_hears_the_same(labels, made, capfd):
    """Letters, phones and pieces, from each form of checkpoint that fairseq has used."""
    data, paths = made(labels)
    utterances = evaluate(paths["finetuned"], data, "test", batch_size=1, **CPU).utterances[:8]
    capfd.readouterr()
    for form in ("finetuned", "args", "no_dict"):
        subnetwork = open_subnetwork(paths[form])
        for utterance in utterances:
            recording = read_recording(data / "audio" / utterance.path)
            assert transcribe(subnetwork, recording).text == " ".join(utterance.hypothesis.split())
    assert len({utterance.hypothesis for utterance in utterances}) > 4
    assert capfd.readouterr().err == ""


def test_a_wrong_dictionary_never_scores_in_silence(letters, expected, tmp_path):
    """What is refused is in tests/unit/checkpoints/test_finetuned.py."""
    data, paths = letters
    other, exported = tmp_path / "other", tmp_path / "exported" / "model.pt"
    shutil.copytree(data, other)
    write_lines(other / "dict.ltr.txt", [f"{symbol} 1" for symbol in SYMBOLS["ltr"][::-1]])
    state = torch.load(paths["finetuned"], weights_only=False)
    dictionary = state["task_state"]["target_dictionary"]
    symbols = {"symbols": dictionary.symbols[4:], "counts": dictionary.count[4:]}
    torch.save({**state, "task_state": {"parp_symbols": symbols}}, tmp_path / "parp.pt")
    export_fairseq(paths["finetuned"], exported)
    for checkpoint in (tmp_path / "parp.pt", exported):
        assert evaluate(checkpoint, other, "test", **CPU).utterances == expected.utterances
    (exported.parent / "dict.ltr.txt").unlink()
    with pytest.raises(UserError, match=r"other/dict\.ltr\.txt is not the dictionary that .*model"):
        evaluate(exported, other, "test", **CPU)
    # Nothing in the file says which dictionary is right, and the data's is the only one.
    wrong = evaluate(paths["no_dict"], other, "test", **CPU)
    assert wrong.utterances != expected.utterances


@pytest.fixture(scope="module")
def several(made, tmp_path_factory):
    """Two splits, and two checkpoints that hear different things: (data, checkpoints)."""
    data, paths = made("ltr")
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(data, folder / "data")
    rows = (data / "test.tsv").read_text(encoding="utf-8").splitlines()
    labels = (data / "test.ltr").read_text(encoding="utf-8").splitlines()
    write_lines(folder / "data" / "dev.tsv", [rows[0], *rows[5:12]])
    # The last utterance has no word: what is heard there is inserted.
    write_lines(folder / "data" / "dev.ltr", [*labels[5:11], "|"])
    state = torch.load(paths["finetuned"], weights_only=False)
    state["model"]["w2v_encoder.proj.bias"] += torch.linspace(-3, 3, 32)
    checkpoints = [folder / name / "best.pt" for name in ("one", "two")]
    for checkpoint in checkpoints:
        checkpoint.parent.mkdir()
    shutil.copy(paths["finetuned"], checkpoints[0])
    torch.save(state, checkpoints[1])
    return folder / "data", checkpoints


@pytest.fixture
def parp_eval(parp):
    """Run `parp eval`; returns exit code, standard output and standard error."""
    return lambda *arguments: parp("eval", *arguments, "--device", "cpu", "--workers", "0")


@pytest.mark.legacy
def test_many_checkpoints_and_splits_in_one_call(several, parp_eval, monkeypatch, tmp_path):
    data, checkpoints = several
    alone = [
        evaluate(path, data, split, **CPU) for path in checkpoints for split in ("test", "dev")
    ]
    assert alone[0].utterances != alone[2].utterances
    built, build = [], decode.build_model
    monkeypatch.setattr(decode, "build_model", lambda *a, **k: built.append(1) or build(*a, **k))
    files = ("--json", tmp_path / "s.json", "--transcripts", tmp_path / "heard")
    code, out, err = parp_eval(*checkpoints, "--data", data, "--split", "test,dev", *files)
    assert (code, err, len(built)) == (0, "", 2)
    assert json.loads((tmp_path / "s.json").read_text()) == [score.to_json() for score in alone]
    scored = table_rows(out.split("\n\n")[0])
    assert [(row[0], row[1], row[3]) for row in scored] == [
        (score.checkpoint, score.split, f"{score.rate:.2f}") for score in alone
    ]
    heard = tmp_path / "heard" / "two" / "best.pt" / "dev.tsv"
    lines = heard.read_text(encoding="utf-8").splitlines()[1:]
    texts = [" ".join(u.hypothesis.split()) for u in alone[3].utterances]
    assert [line.split("\t")[2] for line in lines] == texts
    assert alone[3].utterances[-1].reference == ""
    assert alone[3].utterances[-1].words.insertions > 0
    assert len(list((tmp_path / "heard").rglob("*.tsv"))) == 4

    code, out, err = parp_eval(checkpoints[0], "--data", data, "--split", "dev", "--json", "-")
    assert (code, json.loads(out)) == (0, [alone[1].to_json()])


@pytest.mark.legacy
def test_theta_scores_as_a_checkpoint_that_holds_it(several, parp_eval, tmp_path):
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
    expected = evaluate(tmp_path / "theta.pt", data, "dev", **CPU)
    found = evaluate(tmp_path / "run.pt", data, "dev", weights="theta", **CPU)
    other = evaluate(tmp_path / "run.pt", data, "dev", **CPU)
    assert found.utterances == expected.utterances != other.utterances
    assert (found.weights, other.weights) == ("theta", "subnetwork")
    assert found.zeros == 0.0 and other.zeros == pytest.approx(0.9, abs=1e-4)
    arguments = (tmp_path / "run.pt", "--data", data, "--split", "dev", "--weights", "theta")
    code, out, err = parp_eval(*arguments, "--json", tmp_path / "s.json")
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "s.json").read_text()) == [found.to_json()]
    assert table_rows(out)[0][-2:] == ["theta", "0.00"]


def test_nested_subnetworks_are_scored_one_by_one(several, parp_eval, tmp_path):
    data, (checkpoint, _) = several
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["prune"] = {"method": "nested", "sparsity": 0.5, "sparsities": [0.7, 0.9]}
    nested = tmp_path / "nested.pt"
    torch.save({**state, "model": dict(open_finetuned(checkpoint, sparsity=0.5).weights)}, nested)
    curve = list(decode.evaluate_all([nested], data, ["dev", "test"], **CPU))
    assert [(s.sparsity, s.split) for s in curve] == [
        (level, split) for level in (None, 0.7, 0.9) for split in ("dev", "test")
    ]
    assert evaluate(nested, data, "dev", **CPU).utterances == curve[0].utterances
    for number, level in enumerate((0.5, 0.7, 0.9)):
        (one,) = decode.evaluate_all([nested], data, ["dev"], sparsity=level, **CPU)
        assert one.utterances == curve[2 * number].utterances
    # A cut of it holds what is sparser still.
    export_fairseq(nested, tmp_path / "stock.pt", sparsity=0.7)
    cut = {**state, "model": dict(open_finetuned(nested, sparsity=0.7).weights)}
    torch.save(cut, tmp_path / "cut.pt")
    assert open_finetuned(tmp_path / "cut.pt").sparser == (0.9,)
    assert open_finetuned(tmp_path / "stock.pt").sparser == ()
    heard = tmp_path / "heard"
    arguments = (nested, "--data", data, "--split", "dev", "--transcripts", heard)
    code, out, _ = parp_eval(*arguments)
    assert code == 0 and str(nested) in out
    assert [f.name for f in heard.rglob("*.tsv")] == ["dev.tsv"]
    export_sparse(nested, tmp_path / "file", values="fp16")
    arguments = (tmp_path / "file", "--data", data, "--split", "dev,test")
    code, out, _ = parp_eval(*arguments, "--png", tmp_path / "curve.png")
    header, *levels = out.split("\n\n")[1].splitlines()[:4]
    assert code == 0 and header.split()[-4:] == ["WER", "dev", "WER", "test"]
    assert [level.split()[0] for level in levels] == ["50.0", "70.0", "90.0"]
    assert [float(level.split()[3]) for level in levels] == pytest.approx(
        [round(score.words.rate, 2) for score in curve if score.split == "dev"], abs=3
    )
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    for wrong in ("--sparsity", "0.7"), ():
        code, _, err = parp_eval(checkpoint, *arguments[1:], *wrong, "--png", tmp_path / "c.png")
        assert code == 2 and "--png" in err and not (tmp_path / "c.png").exists()
    # Before anything is decoded.
    assert not parp_eval(checkpoint, *arguments[1:], "--png", tmp_path / "c.png")[1]


@pytest.mark.legacy
def test_an_interrupted_evaluation(several, parp_eval, monkeypatch, tmp_path):
    data, checkpoints = several
    transcribe, calls = decode.transcribe, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return transcribe(*arguments)

    monkeypatch.setattr(decode, "transcribe", interrupted)
    arguments = (*checkpoints, "--data", data, "--split", "dev,test")
    files = ("--json", tmp_path / "s.json", "--transcripts", tmp_path / "heard")
    code, out, err = parp_eval(*arguments, *files)
    assert code == 130
    assert err.splitlines() == ["parp: interrupted; scores that were done: 1; no JSON is written"]
    assert [row[:2] for row in table_rows(out)] == [[str(checkpoints[0]), "dev"]]
    assert [f.relative_to(tmp_path) for f in tmp_path.rglob("*") if f.is_file()] == [
        Path("heard/one/best.pt/dev.tsv")
    ]


def test_a_checkpoint_that_cannot_be_built_leaves_the_scores_before_it(
    several, parp_eval, tmp_path
):
    data, checkpoints = several
    state = torch.load(checkpoints[0], weights_only=False)
    del state["model"]["w2v_encoder.w2v_model.encoder.layers.1.fc2.weight"]
    torch.save(state, tmp_path / "short.pt")
    arguments = (checkpoints[0], tmp_path / "short.pt", "--data", data, "--split", "dev")
    code, out, err = parp_eval(*arguments, "--json", tmp_path / "s.json")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "short.pt: fairseq cannot build its model" in err and "fc2.weight" in err
    assert [row[0] for row in table_rows(out)] == [str(checkpoints[0])]
    assert not (tmp_path / "s.json").exists()
