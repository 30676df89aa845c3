"""Models run sparse: the same outputs, nothing where it does not win, a choice that can be kept."""

from __future__ import annotations

import json

import pytest
import torch
from small_model import random_state
from torch import nn

from parp_fairseq.checkpoints.dictionary import dictionary_from
from parp_fairseq.engine import EngineError, accelerate, acceleration
from parp_fairseq.engine.groups import activation_named, find_groups
from parp_fairseq.kernels import library

pytestmark = pytest.mark.skipif(not library.available(), reason="no compiled kernels")


@pytest.fixture
def always(monkeypatch):
    """Take sparse whatever the measurement says: in small models it loses."""
    monkeypatch.setattr(acceleration, "MARGIN", float("inf"))
    monkeypatch.setattr(acceleration, "LEAST_ENTRIES", 0)


def prune(model, sparsity=0.9):
    """Zero most weights of every linear."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.Linear):
            keep = torch.rand(part.weight.shape, generator=generator) > sparsity
            part.weight.data *= keep
    return model.eval()


SIZE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SPEECH = {
    **SIZE,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 9,
}
TEXT = {**SIZE, "vocab_size": 30}
DISTIL = {"vocab_size": 30, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
BOTH = {"shared input": 2, "feed forward": 2}
# Groups: in each layer q, k and v as one, and both feed-forward linears as one.
MODELS = {
    "Wav2Vec2ForCTC": (SPEECH, BOTH),
    "HubertForCTC": (SPEECH, BOTH),
    "Data2VecAudioForCTC": (SPEECH, BOTH),
    "WavLMForCTC": (SPEECH, {"feed forward": 2}),
    "BertModel": (TEXT, BOTH),
    "DistilBertModel": (DISTIL, BOTH),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers(name, always):
    transformers = pytest.importorskip("transformers")
    cls = getattr(transformers, name)
    options, kinds = MODELS[name]
    torch.manual_seed(1)
    model = prune(cls(cls.config_class(**options)))
    if options["vocab_size"] == 30:
        inputs = {"input_ids": torch.randint(30, (2, 11)), "attention_mask": torch.ones(2, 11)}
        inputs["attention_mask"][1, 7:] = 0
    else:
        inputs = {"input_values": torch.randn(2, 3000)}
    with torch.inference_mode():
        before = model(**inputs)[0]
        found = accelerate(model)
        after = [model(**inputs)[0] for _ in range(2)]
    for kind, count in kinds.items():
        assert sum(d.kind == kind for d in found.decisions) == count, found.render()
    assert found.replaced == len([d for d in found.decisions if d.sparsity > 0.3]) > 0
    torch.testing.assert_close(after[0], before, rtol=0, atol=1e-4)
    assert torch.equal(after[0], after[1])


def fairseq_model():
    from fairseq import tasks
    from omegaconf import OmegaConf

    state = random_state(sparsity=0.9)
    root = OmegaConf.create({**state["cfg"], "task": {**state["cfg"]["task"]}})
    root.task._name = "audio_finetuning"
    for key in ("prune", "folder"):
        root.task.pop(key)
    task = tasks.setup_task(root.task)
    lists = state["task_state"]["parp_symbols"]
    task.load_state_dict({"target_dictionary": dictionary_from(lists)})
    model = task.build_model(root.model)
    model.load_state_dict(state["model"])
    return model.eval()


@pytest.mark.legacy
def test_fairseqs_wav2vec(always):
    model = fairseq_model()
    source = torch.randn(2, 9000)
    padding = torch.zeros(2, 9000, dtype=torch.bool)
    padding[1, 6000:] = True
    with torch.no_grad():
        before = model(source=source, padding_mask=padding)["encoder_out"]
        found = accelerate(model)
        after = model(source=source, padding_mask=padding)["encoder_out"]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    kinds = [d.kind for d in found.decisions if d.sparse]
    # The head and the projection behind the convolutions hold no zeros.
    assert sorted(kinds) == ["feed forward"] * 2 + ["linear"] * 2 + ["shared input"] * 2
    assert f"6 of {len(found.decisions)} groups run sparse" in found.render()


def test_a_choice_is_kept_and_forced(always):
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)]
    model = prune(nn.Sequential(*layers))
    choice = {"0": True, "2": False}
    found = accelerate(model, choice=choice)
    assert found.choice == choice
    assert type(model[2]) is nn.Linear and type(model[0]) is not nn.Linear
    assert json.loads(json.dumps(found.to_json()))["choice"] == choice
    with pytest.raises(EngineError, match="the choice is of another model: it differs in 1"):
        accelerate(prune(nn.Sequential(*layers)), choice={"0": True, "1": True})
    # What was replaced is no linear any more.
    assert [d.name for d in accelerate(model).decisions] == ["2"]


def test_dense_layers_stay_dense_whatever_they_are():
    model = nn.Sequential(nn.Linear(256, 256)).eval()
    assert accelerate(model).replaced == 0
    assert type(model[0]) is nn.Linear


def test_without_compiled_kernels_all_stays_dense(monkeypatch, always):
    monkeypatch.setenv(library.VARIABLE, library.REFERENCE)
    model = prune(nn.Sequential(nn.Linear(64, 64)))
    found = accelerate(model)
    assert (found.replaced, found.level) == (0, library.REFERENCE)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2), "training mode"),
        (nn.Linear(2, 2).half().eval(), r"float16; call model\.float"),
        (nn.Linear(2, 2, device="meta").eval(), "is on meta; move the model to the CPU"),
        (
            torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2)).eval()),
            "quantised already",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(model, message):
    with pytest.raises(EngineError, match=message):
        accelerate(model)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(4, 4) for _ in range(3))


def test_attention_between_two_inputs_is_not_shared():
    model = nn.ModuleDict({"self_attn": Attention(), "encoder_attn": Attention()})
    kinds = {group.key: group.kind for group in find_groups(model)}
    assert kinds["self_attn.q_proj+k_proj+v_proj"] == "shared input"
    assert kinds["encoder_attn.k_proj"] == "linear"


def test_activations_are_told_by_what_they_do():
    assert activation_named(nn.GELU()) == "gelu"
    assert activation_named(lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))) == "gelu"
    assert activation_named(nn.ReLU()) == "relu"
    for other in (nn.GELU("tanh"), nn.SiLU(), nn.Identity(), None, "gelu"):
        assert activation_named(other) is None
