"""Names of tensors in fairseq and in transformers."""

from __future__ import annotations

import pytest
from small_model import random_state

from parp_fairseq.checkpoints.vocabulary import from_transformers, to_transformers


@pytest.mark.parametrize("mode", ["default", "layer_norm"])
def test_every_name_goes_there_and_back(mode):
    names = list(random_state(extractor_mode=mode)["model"])
    theirs = {name: to_transformers(name) for name in names}
    assert None not in theirs.values() and len(set(theirs.values())) == len(names)
    for name in names:
        # Two versions of torch spell the weight norm of the convolution in two ways.
        if "pos_conv.0.parametrizations" not in name:
            assert from_transformers(theirs[name], mode == "layer_norm") == name


def test_weight_norm_as_older_versions_named_it():
    theirs, ours = (
        "wav2vec2.encoder.pos_conv_embed.conv.",
        "w2v_encoder.w2v_model.encoder.pos_conv.0.",
    )
    for name in ("weight_g", "weight_v"):
        assert from_transformers(theirs + name) == ours + name
        assert to_transformers(ours + name) != theirs + name


def test_other_names_have_no_counterpart():
    assert to_transformers("w2v_encoder.w2v_model.encoder.layers.0.adapter.weight") is None
    assert to_transformers("w2v_encoder.w2v_model.mask_emb.more") is None
    assert from_transformers("hubert.encoder.layers.0.attention.k_proj.weight") is None
