"""Which settings make two runs the same experiment."""

from __future__ import annotations

import copy

import pytest
import yaml

from parp_fairseq.config import shipped
from parp_fairseq.runs import settings
from parp_fairseq.runs.settings import BATCH, differences, refusal

SAME = {"old": {}, "new": {}}


def config(**changes):
    plain = yaml.safe_load(shipped.path_of("parp_10min").read_text())
    del plain["hydra"]
    plain["distributed_training"]["distributed_world_size"] = 4
    plain["checkpoint"].update(patience=-1)
    plain["lr_scheduler"].update(max_update=12000, lr=[0.00005])
    plain["model"]["w2v_args"] = None
    for key, value in changes.items():
        node = plain
        *sections, last = key.replace("__", ".").split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    return plain


def changed(old, new, contents=SAME):
    return [difference.key for difference in differences(old, new, contents)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimization.lr", [0.1]),
        ("optimization.max_update", 13000),
        ("optimizer.base.adam_eps", 1e-6),
        ("optimizer.base.weight_decay", 0.1),
        ("lr_scheduler.phase_ratio", [0.2, 0.3, 0.5]),
        ("model.dropout", 0.3),
        ("model.freeze_finetune_updates", 100),
        ("dataset.max_tokens", 1),
        ("common.seed", 1),
        ("common.fp16", True),
        ("task.normalize", True),
        ("task.prune.interval", 3),
        ("task.prune.include", ["x"]),
        ("checkpoint.best_checkpoint_metric", "loss"),
        ("checkpoint.reset_dataloader", True),
        ("criterion.zero_infinity", False),
    ],
)
def test_what_changes_the_weights_is_told(key, value):
    old, new = config(), config(**{key: value})
    if key not in settings.flat(old) and not key.startswith("optimizer"):
        old = config(**{key: False})
    assert changed(old, new) == [key]
    told = differences(old, new, SAME)
    assert f"{key} was " in refusal(told, "parp", allowed=False)
    assert f"and is now {value}" in str(told[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("common.log_interval", 1),
        ("common.cpu", True),
        ("common.user_dir", "/elsewhere/parp_fairseq"),
        ("checkpoint.save_dir", "elsewhere"),
        ("checkpoint.save_interval_updates", 7),
        ("checkpoint.keep_interval_updates", 9),
        ("dataset.num_workers", 0),
        ("dataset.validate_interval_updates", 3),
        ("dataset.train_subset", "renamed"),
        ("distributed_training.ddp_backend", "pytorch_ddp"),
        ("task.data", "/moved"),
        ("task.folder", "/moved"),
        ("model.w2v_path", "/moved.pt"),
        ("model.w2v_args", {"model": {"_name": "wav2vec2"}}),
        ("generation.beam", 50),
        ("task.resume_with_changes", True),
    ],
)
def test_what_is_free_to_change(key, value):
    assert changed(config(**{key: None}), config(**{key: value})) == []


def test_every_free_setting_says_why_and_is_spelt_as_fairseq_spells_it():
    from fairseq.dataclass.configs import FairseqConfig

    known = FairseqConfig.__dataclass_fields__
    for why, patterns in settings.FREE.items():
        assert why
        for pattern in patterns:
            section, _, key = pattern.partition(".")
            assert section in known or section == "job_logging_cfg"
            fields = getattr(known.get(section) and known[section].default, "__dict__", {})
            if key and fields and "*" not in key and key not in ("continue_once",):
                assert key in fields, pattern


def test_the_effective_batch_counts_and_not_who_shares_it():
    one = config(
        **{"distributed_training.distributed_world_size": 1, "optimization.update_freq": [8]}
    )
    four = config(**{"optimization.update_freq": [2]})
    assert changed(one, four) == []
    assert changed(one, config(**{"optimization.update_freq": [4]})) == [BATCH]


def test_what_fairseq_copies_is_told_once():
    old = config()
    new = config(**{"optimization.max_update": 9, "lr_scheduler.max_update": 9.0})
    assert changed(old, new) == ["optimization.max_update"]


def test_validation_counts_where_it_decides():
    key = "dataset.validate_interval_updates"
    for decides in (
        {"checkpoint.patience": 3},
        {"lr_scheduler._name": "reduce_lr_on_plateau"},
    ):
        assert changed(config(**decides), config(**decides, **{key: 3})) == [key]


def test_pruning_options_mean_nothing_to_a_dense_run():
    dense = {"task.prune.method": "dense"}
    assert changed(config(**dense), config(**dense, **{"task.prune.sparsity": 0.9})) == []
    assert "task.prune.method" in changed(config(), config(**dense))


def test_a_mask_file_may_move_but_not_become_another_kind():
    key = "task.prune.initial"
    assert changed(config(**{key: "/a/m.st"}), config(**{key: "/b/n.st"})) == []
    assert changed(config(**{key: "/a/m.st"}), config(**{key: "random"})) == [key]


def test_contents_are_compared():
    contents = {
        "old": {"model.w2v_path": "a" * 64, "task.prune.mask": "c" * 64},
        "new": {"model.w2v_path": "b" * 64},
    }
    found = differences(config(), config(), contents)
    assert [str(difference) for difference in found] == [
        "the content of model.w2v_path was sha256 aaaaaaaaaaaa and is now bbbbbbbbbbbb"
    ]


def test_settings_of_another_version_of_fairseq_are_passed_over():
    old = config(**{"model.only_in_a_later_version": 1})
    assert changed(old, config()) == []


def test_the_option_lets_a_run_go_on_but_for_what_cannot_change():
    old = config()
    lr = differences(old, config(**{"optimization.lr": [1]}), SAME)
    assert "task.resume_with_changes=true" in refusal(lr, "parp", allowed=False)
    assert refusal(lr, "parp", allowed=True) is None
    method = differences(old, config(**{"task.prune.method": "mpi"}), SAME)
    assert "resume_with_changes" not in refusal(method, "mpi", allowed=False)
    assert "cannot change" in refusal(method, "mpi", allowed=True)
    updates = differences(old, config(**{"optimization.max_update": 1}), SAME)
    assert refusal(updates, "parp", allowed=True) is None
    assert "optimization.max_update was 12000" in refusal(updates, "parp_p", allowed=True)


def test_many_differences_are_not_all_listed():
    new = copy.deepcopy(config())
    for key in ("dropout", "layerdrop", "mask_prob", "mask_length", "final_dropout"):
        new["model"][key] = 0.9
    told = refusal(differences(config(), new, SAME), "parp", allowed=False)
    assert told.count(" was ") == 4
    assert "and 1 more" in told
