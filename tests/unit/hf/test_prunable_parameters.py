"""What may be pruned of the models of transformers."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers")

from parp_fairseq.errors import UserError  # noqa: E402
from parp_fairseq.hf.parameters import prunable_parameters  # noqa: E402

# Layers, width and inner width decide: attention has four matrices of width² (five in XLNet, with
# one for relative positions), the feed-forward part two of width by inner width.
BASE = 12 * (4 * 768 * 768 + 2 * 768 * 3072)
LARGE = 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
SIZES = {
    "BertForSequenceClassification": (BASE + 768 * 768, 73),
    "DistilBertForSequenceClassification": (BASE // 2, 36),
    "XLNetForSequenceClassification": (LARGE + 24 * 1024 * 1024, 7 * 24),
    "Wav2Vec2ForCTC": (BASE, 72),
    "HubertForCTC": (BASE, 72),
    "WavLMForCTC": (BASE, 72),
    "Data2VecAudioForCTC": (BASE, 72),
    "Wav2Vec2BertForCTC": (24 * (4 * 1024 * 1024 + 4 * 1024 * 4096), 8 * 24),
    "WhisperForConditionalGeneration": (4 * (4 * 384 * 384 + 2 * 384 * 1536), 24),
}

OPTIONS = {"Wav2Vec2BertForCTC": {"vocab_size": 32}}


def full_size(name, **options):
    """A model with the sizes that its configuration has by default, without memory for them."""
    cls = getattr(transformers, name)
    with torch.device("meta"):
        return cls(cls.config_class(**options))


@pytest.mark.parametrize("name", SIZES)
def test_counts_at_full_size(name):
    model = full_size(name, **OPTIONS.get(name, {}))
    chosen = prunable_parameters(model)
    parameters = dict(model.named_parameters())
    assert (sum(parameters[n].numel() for n in chosen), len(chosen)) == SIZES[name]


def test_large_and_minilm_and_adapters():
    large = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    model = full_size("Wav2Vec2ForCTC", **large, adapter_attn_dim=16, do_stable_layer_norm=True)
    chosen = prunable_parameters(model)
    assert sum(dict(model.named_parameters())[n].numel() for n in chosen) == 301_989_888
    assert any("adapter" in name for name, _ in model.named_parameters())
    assert not any("adapter" in name for name in chosen)
    minilm = full_size(
        "BertForSequenceClassification",
        hidden_size=384,
        num_hidden_layers=6,
        intermediate_size=1536,
    )
    count = sum(dict(minilm.named_parameters())[n].numel() for n in prunable_parameters(minilm))
    assert count == 6 * (4 * 384 * 384 + 2 * 384 * 1536) + 384 * 384


def test_an_unknown_model_gets_patterns_of_its_linears():
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(2, 2)])})
    with pytest.raises(UserError, match=r"include=.* such as layers\.\*\.weight"):
        prunable_parameters(model)
    for pattern in ("layers.*", "layers.*.weight"):
        assert prunable_parameters(model, [pattern]) == ["layers.0.weight"]
    assert prunable_parameters(model, ["layers.*"], biases=True)[0] == "layers.0.bias"
    with pytest.raises(UserError, match="matches no weight of this model"):
        prunable_parameters(model, ["query.weight"])
    with pytest.raises(UserError, match="leaves nothing"):
        prunable_parameters(model, ["layers.*"], ["*"])
