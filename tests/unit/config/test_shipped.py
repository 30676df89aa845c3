"""The yaml files that ship: complete, alike, and as the settings say."""

import dataclasses

import pytest
import yaml

from parp_fairseq.config import shipped as configs
from parp_fairseq.errors import UserError

# updates, lr, mask_prob, mask_channel_prob, layerdrop, max_tokens, update_freq, normalize, labels,
# interval: the authors' scripts.
SETTINGS = {
    "parp_10min": (12000, 5e-5, 0.75, 0.512, 0.05, 3200000, 2, False, "ltr", 50),
    "parp_1h": (15000, 5e-5, 0.75, 0.256, 0.05, 3200000, 2, False, "ltr", 50),
    "parp_10h": (20000, 5e-5, 0.65, 0.256, 0.05, 3200000, 2, False, "ltr", 5),
    "parp_large_10min": (12000, 5e-5, 0.75, 0.512, 0.1, 600000, 5, False, "ltr", 10),
    "parp_large_1h": (15000, 5e-5, 0.75, 0.256, 0.1, 600000, 5, False, "ltr", 5),
    "parp_large_10h": (12000, 1e-4, 0.65, 0.256, 0.1, 600000, 5, False, "ltr", 1),
    "parp_h2l": (15000, 5e-5, 0.75, 0.256, 0.05, 3200000, 2, False, "phn", 50),
    "parp_csr": (12000, 1e-4, 0.75, 0.256, 0.1, 1280000, 5, True, "phn", 5),
}


def load(name):
    return yaml.safe_load(configs.path_of(name).read_text())


def keys(node, prefix=""):
    """All dotted keys of a nested dict."""
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name):
    config = load(name)
    model, dataset, optimization = config["model"], config["dataset"], config["optimization"]
    prune = config["task"]["prune"]
    assert SETTINGS[name] == (
        optimization["max_update"],
        float(optimization["lr"][0]),
        model["mask_prob"],
        model["mask_channel_prob"],
        model["layerdrop"],
        dataset["max_tokens"],
        optimization["update_freq"][0],
        config["task"]["normalize"],
        config["task"]["labels"],
        prune["interval"],
    )
    assert prune["interval_unit"] == "epoch"
    phones = config["task"]["labels"] == "phn"
    assert config["criterion"]["post_process"] == ("none" if phones else "letter")
    assert model["freeze_finetune_updates"] == 0
    assert config["common"]["fp16"] is False
    assert (model["mask_length"], model["mask_channel_length"]) == (10, 64)


@pytest.mark.parametrize("name", configs.names())
def test_every_option_is_in_every_file(name):
    missing = set(keys(load("parp_10min"))) - set(keys(load(name)))
    assert not missing
    assert set(keys(load(name))) - set(keys(load("parp_10min"))) <= {
        "common.cpu",
        "distributed_training.distributed_world_size",
    }
    lines = configs.path_of(name).read_text().splitlines()
    assert f"--config-name {name} " in "\n".join(lines[:12])


@pytest.mark.legacy
def test_every_option_of_prune_is_in_the_yaml():
    pytest.importorskip("fairseq")
    from parp_fairseq.tasks.config import PruneConfig

    options = {field.name for field in dataclasses.fields(PruneConfig)} - {"_name"}
    assert options == set(load("parp_10min")["task"]["prune"])


def test_overrides_keep_the_effective_batch():
    for gpus in (1, 2, 4, 8):
        assert configs.overrides_for_gpus("parp_10min", gpus) == [
            f"distributed_training.distributed_world_size={gpus}",
            f"optimization.update_freq=[{8 // gpus}]",
        ]
    for gpus in (0, 3):
        with pytest.raises(UserError, match=f"--gpus .*{gpus}"):
            configs.overrides_for_gpus("parp_10min", gpus)


def test_summary_and_copy(tmp_path):
    found = configs.summary("parp_10h")
    assert found.title.startswith("wav2vec 2.0 base on 10 hours")
    assert (found.updates, found.interval) == (20000, "5 epochs")
    copy = configs.copy("parp_10h", tmp_path / "new" / "mine.yaml")
    assert copy == tmp_path / "new" / "mine.yaml" and copy.is_file()
    assert configs.copy("parp_1h", tmp_path) == tmp_path / "parp_1h.yaml"
    with pytest.raises(UserError, match=r"parp_1h\.yaml already exists"):
        configs.copy("parp_1h", tmp_path)
    configs.copy("parp_1h", tmp_path, force=True)
    with pytest.raises(UserError, match="did you mean parp_10h"):
        configs.copy("parp_10hh", tmp_path)


@pytest.mark.parametrize("name", configs.names())
def test_a_copys_runs_go_into_a_folder_of_its_name(name, tmp_path):
    copy = yaml.safe_load(configs.copy(name, tmp_path / "my.v2.yaml").read_text())
    hydra = copy["hydra"]
    # Where a single run goes and where one of several goes is the same place.
    run, sweep = hydra["run"]["dir"], hydra["sweep"]["dir"]
    assert (run, sweep) == (f"runs/my.v2/{hydra['sweep']['subdir']}", "runs/my.v2")
    own = load(name)
    assert own["hydra"]["sweep"]["dir"] == f"runs/{name}"
    assert {**copy, "hydra": None} == {**own, "hydra": None}
    assert configs.copy(name, tmp_path).read_bytes() == configs.path_of(name).read_bytes()
    for odd in ("my run", "a: b", "${seed}", "..", "-m"):
        with pytest.raises(UserError, match="is also the folder of its runs"):
            configs.copy(name, tmp_path / f"{odd}.yaml")
