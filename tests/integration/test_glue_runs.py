"""Runs on GLUE with small models: what they leave, and that none is made twice for nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from small_glue import bert_folder, glue_folder, xlnet_folder

pytest.importorskip("transformers")

from parp_fairseq.errors import UserError
from parp_fairseq.glue import training
from parp_fairseq.glue.runs import GlueRuns
from parp_fairseq.glue.settings import Settings
from parp_fairseq.glue.specs import PruningOptions, Source, spec_of
from parp_fairseq.glue.tasks import TASKS
from parp_fairseq.masks.files import load_mask

SETTINGS = Settings(learning_rate=3e-3, batch=8, micro_batch=4, epochs=2)
COLA, RTE, STSB = (TASKS[name] for name in ("cola", "rte", "sts-b"))
# 2 layers: query, key, value, output, intermediate, output; and the pooler.
BERT_PRUNABLE = 2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("glue")
    glue_folder(root / "data")
    bert_folder(root / "bert")
    xlnet_folder(root / "xlnet")
    return root


def runs_in(world, out, model="bert", settings=SETTINGS):
    return GlueRuns(out, world / model, world / "data", settings)


def saved(runs, spec):
    return load_file(str(runs.store.folder(spec) / "model" / "model.safetensors"))


def pruned(tensors):
    """What BERT-Ticket prunes, by another road than the program's: all matrices inside."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and "embeddings" not in name and not name.startswith("classifier")
    }


@pytest.mark.parametrize("method", ["parp", "mpi", "rp", "parp_p", "gmp"])
def test_saved_weights_are_as_sparse_as_asked(world, tmp_path, method):
    runs = runs_in(world, tmp_path, settings=replace(SETTINGS, limit_train=16, epochs=1))
    spec = spec_of(COLA, method, 0.7, 1, options=PruningOptions(interval_unit="update"))
    result = runs.run(spec)
    matrices = pruned(saved(runs, spec))
    zeros = sum(int((tensor == 0).sum()) for tensor in matrices.values())
    assert sum(tensor.numel() for tensor in matrices.values()) == BERT_PRUNABLE
    assert zeros == round(0.7 * BERT_PRUNABLE)
    assert result["counted"] == {
        "entries": BERT_PRUNABLE,
        "zeros": zeros,
        "sparsity": zeros / BERT_PRUNABLE,
        "emptied": [],
    }
    mask, info = load_mask(runs.store.folder(spec) / "mask.safetensors")
    assert info["method"] == method
    for name, kept in mask.items():
        assert torch.equal(kept, matrices[name] != 0), name


def outputs_of(folder, pairs):
    """What plain transformers gives, a pair at a time, without padding."""
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return torch.cat([model(**tokenizer(*p, return_tensors="pt")).logits for p in pairs])


@pytest.mark.parametrize(("task", "method"), [(RTE, "dense"), (STSB, "parp")])
def test_scores_are_those_of_the_model_that_is_saved(world, tmp_path, task, method):
    runs = runs_in(world, tmp_path)
    spec = spec_of(task, method, 0.3, 1)
    result = runs.run(spec)
    rows = [line.split("\t") for line in (world / f"data/{task.title}/dev.tsv").open()][1:]
    found = outputs_of(runs.store.folder(spec) / "model", [row[1:3] for row in rows])
    labels = [row[3].strip() for row in rows]
    if task is RTE:
        classes = ["entailment", "not_entailment"]
        right = [classes[n] == label for n, label in zip(found.argmax(1).tolist(), labels)]
        expected = [100 * sum(right) / len(right)]
    else:
        truth = [float(label) for label in labels]
        guess = found[:, 0].tolist()
        expected = [100 * f(truth, guess)[0] for f in (stats.pearsonr, stats.spearmanr)]
    scores = result["scores"]["dev"]
    assert [score["value"] for score in scores] == pytest.approx(expected, abs=0.05)
    assert all(score["low"] <= score["value"] <= score["high"] for score in scores)
    assert result["examples"] == {"train": 40, "dev": 24} and result["updates"] == 10
    if method == "dense":
        assert result["counted"]["zeros"] == 0
        assert not (runs.store.folder(spec) / "mask.safetensors").exists()


def test_xlnet_whose_matrices_have_three_dimensions(world, tmp_path):
    runs = runs_in(world, tmp_path, "xlnet", replace(SETTINGS, epochs=1, limit_train=16))
    spec = spec_of(RTE, "parp", 0.7, 1)
    runs.run(spec)
    inside = {n: t for n, t in saved(runs, spec).items() if ".layer." in n and t.ndim > 1}
    chosen = [
        t
        for n, t in inside.items()
        if n.rsplit(".", 1)[1] in "qkvor" or (".ff.layer_" in n and n.endswith("weight"))
    ]
    assert {t.ndim for t in chosen} == {2, 3}
    entries = 2 * (5 * 32 * 32 + 2 * 32 * 64)
    assert sum(t.numel() for t in chosen) == entries
    assert sum(int((t == 0).sum()) for t in chosen) == round(0.7 * entries)


class Said(list):
    """A progress that remembers."""

    say = list.append

    def show(self, *_):
        pass


def test_a_matrix_that_is_pruned_whole_is_told(world, tmp_path):
    folder = tmp_path / "flat"
    bert_folder(folder)
    weights = load_file(str(folder / "model.safetensors"))
    weights["pooler.dense.weight"] *= 1e-3
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    settings = replace(SETTINGS, epochs=1, limit_train=16, learning_rate=1e-5)
    runs = GlueRuns(tmp_path / "out", folder, world / "data", settings, progress=Said())
    name = "bert.pooler.dense.weight"
    assert runs.run(spec_of(COLA, "mpi", 0.5, 1))["counted"]["emptied"] == [name]
    assert f"all of {name} is pruned" in runs.progress[-1]
    without = PruningOptions(exclude=("pooler.dense.weight",))
    result = runs.run(spec_of(RTE, "mpi", 0.5, 1, options=without))
    assert result["counted"]["entries"] == BERT_PRUNABLE - 32 * 32
    assert result["counted"]["emptied"] == [] and "warning" not in runs.progress[-1]


def stop_after(monkeypatch, updates):
    """Let every training end like a killed one after so many of its own updates."""
    real = training._Course.on_step_end
    count = {"updates": 0}

    def on_step_end(self, args, state, control, **kwargs):
        count["updates"] += 1
        if count["updates"] > updates:
            raise KeyboardInterrupt
        real(self, args, state, control, **kwargs)

    monkeypatch.setattr(training._Course, "on_step_end", on_step_end)


@pytest.mark.parametrize("method", ["parp", "dense", "parp_p"])
def test_killed_and_started_again_it_ends_with_the_same_weights(
    world, tmp_path, monkeypatch, method
):
    spec = spec_of(COLA, method, 0.6, 1, options=PruningOptions(2, "update"))
    whole = runs_in(world, tmp_path / "whole")
    whole.run(spec)
    cut = runs_in(world, tmp_path / "cut")
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            cut.run(spec)
    folder = cut.store.folder(spec)
    assert not (folder / "result.json").exists()
    assert training.last_whole(folder).name == "checkpoint-5"
    # A checkpoint that was not written to its end, as a kill leaves it, does not count.
    (folder / "checkpoint-7").mkdir()
    seen = []
    monkeypatch.setattr(
        GlueRuns, "_teller", lambda self, spec: lambda update, updates: seen.append(update)
    )
    result = runs_in(world, tmp_path / "cut").run(spec)
    assert seen == [6, 7, 8, 9, 10] and result["updates"] == 10
    ours, theirs = saved(cut, spec), saved(whole, spec)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert not list(folder.glob("checkpoint-*"))


def no_training(*_, **__):
    raise AssertionError("trained again")


def test_a_finished_run_is_not_made_again_and_another_experiment_is_refused(
    world, tmp_path, monkeypatch
):
    spec = spec_of(COLA, "parp", 0.5, 1)
    result = runs_in(world, tmp_path).run(spec)
    monkeypatch.setattr(training, "train", no_training)
    assert runs_in(world, tmp_path).run(spec) == json.loads(json.dumps(result))
    with pytest.raises(UserError, match=r"learning_rate was 0\.003 and is now 0\.1.*--out"):
        runs_in(world, tmp_path, settings=replace(SETTINGS, learning_rate=0.1))
    other = spec_of(COLA, "parp", 0.5, 1, options=PruningOptions(interval=2))
    with pytest.raises(UserError, match="interval was 1 and is now 2"):
        runs_in(world, tmp_path).check([other])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        runs_in(world, tmp_path / "mine")


def test_a_run_that_kept_no_weights_is_made_again_for_a_mask_alone(world, tmp_path, monkeypatch):
    runs = runs_in(world, tmp_path, settings=replace(SETTINGS, epochs=1, limit_train=16))
    dense, source = spec_of(COLA, "dense", 0.0, 1), Source("cola", "omp")
    result = json.loads(json.dumps(runs.run(dense, keep_model=False)))
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", no_training)
        for keep in (True, False):
            assert runs.run(dense, keep_model=keep) == result
    file = runs.mask(source, 0.7, 1, dense)
    assert (runs.store.folder(dense) / "model" / "model.safetensors").is_file()
    shutil.rmtree(runs.store.folder(dense) / "model")
    monkeypatch.setattr(training, "train", no_training)
    assert runs.mask(source, 0.7, 1, dense) == file
    assert runs.run(dense)["scores"] == result["scores"]


def test_parts_of_a_batch_give_the_gradient_of_the_whole(world, tmp_path):
    """21 examples in batches of 8: the last batch is short, and so is its last part."""
    calm = tmp_path / "calm"
    bert_folder(calm, dropout=0.0)
    tensors = []
    for part in (8, 4, 2):
        settings = replace(SETTINGS, limit_train=21, micro_batch=part, learning_rate=1e-4)
        runs = GlueRuns(tmp_path / str(part), calm, world / "data", settings)
        spec = spec_of(STSB, "dense", 0.0, 1)
        assert runs.run(spec)["updates"] == 6
        tensors.append(saved(runs, spec))
    for other in tensors[1:]:
        for name, tensor in tensors[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=2e-5)


def test_omp_prunes_the_smallest_of_the_dense_model(world, tmp_path):
    runs = runs_in(world, tmp_path, settings=replace(SETTINGS, epochs=1))
    spec = spec_of(COLA, "omp", 0.7, 1)
    runs.run(spec)
    assert runs.store.folder(spec).parent.name == "omp_0.7"
    dense = pruned(saved(runs, spec_of(COLA, "dense", 0.0, 1)))
    mask, _ = load_mask(runs.store.mask(Source("cola", "omp"), 0.7, 1))
    flat = torch.cat([dense[name].abs().reshape(-1) for name in sorted(dense)])
    kept = torch.cat([mask[name].reshape(-1) for name in sorted(dense)])
    assert flat[kept].min() >= flat[~kept].max()
    ours = pruned(saved(runs, spec))
    assert all(torch.equal(ours[name] != 0, mask[name]) for name in ours)


def test_imp_prunes_in_rounds_of_a_tenth_each_within_the_last(world, tmp_path):
    runs = runs_in(world, tmp_path, settings=replace(SETTINGS, epochs=1, limit_train=16))
    spec = spec_of(COLA, "imp", 0.3, 1)
    runs.run(spec)
    source = Source("cola", "imp")
    masks = [load_mask(runs.store.mask(source, s, 1))[0] for s in (0.1, 0.2, 0.3)]
    assert [round(mask.sparsity, 3) for mask in masks] == [0.1, 0.2, 0.3]
    for before, after in zip(masks, masks[1:]):
        for name in before:
            assert not (after[name] & ~before[name]).any(), name
    folders = sorted(path.name for path in (tmp_path / "cola").iterdir())
    assert folders == ["dense", "imp_0.1", "imp_0.2", "imp_0.3"]
    # What only led to a mask keeps no weights.
    assert not (tmp_path / "cola" / "imp_0.2" / "seed1" / "model").exists()


def test_a_mask_file_is_held_and_one_of_another_model_refused(world, tmp_path):
    runs = runs_in(world, tmp_path / "out", settings=replace(SETTINGS, epochs=1, limit_train=16))
    first = spec_of(COLA, "mpi", 0.5, 1)
    runs.run(first, keep_model=False)
    file = runs.store.folder(first) / "mask.safetensors"
    spec = spec_of(RTE, "mask", 0.5, 1, mask=file)
    runs.check([spec])
    runs.run(spec)
    mask, _ = load_mask(file)
    assert all(torch.equal(t != 0, mask[n]) for n, t in pruned(saved(runs, spec)).items())
    with pytest.raises(UserError, match=r"has sparsity 0\.5000 and the run begins at 0\.7"):
        runs.check([spec_of(RTE, "mask", 0.7, 1, mask=file)])
    bert_folder(tmp_path / "small", width=16)
    other = GlueRuns(tmp_path / "out2", tmp_path / "small", world / "data", SETTINGS)
    with pytest.raises(UserError, match=r"mask\.safetensors.*(has no mask for|shape)"):
        other.check([spec])


def test_mixed_precision_computes_in_bfloat16_and_keeps_fp32_weights(world, tmp_path):
    settings = replace(SETTINGS, epochs=1, limit_train=16, precision="bf16")
    runs = runs_in(world, tmp_path, settings=settings)
    seen = set()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: (
            seen.add(output.dtype) if isinstance(module, torch.nn.Linear) else None
        )
    )
    try:
        spec = spec_of(COLA, "parp", 0.5, 1)
        found = runs.run(spec)
    finally:
        hook.remove()
    assert seen == {torch.bfloat16}
    tensors = saved(runs, spec)
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {
        torch.float32
    }
    zeros = sum(int((tensor == 0).sum()) for tensor in pruned(tensors).values())
    assert zeros == found["counted"]["zeros"] == round(found["counted"]["entries"] / 2)
    with pytest.raises(UserError, match="precision"):
        runs_in(world, tmp_path)
