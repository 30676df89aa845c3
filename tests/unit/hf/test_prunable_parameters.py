import pytest
import torch

transformers = pytest.importorskip("transformers")

from parp_fairseq.errors import UserError  # noqa: E402
from parp_fairseq.hf.parameters import prunable_parameters  # noqa: E402

# Layers, width and inner width decide: attention has four matrices of width² (five in XLNet, with
# one for relative positions), the feed-forward part two of width by inner width.
BASE = 12 * (4 * 768 * 768 + 2 * 768 * 3072)
LARGE = 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
WIDE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
# With adapters, which are not chosen; and BERT as small as MiniLM.
XLS_R = {**WIDE, "adapter_attn_dim": 16, "do_stable_layer_norm": True}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
SIZES = [
    ("BertForSequenceClassification", {}, BASE + 768 * 768, 73),
    ("BertForSequenceClassification", MINILM, 6 * 12 * 384 * 384 + 384 * 384, 37),
    ("DistilBertForSequenceClassification", {}, BASE // 2, 36),
    ("XLNetForSequenceClassification", {}, LARGE + 24 * 1024 * 1024, 7 * 24),
    ("Wav2Vec2ForCTC", {}, BASE, 72),
    ("Wav2Vec2ForCTC", XLS_R, LARGE, 6 * 24),
    ("HubertForCTC", {}, BASE, 72),
    ("WavLMForCTC", {}, BASE, 72),
    ("Data2VecAudioForCTC", {}, BASE, 72),
    ("Wav2Vec2BertForCTC", {"vocab_size": 32}, 24 * 1024 * 1024 * (4 + 4 * 4), 8 * 24),
    ("WhisperForConditionalGeneration", {}, 4 * (4 * 384 * 384 + 2 * 384 * 1536), 24),
]


@pytest.mark.parametrize(("name", "options", "entries", "tensors"), SIZES)
def test_counts_at_full_size(name, options, entries, tensors):
    cls = getattr(transformers, name)
    with torch.device("meta"):  # without memory for them
        model = cls(cls.config_class(**options))
    parameters = dict(model.named_parameters())
    chosen = prunable_parameters(model)
    assert (sum(parameters[n].numel() for n in chosen), len(chosen)) == (entries, tensors)
    assert options != XLS_R or any("adapter" in name for name in parameters)


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
