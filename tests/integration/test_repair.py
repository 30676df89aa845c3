"""Checkpoints of other versions of fairseq: repaired, or opened as if they were."""

import argparse
import copy

import pytest
import torch

from parp_fairseq.checkpoints.formats import TINY_MODEL
from parp_fairseq.checkpoints.repair import repair
from parp_fairseq.checkpoints.safe_load import allow_fairseq_classes, load_checkpoint
from parp_fairseq.fairseq_patches import repaired_loading

# What XLSR-53 holds beyond what its own task knows.
OF_ANOTHER_TASK = {
    "eval_wer": False,
    "eval_wer_config": {"_name": None, "beam": 5, "print_alignment": False},
    "eval_wer_tokenizer": None,
    "eval_wer_post_process": "letter",
    "autoregressive": False,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The tiny model in the forms of published checkpoints: XLSR-53's, and a flat namespace."""
    from omegaconf import OmegaConf

    folder = tmp_path_factory.mktemp("published")
    state = load_checkpoint(TINY_MODEL)
    cfg = copy.deepcopy(state["cfg"])
    cfg["task"].update(OF_ANOTHER_TASK)
    del cfg["criterion"], cfg["lr_scheduler"]
    torch.save({**state, "cfg": OmegaConf.create(cfg)}, folder / "xlsr.pt")
    flat = {**state["cfg"]["model"], **state["cfg"]["task"], "arch": "wav2vec2"}
    flat.update(task="audio_pretraining", criterion="wav2vec", optimizer="adam", lr=[0.1])
    del flat["_name"]
    torch.save({**state, "cfg": None, "args": argparse.Namespace(**flat)}, folder / "args.pt")
    return folder


def built(path, data):
    """Parameters of a model that fairseq builds for fine-tuning from `path`."""
    from fairseq import tasks
    from omegaconf import OmegaConf

    where = {"data": str(data), "normalize": False}
    cfg = {
        "task": {"_name": "audio_finetuning", "labels": "ltr", **where},
        "model": {"_name": "wav2vec_ctc", "w2v_path": str(path), **where},
        "common": {"tpu": False, "seed": 1},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
    }
    root = OmegaConf.create(cfg)
    model = tasks.setup_task(root.task).build_model(root.model)
    encoder = "w2v_encoder.w2v_model."
    return {
        name[len(encoder) :]: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith(encoder)
    }


def same_as_tiny(weights):
    tiny = load_checkpoint(TINY_MODEL)["model"]
    return len(weights) > 100 and all(torch.equal(weights[name], tiny[name]) for name in weights)


@pytest.mark.legacy
def test_a_repaired_checkpoint_is_fine_tuned(published, train, tmp_path):
    out = tmp_path / "repaired.pt"
    changes = repair(published / "xlsr.pt", out)
    for key in OF_ANOTHER_TASK:
        assert f"cfg.task.{key} is unknown to this fairseq and was left out" in changes
    for key in ("criterion", "lr_scheduler"):
        assert f"cfg.{key} was missing and is now null" in changes
    assert len(changes) == len(OF_ANOTHER_TASK) + 3
    assert repair(out, tmp_path / "twice.pt") == []
    assert not (tmp_path / "twice.pt").exists()
    original = load_checkpoint(TINY_MODEL)
    plain = torch.load(out, weights_only=True)
    assert plain["cfg"] == original["cfg"] | dict.fromkeys(("criterion", "lr_scheduler"))
    assert all(torch.equal(plain["model"][k], v) for k, v in original["model"].items())

    run = train(f"model.w2v_path={out}", "optimization.max_update=2", "task.prune.sparsity=0.5")
    assert run.code == 0, run.tail
    assert sum(int((tensor == 0).sum()) for tensor in run.prunable().values()) > 500_000


@pytest.mark.legacy
def test_fairseq_opens_them_as_they_are(published, data):
    allow_fairseq_classes()  # As the task does.
    with repaired_loading():
        assert same_as_tiny(built(published / "xlsr.pt", data))
        assert same_as_tiny(built(published / "args.pt", data))
    from fairseq import checkpoint_utils

    assert checkpoint_utils.load_checkpoint_to_cpu.__module__ == "fairseq.checkpoint_utils"


@pytest.mark.legacy
def test_a_namespace_becomes_sections(published, data, parp, tmp_path):
    out = tmp_path / "repaired.pt"
    code, said, _ = parp("repair", published / "args.pt", "-o", out)
    changed = "args, a flat namespace, became the sections of cfg"
    assert (code, said) == (0, f"{changed}\nwritten: {out}\n")
    assert "nothing was written" in parp("repair", TINY_MODEL, "-o", tmp_path / "other.pt")[1]
    assert not (tmp_path / "other.pt").exists()
    state = torch.load(out, weights_only=True)
    assert state["args"] is None
    assert state["cfg"]["model"]["encoder_layers"] == 6
    assert state["cfg"]["task"]["_name"] == "audio_pretraining"
    assert same_as_tiny(built(out, data))
