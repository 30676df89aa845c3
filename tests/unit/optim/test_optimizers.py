"""fairseq's own half-precision optimizers around ours, step by step."""

import io

import pytest
import torch
from fairseq.optim import AMPOptimizer, FP16Optimizer, MemoryEfficientFP16Optimizer
from omegaconf import OmegaConf

from parp_fairseq import optim  # noqa: F401 (registers the optimizer)
from parp_fairseq.errors import UserError
from parp_fairseq.optim.parp import optimized_weights, parp_optimizer
from parp_fairseq.pruning import Pruner, SparsitySchedule, magnitude_mask

KINDS = {
    "fp16 flat": (FP16Optimizer, torch.float16, {}),
    "fp16": (FP16Optimizer, torch.float16, {"fp16_no_flatten_grads": True}),
    "bf16": (FP16Optimizer, torch.bfloat16, {"bf16": True}),
    "memory-efficient fp16": (MemoryEfficientFP16Optimizer, torch.float16, {}),
    "memory-efficient bf16": (MemoryEfficientFP16Optimizer, torch.bfloat16, {"bf16": True}),
    "amp": (AMPOptimizer, torch.float32, {}),
}
MASTERS = ("fp16 flat", "fp16", "bf16")


ADAM = {
    **{"_name": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-8, "weight_decay": 0.0},
    **{"use_old_adam": True, "fp16_adam_stats": False, "tpu": False, "lr": [0.05]},
}
COMMON = {
    **{"fp16_init_scale": 4, "fp16_scale_window": 1000, "fp16_scale_tolerance": 0.0},
    **{"threshold_loss_scale": None, "min_loss_scale": 1e-4, "fp16_no_flatten_grads": False},
    **{"bf16": False, "model_parallel_size": 1},
}


def config(**common):
    return OmegaConf.create(
        {
            "optimizer": {"_name": "parp", "base": ADAM},
            "common": {**COMMON, **common},
            "optimization": {"update_freq": [1]},
            "distributed_training": {"distributed_world_size": 1},
        }
    )


class Training:
    """A few matrices pulled towards a target, with weights outside the Pruner among them."""

    def __init__(self, kind, monkeypatch):
        # The flat vector is made "on the current device", which only CUDA has.
        monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
        wrapper, dtype, common = KINDS[kind]
        generator = torch.Generator().manual_seed(0)
        self.parameters = {
            name: torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype))
            for name, shape in {"first": (7,), "b": (6, 5), "between": (3,), "a": (4, 9)}.items()
        }
        self.target = torch.randn(36, generator=generator)
        params = list(self.parameters.values())
        self.optimizer = wrapper.build_optimizer(config(**common), params)
        self.prunable = {name: self.parameters[name] for name in ("a", "b")}
        self.weights = optimized_weights(self.optimizer, self.prunable)

    def step(self):
        self.optimizer.zero_grad()
        loss = sum(
            (p.float().flatten() - self.target[: p.numel()]).pow(2).sum()
            for p in self.parameters.values()
        )
        self.optimizer.backward(loss)
        self.optimizer.multiply_grads(1.0)
        self.optimizer.clip_grad_norm(0.0)
        self.optimizer.step()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_finds_what_the_optimizer_updates(kind, monkeypatch):
    training = Training(kind, monkeypatch)
    updated, copies = training.weights
    assert bool(copies) == (kind in MASTERS)
    assert {tensor.dtype for tensor in updated.values()} == (
        {torch.float32} if kind in MASTERS else {KINDS[kind][1]}
    )
    training.step()
    for name, parameter in training.prunable.items():
        assert torch.equal(updated[name].to(parameter.dtype), parameter.data)
    updated["a"].fill_(2.0)
    if kind in MASTERS:
        training.step()
    # 2.0 was where the step began, in the model too: no other value of 0.05 a step leads there.
    assert bool((training.prunable["a"].data - 2.0).abs().max() < 0.2)


def test_prunes_masters_and_lets_weights_come_back_from_zero(kind, monkeypatch):
    training = Training(kind, monkeypatch)
    updated, copies = training.weights
    pruner = Pruner(SparsitySchedule(final=0.5), interval=2, total_updates=6)
    pruner.start(updated, magnitude_mask(updated, 0.5), copies=copies)
    for update in range(6):
        pruner.begin_update(0, update)
        pruned = {name: weight == 0 for name, weight in training.prunable.items()}
        training.step()
        if update % 2 == 0:
            # One step of Adam from zero is at most the learning rate (about): no old value is back.
            for name, weight in training.prunable.items():
                assert 0 < float(weight.detach()[pruned[name]].abs().max()) < 0.11
        theta = {name: weight.clone() for name, weight in updated.items()}
        model = {name: weight.data.clone() for name, weight in training.prunable.items()}
        pruner.end_update(update + 1)
        if update % 2 == 0:
            # A validation between two prunings changes neither masters nor model.
            pruner.apply_mask()
            shown = sum(int((weight == 0).sum()) for weight in training.prunable.values())
            assert shown == round(0.5 * 66)
            pruner.restore_weights()
            assert all(torch.equal(updated[name], theta[name]) for name in theta)
            assert all(torch.equal(p.data, model[n]) for n, p in training.prunable.items())
        else:
            mask = magnitude_mask(theta, 0.5)
            for name, weight in training.prunable.items():
                expected = theta[name] * mask[name]
                assert torch.equal(updated[name], expected)
                assert torch.equal(weight.data, expected.to(weight.dtype))
    assert pruner.events == 3


@pytest.mark.parametrize("kind", MASTERS)
def test_a_resumed_run_has_its_masters(kind, monkeypatch):
    def begin():
        training = Training(kind, monkeypatch)
        return training, Pruner(SparsitySchedule(final=0.5), interval=3, total_updates=6)

    def play(training, pruner, updates):
        for update in updates:
            pruner.begin_update(0, update)
            training.step()
            pruner.end_update(update + 1)

    training, pruner = begin()
    updated, copies = training.weights
    parp_optimizer(training.optimizer).attach(pruner, masters=True)
    pruner.start(updated, magnitude_mask(updated, 0.5), copies=copies)
    play(training, pruner, range(4))
    pruner.apply_mask()
    model = {name: p.data.clone() for name, p in training.parameters.items()}
    state = training.optimizer.state_dict()
    # What a file would hold.
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    state = torch.load(stream, weights_only=True)
    pruner.restore_weights()
    play(training, pruner, range(4, 6))

    again, after = begin()
    for name, parameter in again.parameters.items():
        parameter.data.copy_(model[name])
    again.optimizer = KINDS[kind][0].build_optimizer(
        config(**KINDS[kind][2]), list(again.parameters.values())
    )
    again.weights = optimized_weights(again.optimizer, again.prunable)
    again.optimizer.load_state_dict(state)
    loaded = parp_optimizer(again.optimizer).attach(after, masters=True)
    after.restore(again.weights.updated, loaded, again.weights.copies)
    play(again, after, range(4, 6))
    for name in updated:
        assert torch.equal(again.weights.updated[name], updated[name])
    for name, parameter in training.parameters.items():
        assert torch.equal(again.parameters[name].data, parameter.data)


def test_another_precision_is_refused(monkeypatch):
    inner = parp_optimizer(Training("bf16", monkeypatch).optimizer)
    inner._loaded = {"masters": []}
    with pytest.raises(UserError, match="another precision"):
        inner.attach(Pruner(SparsitySchedule(final=0.5)), masters=True)


def test_an_overflow_under_amp_is_no_step(monkeypatch):
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda **kw: scaler("cpu", **kw))
    training = Training("amp", monkeypatch)
    inner = parp_optimizer(training.optimizer)
    training.step()
    assert inner.steps == 1
    before = [parameter.data.clone() for parameter in training.parameters.values()]
    training.target[0] = float("inf")
    training.step()
    assert inner.steps == 1
    assert all(map(torch.equal, training.parameters.values(), before))
