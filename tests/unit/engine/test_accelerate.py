"""Models run sparse: the same outputs, nothing where it does not win, a choice that can be kept."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from small_model import random_state
from torch import nn
from torch.nn.utils import prune as prune_hooks

from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.engine import EngineError, accelerate, acceleration
from parp_fairseq.engine.groups import activation_named
from parp_fairseq.engine.sparse_modules import SparseLinear
from parp_fairseq.evaluation.fairseq_model import build_model
from parp_fairseq.kernels import native

pytestmark = pytest.mark.skipif(not native.available(), reason="no compiled kernels")


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
MODELS = {
    **dict.fromkeys(("Wav2Vec2", "Hubert", "Data2VecAudio", "WavLM"), SPEECH),
    "Bert": TEXT,
    "DistilBert": DISTIL,
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers(name, always, tmp_path):
    transformers = pytest.importorskip("transformers")
    options = MODELS[name]
    cls = getattr(transformers, f"{name}{'ForCTC' if options is SPEECH else 'Model'}")
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
    kinds = [decision.kind for decision in found.decisions]
    assert kinds.count("feed forward") == 2, found.render()
    assert found.replaced == len([d for d in found.decisions if d.sparsity > 0.3]) > 0
    torch.testing.assert_close(after[0], before, rtol=0, atol=1e-4)
    assert torch.equal(after[0], after[1])
    # Saved as the dense model.
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        assert torch.equal(cls.from_pretrained(tmp_path).eval()(**inputs)[0], before)
    with pytest.raises(EngineError, match="is for inference"):
        model(**inputs)[0].sum().backward()
    with pytest.raises(RuntimeError, match="load the weights before"):
        model.load_state_dict(model.state_dict())


@pytest.mark.legacy
def test_fairseqs_wav2vec(always, tmp_path):
    torch.save(random_state(sparsity=0.9), tmp_path / "model.pt")
    model = build_model(open_finetuned(tmp_path / "model.pt"))
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
    assert sorted(kinds) == ["feed forward"] * 2 + ["linear"] * 8
    assert f"10 of {len(found.decisions)} groups run sparse" in found.render()


def test_a_choice_is_kept_and_forced(always):
    parts = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)]
    model = prune(nn.Sequential(*parts))
    choice = {"0": True, "2": False}
    found = accelerate(model, choice=choice)
    assert found.choice == choice
    assert type(model[2]) is nn.Linear and type(model[0]) is not nn.Linear
    with pytest.raises(EngineError, match="the choice is of another model: it differs in 1"):
        accelerate(prune(nn.Sequential(*parts)), choice={"0": True, "1": True})
    with pytest.raises(EngineError, match="give lengths of 1 or more"):
        accelerate(model, frames=(100, 0))
    # What was replaced is no linear any more.
    assert [d.name for d in accelerate(model).decisions] == ["2"]


def test_without_compiled_kernels_all_stays_dense(monkeypatch, always):
    monkeypatch.setenv(native.VARIABLE, native.REFERENCE)
    model = prune(nn.Sequential(nn.Linear(64, 64)))
    found = accelerate(model)
    assert (found.replaced, found.level) == (0, native.REFERENCE)


class Odd(torch.Tensor):
    """A tensor of another class, as quantisers have them."""


def odd_linear():
    linear = nn.Linear(2, 2)
    linear.weight = nn.Parameter(torch.ones(2, 2).as_subclass(Odd))
    return linear


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
        (
            nn.Sequential(prune_hooks.identity(nn.Linear(2, 2), "weight")).eval(),
            r"^0 is pruned by torch.nn.utils.prune; call torch.nn.utils.prune.remove",
        ),
        (nn.Sequential(odd_linear()).eval(), "the weight of 0 is a Odd; give plain float32"),
    ],
)
def test_what_cannot_be_run_is_refused(model, message):
    with pytest.raises(EngineError, match=message):
        accelerate(model)


class Attention(nn.Module):
    """Changes its input in place."""

    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        x = x.clone()
        q = self.q_proj(x)
        k = self.k_proj(x.add_(1))
        return q @ k.T @ self.v_proj(x.mul_(2))


def reference_gelu(x):
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


ACTIVATIONS = [
    *((nn.GELU(), "gelu"), (reference_gelu, "gelu"), (nn.ReLU(), "relu"), (nn.ReLU6(), None)),
    *((nn.Hardtanh(0, 1e9), None), (lambda x: nn.functional.gelu(x).clamp(-10, 10), None)),
    *((nn.GELU("tanh"), None), (nn.SiLU(), None), (nn.Identity(), None), (torch.relu_, "relu")),
    *((nn.Threshold(1e-3, 0), None), (lambda x: x.relu() / x.abs().max().clamp(30), None)),
    (lambda x: x * (x >= x.topk(4, -1).values[..., -1:]), None),
]


class Layer(nn.Module):
    """A feed-forward part in fairseq's names."""

    def __init__(self, forward, activation=None):
        super().__init__()
        self.activation_fn = activation or nn.GELU()
        self.fc1, self.fc2 = nn.Linear(8, 32), nn.Linear(32, 8)
        self.norm = nn.LayerNorm(32)
        self.forward = partial(forward, self)


def in_turn(part, x, scale=None):
    hidden = part.activation_fn(part.fc1(x))
    return part.fc2(hidden if scale is None else hidden.mul_(scale))


def uses_hidden(part, x):
    hidden = part.activation_fn(part.fc1(x))
    return part.fc2(hidden) + hidden.mean(-1, keepdim=True)


def uses_second_twice(part, x):
    hidden = part.fc1(x)
    return part.fc2(part.activation_fn(hidden)) + part.fc2(hidden)


WIRINGS = {
    "in turn": in_turn,
    "a tuple": lambda part, x: (None, {"x": in_turn(part, x)}),
    "a mask": lambda part, x, mask: in_turn(part, x),
    "view": lambda part, x: in_turn(part, x.reshape(-1, 8)).view_as(x),
    "scaled": lambda part, x: part.fc2(part.activation_fn(part.fc1(x)) * 0.5),
    "scaled in place": lambda part, x: in_turn(part, x, 0.5),
    "scaled where large": lambda part, x: in_turn(part, x, None if x.abs().max() < 90 else 0.1),
    "scaled where small": lambda part, x: in_turn(part, x, None if x.abs().max() > 90 else 0.1),
    "norm": lambda part, x: part.fc2(part.norm(part.activation_fn(part.fc1(x)))),
    "hidden used": uses_hidden,
    "active before": lambda part, x: in_turn(part, part.activation_fn(x)),
    "branch": uses_second_twice,
    "weight read": lambda part, x: in_turn(part, x) @ part.fc2.weight,
    "first by hand": lambda part, x: part.fc2(part.activation_fn(x @ part.fc1.weight.T)),
    "needs more": lambda part, x, scale: in_turn(part, x, scale.exp()),
    "random": lambda part, x: in_turn(part, x) + torch.rand(()),
}
AS_ONE = ("in turn", "a tuple", "a mask", "view", "weight read")


def outputs(model, *inputs):
    torch.manual_seed(1)
    with torch.no_grad():
        found = model(*inputs)
    return found[1]["x"] if isinstance(found, tuple) else found


def kinds_in(model):
    return [decision.kind for decision in accelerate(model).decisions]


@pytest.mark.parametrize("name", WIRINGS)
def test_a_feed_forward_part_runs_as_one_only_if_it_is_nothing_else(name, always):
    model = prune(Layer(WIRINGS[name]), 0.5)
    more = {"a mask": (None,), "needs more": (torch.ones(()),)}.get(name, ())
    inputs = [(scale * torch.randn(5, 8), *more) for scale in (1, 100)]
    before = [outputs(model, *one) for one in inputs]
    assert kinds_in(model) == (["feed forward"] if name in AS_ONE else ["linear"] * 2)
    for one, expected in zip(inputs, before):
        torch.testing.assert_close(outputs(model, *one), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("activation", "name"), ACTIVATIONS)
def test_activations_are_known_by_what_they_compute(activation, name, always):
    assert activation_named(activation) == name
    model = prune(Layer(in_turn, activation), 0.5)
    x = 300 * torch.randn(20, 8)
    before = outputs(model, x)
    assert kinds_in(model) == (["feed forward"] if name else ["linear"] * 2)
    torch.testing.assert_close(outputs(model, x), before, rtol=1e-4, atol=1e-4)


LATER = {
    "scaled in place": in_turn,
    "without activation": lambda part, x, _: part.fc2(part.fc1(x)),
    "activation twice": lambda part, x, _: in_turn_twice(part, x),
    "activation elsewhere": lambda part, x, _: part.activation_fn(x),
    "hidden returned": lambda part, x, _: part.activation_fn(part.fc1(x)) + 0,
    "second alone": lambda part, x, _: part.fc2(torch.randn(3, 32)),
}


def in_turn_twice(part, x):
    return part.fc2(part.activation_fn(part.activation_fn(part.fc1(x))))


@pytest.mark.parametrize("activation", [None, nn.functional.gelu])
@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("inference", [True, False])
def test_what_is_called_otherwise_later_is_refused(always, inference, name, activation):
    def forward(part, x, flag=None):
        return in_turn(part, x) if flag is None else LATER[name](part, x, flag)

    model = prune(Layer(forward, activation))
    assert kinds_in(model) == ["feed forward"]
    with torch.inference_mode(inference), torch.no_grad():
        model(torch.randn(3, 8))
        with pytest.raises(EngineError, match="called in another way"):
            model(torch.randn(3, 8), 0.5)


def test_hooks_are_not_lost(always):
    model = prune(nn.Sequential(Layer(in_turn), nn.Linear(8, 8), nn.Linear(8, 8)))
    seen = []
    for module in (model[0].fc1, model[1]):
        module.register_forward_hook(lambda *_: seen.append(1))
    assert [d.name for d in accelerate(model).decisions] == ["0.fc2", "2"]
    model(torch.randn(2, 8))
    assert len(seen) == 2


def test_a_forward_of_a_linears_own_is_not_lost(always):
    """As accelerate's hooks put it there."""
    model = prune(nn.Sequential(Layer(in_turn), nn.Linear(8, 8), nn.Linear(8, 8)))
    for part in (model[0].fc1, model[1]):
        part.forward = lambda x, forward=part.forward: 3 * forward(x)
    x = torch.randn(2, 8)
    before = outputs(model, x)
    assert [d.name for d in accelerate(model).decisions] == ["0.fc2", "2"]
    torch.testing.assert_close(outputs(model, x), before)


def test_torchs_own_transformer_keeps_its_linears(always):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = prune(nn.Sequential(layer, nn.Linear(16, 16)))
    x = torch.randn(2, 5, 16)
    with torch.inference_mode():
        before = model(x)
        assert [d.name for d in accelerate(model).decisions] == ["1"]
        torch.testing.assert_close(model(x), before, rtol=0, atol=1e-5)


def test_a_weight_can_still_be_read(always):
    model = prune(nn.Sequential(nn.Linear(8, 8), Attention()))
    x = torch.randn(5, 8)
    before = outputs(model, x)
    expected = {
        name: part.weight for name, part in model.named_modules() if hasattr(part, "weight")
    }
    accelerate(model)
    assert isinstance(model[0], SparseLinear) and len(expected) == 4
    for name, weight in expected.items():
        assert torch.equal(model.get_submodule(name).weight, weight)
    torch.testing.assert_close(outputs(model, x), before)
    with pytest.raises(EngineError, match="cannot be traced"), torch.no_grad():
        torch.jit.trace(model, x)
    copied = copy.deepcopy(model)
    assert torch.equal(copied[0](torch.ones(1, 8)), model[0](torch.ones(1, 8)))


@pytest.mark.legacy
def test_fairseqs_attention_in_encoder_and_decoder(always):
    from fairseq.modules import MultiheadAttention

    torch.manual_seed(2)
    model = prune(MultiheadAttention(64, 4, dropout=0.1, self_attention=True))
    x, padding = torch.randn(37, 3, 64), torch.zeros(3, 37, dtype=torch.bool)
    padding[1, 30:] = padding[2, 5:] = True
    future = torch.full((37, 37), float("-inf")).triu(1)

    def outputs():
        options = ({"key_padding_mask": padding}, {"attn_mask": future}, {"need_weights": True})
        whole = [part for one in options for part in model(x, x, x, **one)]
        state: dict = {}
        return whole + [model(one, one, one, incremental_state=state)[0] for one in x.split(1)]

    with torch.inference_mode():
        before = outputs()
        assert accelerate(model).replaced == 4
        torch.testing.assert_close(outputs(), before, atol=1e-5, rtol=0)


def test_a_win_within_the_noise_is_none(monkeypatch):
    monkeypatch.setattr(acceleration, "LEAST_ENTRIES", 0)
    times = {100: (1.0, 0.5), 500: (1.0, 0.95)}
    monkeypatch.setattr(acceleration, "_time", lambda *given: times[given[-1]])
    for frames, replaced in (((100,), 1), ((500,), 0), ((100, 500), 0)):
        found = accelerate(prune(nn.Sequential(nn.Linear(64, 64))), frames=frames)
        assert found.replaced == replaced
        assert found.decisions[0].sparse_ms == times[frames[-1]][1]


def test_what_clearly_wins_needs_no_measurement(monkeypatch):
    monkeypatch.setattr(acceleration, "_time", None)
    layers_of = [nn.Linear(200, 200) for _ in range(4)]
    with torch.no_grad():
        for layer, kept in zip(layers_of, (1.0, 0.3, 0.25, 0.1)):
            layer.weight.flatten()[int(kept * layer.weight.numel()) :] = 0
    small = nn.Linear(20, 20)
    nn.init.zeros_(small.weight)
    model = nn.Sequential(*layers_of, small).eval()
    decisions = accelerate(model, clear=0.75).decisions
    assert [decision.sparse for decision in decisions] == [False, False, True, True, False]
    assert all(decision.dense_ms is None for decision in decisions)
