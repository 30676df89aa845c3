"""The scope: what is prunable, by pattern."""

import pytest

from parp_fairseq.pruning import Scope
from parp_fairseq.pruning.arguments import PruningError

PREFIX = "w2v_encoder.w2v_model."
KINDS = [f"self_attn.{k}_proj" for k in ("k", "v", "q", "out")] + ["fc1", "fc2"]
NAMES = [
    f"{PREFIX}encoder.layers.{i}.{module}.{kind}"
    for i in range(11)
    for module in [*KINDS, "self_attn_layer_norm", "final_layer_norm"]
    for kind in ("weight", "bias")
] + [
    f"{PREFIX}feature_extractor.conv_layers.0.0.weight",
    f"{PREFIX}post_extract_proj.weight",
    f"{PREFIX}encoder.pos_conv.0.weight_v",
    f"{PREFIX}encoder.layer_norm.weight",
    "w2v_encoder.proj.weight",
]


def test_default_is_the_transformer_linears_weights():
    wanted = {f"{PREFIX}encoder.layers.{i}.{kind}.weight" for i in range(11) for kind in KINDS}
    assert Scope().select(NAMES) == sorted(wanted)


def test_biases_by_option():
    names = Scope(biases=True).select(NAMES)
    assert len(names) == 2 * 11 * 6
    assert {name.rsplit(".", 1)[1] for name in names} == {"weight", "bias"}


def test_include_and_exclude_take_patterns():
    scope = Scope(include=["encoder.layers.*.fc1"], exclude=["encoder.layers.1.*"])
    names = scope.select(NAMES)
    assert len(names) == 10
    assert not any(".layers.1." in name for name in names)
    assert any(".layers.10." in name for name in names)


@pytest.mark.parametrize("pattern", ["encoder.layers.*.fc3", "bert", ""])
def test_a_pattern_that_matches_nothing_is_an_error(pattern):
    with pytest.raises(PruningError, match="matches no weight of this model; its modules"):
        Scope(include=["wav2vec2", pattern]).select(NAMES)


def test_nothing_included_is_an_error_of_include():
    with pytest.raises(PruningError, match="include is empty; name a preset or pattern"):
        Scope(include=[], exclude=["*"]).select(NAMES)


def test_excluding_everything_is_an_error():
    with pytest.raises(PruningError, match="leaves nothing of include to prune"):
        Scope(exclude=["*"]).select(NAMES)
