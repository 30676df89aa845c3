import pytest
import yaml

from parp_fairseq.config import shipped
from parp_fairseq.runs import settings
from parp_fairseq.runs.settings import BATCH, differences, refusal


def config(changes=None):
    plain = yaml.safe_load(shipped.path_of("parp_10min").read_text())
    del plain["hydra"]
    plain["distributed_training"]["distributed_world_size"] = 4
    plain["checkpoint"].update(patience=-1)
    plain["lr_scheduler"].update(max_update=12000, lr=[0.00005])
    plain["model"]["w2v_args"] = None
    for key, value in (changes or {}).items():
        node = plain
        *sections, last = key.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return plain


def changed(old, new):
    """Keys that differ between two runs, each given by what it changes in a config."""
    return [difference.key for difference in differences(config(old), config(new))]


CHANGES_WEIGHTS = {
    "optimization.lr": [0.1],
    "optimizer.base.weight_decay": 0.1,
    "lr_scheduler.phase_ratio": [0.2, 0.3, 0.5],
    "model.dropout": 0.3,
    "dataset.max_tokens": 1,
    "common.seed": 1,
    "common.fp16": True,
    "task.prune.include": ["x"],
    "checkpoint.reset_dataloader": True,
    "criterion.zero_infinity": False,
}
FREE = {
    "common.cpu": True,
    "common.user_dir": "/elsewhere/parp_fairseq",
    "checkpoint.save_interval_updates": 7,
    "dataset.validate_interval_updates": 3,
    "dataset.train_subset": "renamed",
    "distributed_training.ddp_backend": "pytorch_ddp",
    "model.w2v_path": "/moved.pt",
    "model.w2v_args": {"model": {"_name": "wav2vec2"}},
    "generation.beam": 50,
    # Of a later version of fairseq, which the earlier one did not save.
    "model.only_in_a_later_version": 1,
}


@pytest.mark.parametrize("key", CHANGES_WEIGHTS)
def test_what_changes_the_weights_is_named(key):
    new = {key: CHANGES_WEIGHTS[key]}
    old = {} if key in settings.flat(config()) or key.startswith("optimizer") else {key: None}
    assert changed(old, new) == [key]
    line = refusal(differences(config(old), config(new)), "parp", allowed=False)
    assert f"different settings: {key} was " in line and f" is now {new[key]}; " in line


@pytest.mark.parametrize("key", FREE)
def test_what_is_free_to_change(key):
    assert changed({key: None} if "later" not in key else {}, {key: FREE[key]}) == []


def test_every_free_setting_says_why_and_is_spelt_as_fairseq_spells_it():
    from fairseq.dataclass.configs import FairseqConfig

    known = FairseqConfig.__dataclass_fields__
    for why, patterns in settings.FREE.items():
        assert why
        for pattern in patterns.split():
            section, _, key = pattern.partition(".")
            assert section in known or section == "job_logging_cfg"
            fields = getattr(known.get(section) and known[section].default, "__dict__", {})
            if key and fields and "*" not in key and key != "continue_once":
                assert key in fields, pattern


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        # The effective batch counts, and not who shares it.
        (
            {"distributed_training.distributed_world_size": 1, "optimization.update_freq": [8]},
            {"optimization.update_freq": [2]},
            [],
        ),
        ({"optimization.update_freq": [2]}, {"optimization.update_freq": [4]}, [BATCH]),
        # What fairseq copies comes once.
        (
            {},
            {"optimization.max_update": 9, "lr_scheduler.max_update": 9.0},
            ["optimization.max_update"],
        ),
        # Pruning options mean nothing to a dense run.
        (
            {"task.prune.method": "dense"},
            {"task.prune.method": "dense", "task.prune.sparsity": 0.9},
            [],
        ),
        ({}, {"task.prune.method": "dense"}, ["task.prune.method"]),
        # A mask file may move, but not become another kind of mask.
        ({"task.prune.initial": "/a/m.st"}, {"task.prune.initial": "/b/n.st"}, []),
        (
            {"task.prune.initial": "/a/m.st"},
            {"task.prune.initial": "random"},
            ["task.prune.initial"],
        ),
    ],
)
def test_what_is_compared(old, new, keys):
    assert set(keys) <= set(changed(old, new))
    assert bool(keys) == bool(changed(old, new))


@pytest.mark.parametrize(
    "decides", [{"checkpoint.patience": 3}, {"lr_scheduler._name": "reduce_lr_on_plateau"}]
)
def test_validation_counts_where_it_decides(decides):
    key = "dataset.validate_interval_updates"
    assert changed(decides, {**decides, key: 3}) == [key]


def test_contents_are_compared():
    old = config({"task.contents": {"model.w2v_path": "a" * 64, "task.prune.mask": "c" * 64}})
    new = config({"task.contents": {"model.w2v_path": "b" * 64}})
    assert [str(difference) for difference in differences(old, new)] == [
        "the content of model.w2v_path was sha256 aaaaaaaaaaaa and is now bbbbbbbbbbbb"
    ]


@pytest.mark.parametrize(
    ("key", "value", "method", "unless_allowed", "allowed"),
    [
        ("optimization.lr", [1], "parp", "resume_with_changes=true", None),
        ("optimization.max_update", 1, "parp", "resume_with_changes=true", None),
        ("optimization.max_update", 1, "parp_p", "(hydra.run.dir=…)", "no resumed run can change"),
        ("task.prune.method", "mpi", "mpi", "(hydra.run.dir=…)", "no resumed run can change"),
    ],
)
def test_resume_with_changes(key, value, method, unless_allowed, allowed):
    found = differences(config(), config({key: value}))
    assert refusal(found, method, allowed=False).endswith(unless_allowed)
    line = refusal(found, method, allowed=True)
    assert line is None if allowed is None else allowed in line
