import pytest

from hydra_plugins.parp_searchpath.naming import changes


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["common.user_dir=parp_fairseq", "task.data=/a/b", "model.w2v_path=tiny"], ""),
        (["task.prune.method=mpi", "task.prune.sparsity=0.3", "common.seed=5"], ""),
        (["common.cpu=true", "optimization.update_freq=[8]", "dataset.num_workers=0"], ""),
        (["optimization.lr=[0.0001]", "task.prune.interval=10"], "_lr0.0001_interval10"),
        (["task.prune.interval=10", "optimization.lr=[0.0001]"], "_lr0.0001_interval10"),
        (["+optimizer.base.weight_decay=0.1"], "_weight_decay0.1"),
        (["task.prune.seed=3"], "_prune_seed3"),
        (["lr_scheduler.phase_ratio=[0.1, 0.4, 0.5]"], "_phase_ratio0.1-0.4-0.5"),
        (["task.prune.initial=random"], "_initialrandom"),
    ],
)
def test_what_a_command_changes(overrides, name):
    assert changes(overrides) == name


def test_files_and_long_lists_become_short_and_stay_apart():
    one, two = (changes([f"task.prune.mask=runs/{x}/checkpoints/mask.safetensors"]) for x in "ab")
    assert one != two
    assert "/" not in one
    many = [f"model.option_number_{n}=0.123456" for n in range(20)]
    assert len(changes(many)) < 12
    assert changes(many) != changes(many[1:])
