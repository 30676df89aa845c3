"""Every method, trained by fairseq on speech, counted in what it leaves on disk."""

import json
import re
import shlex

import pytest
import torch
import yaml
from running import NO_CHANCE, entries, zeros

from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.checkpoints.mask_files import load_mask, save_mask
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.config import shipped as configs
from parp_fairseq.pruning import Mask, iou, magnitude_mask, random_mask

PRETRAINED = {
    name: tensor.float()
    for name, tensor in load_checkpoint(TINY_MODEL)["model"].items()
    if ".layers." in name and name.endswith("weight") and ("proj" in name or ".fc" in name)
}


def short(tensors):
    """Tensors under their pre-trained names."""
    return {name.split("w2v_model.")[1]: tensor for name, tensor in tensors.items()}


def check_what_is_left(run, sparsity, method):
    """The checkpoint, the mask, the report and the record agree."""
    weights = run.prunable()
    pruned = round(sparsity * entries(weights))
    assert zeros(weights) == pruned
    others = {n: t for n, t in run.weights().items() if n not in weights}
    assert zeros(others) < entries(others) / 4
    mask, info = load_mask(run.folder / "checkpoints" / "mask.safetensors")
    assert info["method"] == method
    assert mask.numel - mask.kept == pruned
    for name, tensor in short(weights).items():
        assert bool((tensor[~mask[name]] == 0).all())
    report = json.loads((run.folder / "checkpoints" / "sparsity.json").read_text())
    assert report["pruned"] == pruned
    assert sum(counts["pruned"] for counts in report["tensors"].values()) == pruned
    first, _ = load_mask(run.folder / "checkpoints" / "mask_first.safetensors")
    logged = float(run.meters("train_inner")[-1]["mask_iou"])
    assert logged == pytest.approx(iou(first, mask), abs=1e-6)
    return mask, first


@pytest.mark.legacy
def test_parp(train, parp, monkeypatch):
    run = train("task.prune.sparsity=0.7", "task.prune.interval=2", "optimization.lr=[0.05]")
    assert run.code == 0, run.tail
    mask, first = check_what_is_left(run, 0.7, "parp")
    assert first.equal(magnitude_mask(PRETRAINED, 0.7))
    assert 0 < iou(first, mask) < 1
    meters = run.meters("train_inner")
    assert [float(row["sparsity"]) for row in meters] == [0.7] * 6
    ours = {"sparsity", "mask_iou", "revived", "threshold", "reach"}
    assert ours <= set(meters[-1])
    record = json.loads((run.folder / "checkpoints" / "run.json").read_text())
    assert record["config"]["task"]["prune"]["sparsity"] == 0.7
    assert record["versions"]["torch"] == torch.__version__
    (events,) = (run.folder / "tensorboard" / "train_inner").iterdir()
    assert all(name.encode() in events.read_bytes() for name in ours)
    # The last lines are where the model is and a command that works as it stands.
    model, command = run.output.splitlines()[-2:]
    best = "run/checkpoints/checkpoint_best.pt"
    assert re.fullmatch(
        rf"the trained model: {best} \(update 6, wer [\d.]+ in validation \(dev-other\)\)", model
    )
    words = shlex.split(command.removeprefix("to score it: parp "))
    monkeypatch.chdir(train.folder)
    assert parp(*words)[0] == 0
    # The whole config and the model are in the log file only.
    log = (run.folder / "hydra_train.log").read_text()
    for dump in ("'distributed_training': {", "(feature_extractor)"):
        assert dump in log and dump not in run.output


def test_parp_p_ramps_up_and_its_best_is_at_the_target(train):
    run = train(
        "task.prune.method=parp_p",
        "task.prune.sparsity=0.8",
        "task.prune.initial_sparsity=0.2",
        "task.prune.interval=1",
        "task.prune.rise=0.7",
        "dataset.validate_interval_updates=1",
        "checkpoint.save_interval_updates=1",
        "optimization.max_update=5",
    )
    assert run.code == 0, run.tail
    _, first = check_what_is_left(run, 0.8, "parp_p")
    assert first.sparsity == pytest.approx(0.2, abs=1e-5)
    ramped = [float(row["sparsity"]) for row in run.meters("train_inner")]
    assert ramped == pytest.approx([0.35, 0.5, 0.65, 0.8, 0.8])
    # The first validations score best here (nothing is learnt); none of them may count.
    best = run.prunable("checkpoint_best.pt")
    assert zeros(best) == round(0.8 * entries(best))
    scored = run.meters("dev-other")
    assert [float(row["dev-other_sparsity"]) for row in scored] == ramped
    assert ["dev-other_best_wer" in row for row in scored[:4]] == [False] * 4


def test_gmp_ramps_up_and_what_it_pruned_stays_zero(train):
    run = train(
        "task.prune.method=gmp",
        "task.prune.sparsity=0.8",
        "task.prune.initial_sparsity=0.2",
        "task.prune.interval=2",
        "task.prune.rise=0.7",
        "dataset.validate_interval_updates=1",
        "checkpoint.save_interval_updates=1",
        "checkpoint.keep_interval_updates=-1",
        # Each update takes all there is, and ends an epoch.
        "optimization.update_freq=[1000]",
        "optimization.max_update=6",
        "optimization.lr=[0.01]",
    )
    assert run.code == 0, run.tail
    check_what_is_left(run, 0.8, "gmp")
    ramped = [float(row["sparsity"]) for row in run.meters("train_inner")]
    at = [0.8 - 0.6 * (1 - update / 4) ** 3 for update in (0, 2)]
    assert ramped == pytest.approx([at[0], at[1], at[1], 0.8, 0.8, 0.8])
    assert {float(row["revived"]) for row in run.meters("train_inner")} == {0.0}
    # Of every update, though each ends an epoch: fairseq leaves these out.
    names = sorted((run.folder / "checkpoints").glob("checkpoint_*_*.pt"))
    saved = [load_checkpoint(path)["optimizer_history"][-1]["num_updates"] for path in names]
    assert saved == [int(path.stem.split("_")[2]) for path in names] == [1, 2, 3, 4, 5, 6]
    steps = [run.prunable(path.name) for path in names]
    for one, later in zip(steps, steps[1:]):
        assert all(bool((later[name][one[name] == 0] == 0).all()) for name in one)


def drawn(seed):
    named = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in PRETRAINED.items()}
    return Mask(short(random_mask(named, 0.5, seed)))


def given():
    return random_mask(PRETRAINED, 0.5, seed=9)


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("mpi", (), lambda: magnitude_mask(PRETRAINED, 0.5)),
        ("rp", ("task.prune.seed=5",), lambda: drawn(5)),
        # Independent of the pre-trained weights, so it shares about a third with their mask.
        ("rp", ("task.prune.initial=random_init",), None),
        ("mask", ("task.prune.mask=given.safetensors", "task.prune.interval=2"), given),
    ],
    ids=["mpi", "rp", "rp-random_init", "mask"],
)
def test_static_masks(train, tmp_path, method, options, expected):
    save_mask(given(), tmp_path / "given.safetensors")
    run = train(
        *(f"task.prune.method={method}", *options, "task.prune.sparsity=0.5"),
        *("optimization.lr=[0.003]", "optimization.max_update=3"),
    )
    assert run.code == 0, run.tail
    mask, initial = check_what_is_left(run, 0.5, method)
    assert mask.equal(initial)
    if expected is None:
        assert iou(mask, magnitude_mask(PRETRAINED, 0.5)) < 0.5
    else:
        assert mask.equal(expected())


def test_omp_takes_the_finetuned_models_mask_to_the_pretrained_weights(train, trainer_in, tmp_path):
    dense = trainer_in(tmp_path / "dense")
    dense.folder.mkdir()
    tuned = dense("task.prune.method=dense", "optimization.lr=[0.003]", *NO_CHANCE)
    assert tuned.code == 0, tuned.tail
    run = train(
        "task.prune.method=omp",
        "task.prune.sparsity=0.6",
        "task.prune.mask=dense/run/checkpoints/checkpoint_last.pt",
        "optimization.max_update=2",
        "optimization.lr=[0]",
    )
    assert run.code == 0, run.tail
    mask, _ = check_what_is_left(run, 0.6, "omp")
    assert mask.equal(magnitude_mask(short(tuned.prunable()), 0.6))
    assert not mask.equal(magnitude_mask(PRETRAINED, 0.6))
    for name, tensor in short(run.prunable()).items():
        assert torch.equal(tensor, PRETRAINED[name] * mask[name])


def test_epochs_biases_and_patterns(train):
    run = train(
        "task.prune.interval=1",
        "task.prune.interval_unit=epoch",
        "task.prune.include=[encoder.layers.*.fc1]",
        "task.prune.exclude=[encoder.layers.0.*]",
        "task.prune.biases=true",
        "task.prune.granularity=tensor",
        "task.prune.sparsity=0.5",
        "optimization.max_update=0",
        "optimization.max_epoch=2",
        "checkpoint.save_interval=1",
        "lr_scheduler._name=fixed",
        "~lr_scheduler.phase_ratio",
        "~lr_scheduler.final_lr_scale",
    )
    assert run.code == 0, run.tail
    weights = run.weights()
    for name, tensor in weights.items():
        chosen = ".fc1." in name and ".layers.0." not in name
        if chosen:
            assert zeros({name: tensor}) == round(0.5 * tensor.numel()), name
        elif ".fc" in name and name.endswith("weight"):
            assert zeros({name: tensor}) == 0, name


@pytest.mark.legacy
def test_dense_is_fairseqs_own_finetuning_bit_by_bit(train, trainer_in, tmp_path):
    dense = train("task.prune.method=dense", *NO_CHANCE)
    assert dense.code == 0, dense.tail
    other = trainer_in(tmp_path / "stock")
    other.folder.mkdir()
    config = yaml.safe_load(configs.path_of("parp_demo").read_text())
    config["task"] = {**config["task"], "_name": "audio_finetuning"}
    for key in ("prune", "folder", "keep_update", "resume_with_changes"):
        del config["task"][key]
    del config["hydra"]
    config["criterion"]["_name"] = "ctc"
    config["optimizer"] = config["optimizer"]["base"]
    config["model"]["w2v_path"] = str(TINY_MODEL)
    text = "# @package _global_\n" + yaml.safe_dump(config)
    (other.folder / "stock.yaml").write_text(text)
    stock = other(config="stock", config_dir=("--config-dir", str(other.folder)), *NO_CHANCE)  # noqa: B026
    assert stock.code == 0, stock.tail
    ours = dense.weights()
    # Stock checkpoints hold fairseq's Dictionary, which plain torch does not open.
    theirs = load_checkpoint(stock.folder / "checkpoints" / "checkpoint_last.pt")["model"]
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert not torch.equal(
        ours["w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"],
        PRETRAINED["encoder.layers.0.fc1.weight"],
    )
