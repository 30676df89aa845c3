"""A rehearsal of the paper's scale, with stand-ins made small."""

import sys

import pytest
import torch
from experiments import rehearsal
from experiments.reading import read_plan
from experiments.standins import PUBLISHED, write_stand_in

from parp_fairseq.checkpoints.fairseq_settings import describe_state
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError

# Spans of 64 channels are masked: 128 are too few.
SMALL = {
    "encoder_layers": 1,
    "encoder_embed_dim": 512,
    "encoder_ffn_embed_dim": 128,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(16,10,5)] + [(16,8,4)] * 3 + [(16,4,4)]",
    "conv_pos": 16,
    "conv_pos_groups": 2,
    "final_dim": 8,
    "latent_vars": 4,
}


def test_it_stands_for_every_config_and_method():
    plan = read_plan("paper")
    few = rehearsal.chosen(plan)
    everything = [
        ft for ft in plan.trained.values() if "joint" not in ft.world.name and ft.source is None
    ]
    assert {ft.world.config for ft in few} == {ft.world.config for ft in everything}
    assert {ft.world.model for ft in few} == {ft.world.model for ft in everything}
    assert {ft.method for ft in few} == {ft.method for ft in everything}
    assert len(few) < 16


@pytest.mark.skipif(sys.version_info < (3, 11), reason="phonemizer's voices need it")
def test_trained_pruned_saved_and_decoded(tmp_path, monkeypatch):
    pytest.importorskip("phonemizer")
    plan = read_plan("paper", work=tmp_path)
    wanted = ("base-10h_omp_0.9_seed2337", "csr-es_parp_0.9_seed2337")
    monkeypatch.setattr(rehearsal, "chosen", lambda plan: [plan.trained[name] for name in wanted])
    table = rehearsal.rehearse(plan, SMALL).splitlines()
    told = [line.split()[:4] for line in table[1:]]
    assert told == [
        ["parp_10h", "wav2vec_small.pt", "dense", "0.00%"],
        ["parp_10h", "wav2vec_small.pt", "omp", "90.00%"],
        ["parp_csr", "xlsr_53_56k.pt", "parp", "90.00%"],
    ]
    assert not list(plan.work.glob("runs"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_stand_in_has_the_published_form(tmp_path, name):
    write_stand_in(tmp_path / name, SMALL)
    state = torch.load(tmp_path / name, weights_only=False)
    assert (state["args"] is None) == (PUBLISHED[name].form == "cfg")
    info = describe_state(load_checkpoint(tmp_path / name), tmp_path / name)
    assert info.normalize is PUBLISHED[name].normalize
    with pytest.raises(UserError, match="no stand-in is known"):
        write_stand_in(tmp_path / "other.pt")
