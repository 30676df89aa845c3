"""The scope finds the same matrices in every model whose encoder fairseq builds alike."""

import pytest
from fairseq_models import XLSR, data2vec, hubert, wav2vec2

from parp_fairseq.pruning import Scope
from parp_fairseq.pruning.scope import canonical_name

KINDS = ("fc1", "fc2", *(f"self_attn.{kind}_proj" for kind in ("k", "out", "q", "v")))
EXPECTED = sorted(f"encoder.layers.{layer}.{kind}.weight" for layer in range(3) for kind in KINDS)


@pytest.mark.legacy
@pytest.mark.parametrize("build", [wav2vec2, lambda: wav2vec2(**XLSR), hubert, data2vec])
def test_the_same_matrices(build):
    parameters = dict(build()[0].named_parameters())
    assert Scope().select(parameters) == EXPECTED
    fine_tuned = [f"module.w2v_encoder.w2v_model.{name}" for name in parameters]
    assert sorted(map(canonical_name, Scope().select(fine_tuned))) == EXPECTED
    assert len(Scope(biases=True).select(parameters)) == 2 * len(EXPECTED)
