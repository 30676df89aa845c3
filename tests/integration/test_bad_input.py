"""What a user can get wrong ends in one clear line, before training, with exit code 2."""

import argparse
import pickle
import shutil

import pytest
import torch

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.checkpoints.shipped import TINY_MODEL
from parp_fairseq.pruning import Mask

pytestmark = pytest.mark.legacy


def keep(**names):
    return Mask({name: torch.ones(shape, dtype=torch.bool) for name, shape in names.items()})


def tiny_state():
    return torch.load(TINY_MODEL, weights_only=True)


def truncated(folder):
    (folder / "cut.pt").write_bytes(TINY_MODEL.read_bytes()[:-5000])
    return ["model.w2v_path=cut.pt"], ["cut.pt"]


def no_checkpoint(folder):
    (folder / "text.pt").write_text("this is no checkpoint")
    return ["model.w2v_path=text.pt"], ["text.pt"]


class Hostile:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def hostile(folder):
    torch.save({"model": {}, "args": argparse.Namespace(), "x": Hostile()}, folder / "bad.pt")
    return ["model.w2v_path=bad.pt"], ["bad.pt"]


def hostile_old(folder):
    with open(folder / "bad.pt", "wb") as stream:
        pickle.dump(Hostile(), stream)
    return ["model.w2v_path=bad.pt"], ["bad.pt"]


def finetuned(folder):
    state = tiny_state()
    state["model"] = {f"w2v_encoder.w2v_model.{k}": v for k, v in state["model"].items()}
    torch.save(state, folder / "tuned.pt")
    return ["model.w2v_path=tuned.pt"], ["tuned.pt", "fine-tuned", "finetune_from_model"]


def other_mask(folder):
    save_mask(keep(**{"encoder.layers.0.fc1.weight": (4, 4)}), folder / "m.safetensors")
    return ["task.prune.method=mask", "task.prune.mask=m.safetensors"], ["m.safetensors", "no mask"]


def misshapen_mask(folder):
    names = [n for n in tiny_state()["model"] if ".layers." in n and n.endswith("weight")]
    shapes = {n: (4, 4) for n in names if "proj" in n or ".fc" in n}
    save_mask(keep(**shapes), folder / "m.safetensors")
    return ["task.prune.initial=m.safetensors"], ["m.safetensors", "as (4, 4)"]


def data_with(folder, data, change):
    copy = folder / "data"
    shutil.copytree(data, copy)
    change(copy)
    return [f"task.data={copy}"]


def short_labels(folder, data):
    def change(copy):
        lines = (copy / "train.ltr").read_text().splitlines(keepends=True)
        (copy / "train.ltr").write_text("".join(lines[:-2]))

    return data_with(folder, data, change), ["train.ltr", "30", "32"]


def unknown_character(folder, data):
    def change(copy):
        lines = (copy / "dev-other.ltr").read_text().splitlines(keepends=True)
        lines[4] = "É " + lines[4]
        (copy / "dev-other.ltr").write_text("".join(lines))

    return data_with(folder, data, change), ["dev-other.ltr", "row 5", "É"]


def no_dictionary(folder, data):
    return data_with(folder, data, lambda copy: (copy / "dict.ltr.txt").unlink()), ["dict.ltr.txt"]


def missing_audio(folder, data):
    def change(copy):
        lines = (copy / "train.tsv").read_text().splitlines(keepends=True)
        lines[3] = lines[3].replace(".flac", ".gone.flac")
        (copy / "train.tsv").write_text("".join(lines))

    return data_with(folder, data, change), ["train.tsv", "row 4", ".gone.flac"]


def label_too_long(folder, data):
    def change(copy):
        lines = (copy / "train.ltr").read_text().splitlines(keepends=True)
        lines[6] = "E " * 500 + lines[6]
        (copy / "train.ltr").write_text("".join(lines))

    return data_with(folder, data, change), ["train.ltr", "row 7 needs", "CTC cannot align"]


PLAIN = {
    "no data": (["task.data="], ["task.data is missing"]),
    "no such data": (["task.data=nowhere"], ["nowhere"]),
    "no such split": (["dataset.valid_subset=dev-none"], ["dev-none"]),
    "no model": (["model.w2v_path="], ["model.w2v_path is missing"]),
    "no such model": (["model.w2v_path=none.pt"], ["none.pt"]),
    "normalize": (["task.normalize=true"], ["task.normalize=false"]),
    "sparsity above 1": (["task.prune.sparsity=90"], ["task.prune.sparsity is 90", "0.9"]),
    "sparsity below 0": (["task.prune.sparsity=-0.1"], ["task.prune.sparsity is -0.1"]),
    "falling": (
        ["task.prune.method=parp_p", "task.prune.sparsity=0.2", "task.prune.initial_sparsity=0.5"],
        ["task.prune.initial_sparsity is 0.5", "must rise"],
    ),
    "ramp without an end": (
        ["task.prune.method=gmp", "optimization.max_update=0", "optimization.max_epoch=1"],
        ["optimization.max_update must be at least 1", "gmp ramps"],
    ),
    "checkpoint without a mask": (
        ["task.prune.method=mask", f"task.prune.mask={TINY_MODEL}"],
        ["tiny.pt keeps no mask", "omp"],
    ),
    "rise": (["task.prune.rise=7"], ["task.prune.rise is 7"]),
    "interval": (["task.prune.interval=0"], ["task.prune.interval must be at least 1"]),
    "unit": (["task.prune.interval_unit=step"], ["task.prune.interval_unit"]),
    "schedule": (
        ["task.prune.method=parp_p", "task.prune.schedule=step"],
        ["task.prune.schedule is 'step'"],
    ),
    "method": (["task.prune.method=prap"], ["task.prune.method is 'prap'", "parp_p"]),
    "granularity": (["task.prune.granularity=layer"], ["task.prune.granularity"]),
    "include": (["task.prune.include=[encoder.blocks.*]"], ["encoder.blocks.*", "encoder.layers"]),
    "exclude": (["task.prune.exclude=['*']"], ["task.prune.exclude leaves nothing"]),
    "initial": (["task.prune.initial=magic"], ["task.prune.initial", "magic", "random_init"]),
    "mask without file": (["task.prune.method=mask"], ["task.prune.mask is missing"]),
    "omp without file": (["task.prune.method=omp"], ["task.prune.mask is missing"]),
    "no such mask": (
        ["task.prune.method=mask", "task.prune.mask=none.safetensors"],
        ["none.safetensors"],
    ),
    "fp16 without a GPU": (["common.fp16=true"], ["common.fp16", "common.bf16=true"]),
    "stages that fall": (
        ["task.prune.method=parp_p", "task.prune.sparsity=0.9", "task.prune.stages=[0.95]"],
        ["task.prune.stages is [0.95]", "must rise"],
    ),
    "composite": (["optimizer.base._name=composite"], ["optimizer.base._name"]),
    "moving average": (["ema.store_ema=true"], ["ema.store_ema"]),
    "another optimizer": (
        ["optimizer._name=adam", "~optimizer.base"],
        ["optimizer._name=parp"],
    ),
    "another criterion": (["criterion._name=ctc"], ["criterion._name=parp_ctc"]),
    "no base optimizer": (["~optimizer.base"], ["optimizer.base"]),
    "sparsity in words": (
        ["task.prune.sparsity=half"],
        ["task.prune.sparsity is 'half'", "number"],
    ),
    "interval of a half": (["task.prune.interval=1.5"], ["task.prune.interval is 1.5", "whole"]),
    "misspelt": (["task.prune.sparsty=0.5"], ["sparsty", "did you mean task.prune.sparsity?"]),
    "misspelt and added": (["+task.prune.sparsty=0.5"], ["did you mean task.prune.sparsity?"]),
    "misspelt elsewhere": (["+model.droput=0.5"], ["did you mean model.dropout?"]),
    "another kind": (["optimization.max_update=many"], ["optimization.max_update=many", "many"]),
    "a list": (["task.prune.include=5"], ["task.prune.include is 5", "list"]),
    "grammar": (["task.prune.include=[a"], ["["]),
    "no user dir": (["common.user_dir=null"], ["common.user_dir is missing"]),
    "wrong user dir": (["common.user_dir=parp_fairsek"], ["common.user_dir=parp_fairsek"]),
    "a user dir of nothing": (["common.user_dir=/usr/share"], ["brings no task parp"]),
    "asynchronous": (
        ["checkpoint.write_checkpoints_asynchronously=true"],
        ["checkpoint.write_checkpoints_asynchronously"],
    ),
    "suffix": (["checkpoint.checkpoint_suffix=_x"], ["checkpoint.checkpoint_suffix=_x"]),
    "too many GPUs": (
        ["distributed_training.distributed_world_size=999"],
        ["distributed_training.distributed_world_size", "999"],
    ),
    "longer than a batch": (
        ["dataset.max_tokens=20000"],
        ["train.tsv row", "dataset.max_tokens is 20000", "raise dataset.max_tokens"],
    ),
    "longer than a batch of the validation": (
        ["dataset.max_tokens_valid=20000"],
        ["dev-other.tsv row", "dataset.max_tokens_valid is 20000"],
    ),
    # What comes after it: no batch is made of a set that nothing validates on.
    "longer than a batch of no validation": (
        [
            "dataset.max_tokens_valid=20000",
            "dataset.disable_validation=true",
            "model.w2v_path=x.pt",
        ],
        ["x.pt"],
    ),
    "restore_file": (["checkpoint.restore_file=x.pt"], ["checkpoint.restore_file is", "x.pt"]),
}
MADE = {
    function.__name__: function
    for function in (
        truncated,
        no_checkpoint,
        hostile,
        hostile_old,
        finetuned,
        other_mask,
        misshapen_mask,
    )
}
DATA = {
    function.__name__: function
    for function in (
        short_labels,
        unknown_character,
        no_dictionary,
        missing_audio,
        label_too_long,
    )
}


def check(run, expected):
    assert run.code == 2, run.tail
    assert run.error, run.tail
    for word in expected:
        assert word in run.error
    # Alone: no configuration, no warnings before it.
    assert run.output.splitlines() == [run.error]
    assert "code from a checkpoint ran" not in run.output
    left = {path.name for path in run.folder.rglob("*") if path.is_file()}
    assert left <= {"hydra_train.log", "train.log", ".lock", "config.yaml", "hydra.yaml"} | {
        "overrides.yaml"
    }


@pytest.mark.parametrize("case", PLAIN)
def test_option(train, case):
    overrides, expected = PLAIN[case]
    check(train(*overrides), expected)


@pytest.mark.parametrize("case", MADE)
def test_file(train, tmp_path, case):
    overrides, expected = MADE[case](tmp_path)
    check(train(*overrides), expected)


@pytest.mark.parametrize("case", DATA)
def test_data(train, tmp_path, data, case):
    overrides, expected = DATA[case](tmp_path, data)
    check(train(*overrides), expected)


@pytest.mark.parametrize(
    ("name", "hint"), [("parp_10mni", "did you mean parp_10min?"), ("mine", "there are parp_10h")]
)
def test_unknown_config(train, name, hint):
    run = train(config=name)
    assert run.code == 2
    assert name in run.error
    assert hint in run.error
    assert "Traceback" not in run.output
