import pytest

from parp_fairseq.pruning import PruningError, Scope

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
    f"{PREFIX}mask_emb",
    "w2v_encoder.proj.weight",
]


def test_default_is_the_transformer_linears_weights():
    wanted = {f"{PREFIX}encoder.layers.{i}.{kind}.weight" for i in range(11) for kind in KINDS}
    assert Scope().select(NAMES) == sorted(wanted)
    biases = {name.replace(".weight", ".bias") for name in wanted}
    assert Scope(biases=True).select(NAMES) == sorted(wanted | biases)


@pytest.mark.parametrize(
    ("include", "exclude", "count"),
    [
        (["encoder.layers.*.fc1"], ["encoder.layers.1.*"], 10),
        # Of modules the weights: not biases, nor parameters of other kinds.
        (["encoder.*"], [], 11 * 8 + 1),
        (["encoder.layers.*.*"], [], 11 * 8),
        (["*"], ["*.layer_norm", "*_layer_norm.weight"], 11 * 6 + 3),
        # A parameter by its own name.
        (["encoder.layers.*.fc1.bias"], [], 11),
        (["pos_conv.0.weight_v", "fc2"], ["encoder.layers.10.*"], 11),
        (["fc1", "encoder.pos_conv.0.weight_?"], ["*weight_v"], 11),
    ],
)
def test_patterns(include, exclude, count):
    assert len(Scope(include, exclude).select(NAMES)) == count


@pytest.mark.parametrize("pattern", ["encoder.layers.*.fc3", "bert", ""])
def test_a_pattern_that_matches_nothing_is_an_error(pattern):
    with pytest.raises(PruningError, match="matches no weight of this model; its modules"):
        Scope(include=["wav2vec2", pattern]).select(NAMES)


def test_nothing_included_or_left_is_an_error():
    with pytest.raises(PruningError, match="include is empty; name a preset or pattern"):
        Scope(include=[], exclude=["*"]).select(NAMES)
    with pytest.raises(PruningError, match="exclude leaves nothing of include to prune"):
        Scope(exclude=["*"]).select(NAMES)
