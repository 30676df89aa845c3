import copy
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch

transformers = pytest.importorskip("transformers")

from running import entries, zeros  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402
from trainings import (  # noqa: E402
    pictures,
    sentences,
    sounds,
    tiny_bert,
    tiny_gpt2,
    tiny_t5,
    tiny_vit,
    tiny_wav2vec2,
    tiny_wavlm,
    tiny_xlnet,
    trainer,
)

from parp_fairseq.checkpoints.mask_files import save_mask  # noqa: E402
from parp_fairseq.errors import UserError  # noqa: E402
from parp_fairseq.hf import PruningCallback, prunable_parameters  # noqa: E402
from parp_fairseq.hf.unsupported import check_training  # noqa: E402
from parp_fairseq.pruning import iou, magnitude_mask  # noqa: E402

RAMP = {"initial_sparsity": 0.2, "rise": 0.5}


class Watch(transformers.TrainerCallback):
    """Calls a function at these events."""

    def __init__(self, see, *events):
        for event in events or ("on_step_end",):
            setattr(self, event, self.call)
        self.see = see

    def call(self, args, state, control, model=None, **kwargs):
        self.see(state, model, control)


def same(model, other):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def stop_after(step):
    def see(state, model, control):
        control.should_training_stop = state.global_step == step

    return Watch(see)


class InterruptAfter(transformers.TrainerCallback):
    """Ends the training once a checkpoint of this update could be written."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step > self.step:
            raise KeyboardInterrupt


def scope_of(model):
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach() for name in prunable_parameters(model)}


def zeros_in(folder, names):
    """Share of zeros, counted in the file by numpy only."""
    tensors = load_file(str(folder / "model.safetensors"))
    chosen = [tensors[name] for name in names]
    return sum(int((t == 0).sum()) for t in chosen) / sum(t.size for t in chosen)


@pytest.mark.parametrize(
    ("make", "data"), [(tiny_bert, None), (tiny_xlnet, None), (tiny_wav2vec2, sounds())]
)
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("parp", {"interval": 3}),
        ("parp_p", {"interval": 2, **RAMP}),
        ("gmp", {"interval": 2, **RAMP}),
        ("nested", {"interval": 2, "sparsities": [0.8], **RAMP}),
        ("mpi", {}),
        ("rp", {}),
        ("rp", {"initial": "random_init"}),
    ],
)
def test_ends_with_exactly_the_sparsity_in_model_and_file(tmp_path, make, data, method, options):
    model = make()
    callback = PruningCallback(method, 0.6, **options)
    run = trainer(tmp_path, model, callback, data=data)
    run.train()
    run.save_model(str(tmp_path / "end"))
    weights = scope_of(model)
    total = entries(weights)
    assert zeros(weights) == round(0.6 * total)
    assert zeros_in(tmp_path / "end", weights) == round(0.6 * total) / total
    assert callback.mask.kept == total - round(0.6 * total)
    loaded = type(model).from_pretrained(tmp_path / "end")
    same(loaded, model)
    assert not any(
        module._forward_pre_hooks or module._state_dict_hooks for module in model.modules()
    )
    assert not any("parp" in name for name in vars(model))


def test_dense_is_the_plain_trainer(tmp_path):
    plain, model = tiny_bert(), tiny_bert()
    trainer(tmp_path / "a", plain).train()
    trainer(tmp_path / "b", model, PruningCallback("dense", 0.0)).train()
    same(plain, model)


def test_parp_is_algorithm_1(tmp_path):
    model, oracle = tiny_bert(), tiny_bert()
    names = list(scope_of(oracle))

    def prune(state, net, control=None):
        if state.global_step % 3 == 0 or state.global_step == 8:
            weights = scope_of(net)
            mask = magnitude_mask(weights, 0.6)
            for name in names:
                weights[name].mul_(mask[name])

    prune(transformers.TrainerState(global_step=0), oracle)
    trainer(tmp_path / "a", oracle, Watch(prune)).train()
    trainer(tmp_path / "b", model, PruningCallback("parp", 0.6, interval=3)).train()
    same(oracle, model)


OFTEN = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
MODELS = {
    "bert": (partial(tiny_bert, dropout=0.0), None, ()),
    # Reads weights without calling the modules that own them.
    "wavlm": (tiny_wavlm, sounds(), ()),
    # One parameter under several names.
    "gpt2": (tiny_gpt2, sentences(), ("wte.weight", "c_fc.weight")),
    "t5": (tiny_t5, sentences(), ("shared.weight", "wi.weight")),
}


def mask_of(model, include):
    parameters = dict(model.named_parameters())
    weights = {n: parameters[n].detach() for n in prunable_parameters(model, include)}
    return weights, magnitude_mask(weights, 0.6)


@pytest.mark.parametrize("kind", MODELS)
def test_scores_and_files_are_of_the_subnetwork_and_training_continues_with_theta(tmp_path, kind):
    make, data, include = MODELS[kind]
    theta, looked = {}, {}

    def see(state, model, control):
        theta[state.global_step] = {n: p.detach().clone() for n, p in model.named_parameters()}

    def run_of(folder, **options):
        model = make()
        callback = PruningCallback("parp", 0.6, interval=4, include=include)
        watch = Watch(see, "on_step_begin")
        run = trainer(folder, model, callback, watch, data=data, **options)
        run.train()
        return model, run

    run_of(tmp_path / "a")
    looked, theta = theta, {}
    model, run = run_of(tmp_path / "b", load_best_model_at_end=True, **OFTEN)
    for step, weights in looked.items():
        assert all(torch.equal(weight, theta[step][n]) for n, weight in weights.items()), step
    losses = {e["step"]: e["eval_loss"] for e in run.state.log_history if "eval_loss" in e}
    for step in (2, 3, 6):
        oracle = make()
        oracle.load_state_dict(theta[step], strict=False)
        weights, mask = mask_of(oracle, include)
        assert zeros(weights) < 0.5 * entries(weights)
        mask.zero_(weights)
        loaded = type(model).from_pretrained(tmp_path / "b" / f"checkpoint-{step}")
        same(oracle, loaded)
        assert trainer(tmp_path / "c", loaded, data=data).evaluate()["eval_loss"] == losses[step]
    same(model, type(model).from_pretrained(run.state.best_model_checkpoint))


LOOKS = ["epoch_begin", "optimizer_step", "step_end", "log", "save", "evaluate", "epoch_end"]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("before", [True, False])
def test_whoever_looks_between_updates_sees_the_subnetwork(tmp_path, kind, before):
    """Before or after this callback in the list; by copying, saving or scoring."""
    make, data, include = MODELS[kind]
    seen, copies = [], []

    def see(state, model, control):
        weights, _ = mask_of(model, include)
        assert zeros(weights) == round(0.6 * entries(weights))
        seen.append(state.global_step)
        if state.global_step == 3 and not copies:
            copies.append(copy.deepcopy(model))
            model.save_pretrained(tmp_path / "saved")
            logged = run.evaluate()["eval_loss"]
            assert trainer(tmp_path / "c", copies[0], data=data).evaluate()["eval_loss"] == logged

    watch = Watch(see, *(f"on_{name}" for name in [*LOOKS, "train_end"]))
    model, callback = make(), PruningCallback("parp", 0.6, interval=4, include=include)
    run = trainer(tmp_path, model, *[watch] * before, data=data, **OFTEN)
    run.add_callback(callback)
    if not before:
        run.add_callback(watch)
    run.train()
    assert len(seen) > 8 * 4
    copies[0].save_pretrained(tmp_path / "copy")
    for folder in ("saved", "copy"):
        same(copies[0], type(model).from_pretrained(tmp_path / folder))
    # The copy is a plain model.
    another = PruningCallback("mpi", 0.7, include=include)
    trainer(tmp_path / "d", copies[0], another, data=data, max_steps=1).train()
    weights, _ = mask_of(copies[0], include)
    assert zeros(weights) == round(0.7 * entries(weights))


class Inside(transformers.Trainer):
    """Saves and scores in the middle of an update, before the backward pass."""

    def compute_loss(self, model, inputs, *arguments, **options):
        loss = super().compute_loss(model, inputs, *arguments, **options)
        model.save_pretrained(f"{self.args.output_dir}/{self.state.global_step}")
        model.eval()
        with torch.no_grad():
            model(**inputs)
        model.train()
        return loss


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_inside_of_an_update_files_are_of_the_subnetwork(tmp_path, kind):
    make, data, include = MODELS[kind]
    models = []
    for number, cls in enumerate((Inside, transformers.Trainer)):
        models.append(make())
        callback = PruningCallback("parp", 0.6, interval=4, include=include)
        options = {"data": data, "cls": cls, "gradient_accumulation_steps": 2}
        trainer(tmp_path / str(number), models[-1], callback, **options).train()
    same(*models)
    for step in range(8):
        weights, _ = mask_of(type(models[0]).from_pretrained(tmp_path / "0" / str(step)), include)
        assert zeros(weights) == round(0.6 * entries(weights))


def test_scores_inside_of_an_update_are_refused(tmp_path):
    watch = Watch(lambda *_: run.evaluate(), "on_substep_end")
    callback = PruningCallback("parp", 0.6, interval=4)
    run = trainer(tmp_path, tiny_bert(), callback, watch, gradient_accumulation_steps=2)
    with pytest.raises(UserError, match="evaluated inside of an update"):
        run.train()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("parp", {"interval": 4}),
        ("parp", {"interval": 1, "interval_unit": "epoch"}),
        ("parp_p", {"interval": 3, **RAMP}),
        ("gmp", {"interval": 3, **RAMP}),
        ("nested", {"interval": 3, "sparsities": [0.8], **RAMP}),
        ("rp", {}),
    ],
)
@pytest.mark.parametrize(("at", "kind"), [(3, "bert"), (6, "bert"), (6, "gpt2")])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, method, options, at, kind):
    make, data, include = MODELS[kind] if kind != "bert" else (tiny_bert, None, ())
    options = {**options, "include": include}
    every = {"save_strategy": "steps", "save_steps": 3, "gradient_accumulation_steps": 2}
    every["data"] = data
    whole = make()
    trainer(tmp_path / "a", whole, PruningCallback(method, 0.6, **options), **every).train()

    callback = PruningCallback(method, 0.6, **options)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "b", make(), callback, InterruptAfter(at), **every).train()
    model = make(seed=99)
    again = PruningCallback(method, 0.6, **options)
    trainer(tmp_path / "b", model, again, **every).train(resume_from_checkpoint=True)
    same(whole, model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A whole training, its model, and its checkpoint in the middle."""
    folder, model = tmp_path_factory.mktemp("trained"), tiny_bert()
    callback = PruningCallback("parp_p", 0.6, interval=2, **RAMP)
    trainer(folder, model, callback, save_strategy="steps", save_steps=4).train()
    return model, folder / "checkpoint-4"


def test_resuming_elsewhere_needs_the_folder(trained, tmp_path):
    model, source = trained
    options = {"interval": 2, **RAMP}
    lost = PruningCallback("parp_p", 0.6, **options)
    with pytest.raises(UserError, match=r"no parp.pt belongs to its weights .*resume_from="):
        trainer(tmp_path, tiny_bert(), lost).train(resume_from_checkpoint=str(source))
    found, again = PruningCallback("parp_p", 0.6, resume_from=source, **options), tiny_bert()
    trainer(tmp_path, again, found).train(resume_from_checkpoint=str(source))
    same(model, again)


@pytest.mark.parametrize(
    ("options", "steps", "reason"),
    [
        ({"sparsity": 0.7}, 8, "sparsity was 0.6"),
        ({"interval": 3}, 8, "interval was 2"),
        ({}, 12, "max_steps was 8"),
    ],
)
def test_resuming_under_other_options_is_refused(trained, options, steps, reason):
    _, source = trained
    other = PruningCallback("parp_p", **{"sparsity": 0.6, "interval": 2, **RAMP, **options})
    run = trainer(source.parent, tiny_bert(), other, max_steps=steps)
    with pytest.raises(UserError, match=reason):
        run.train(resume_from_checkpoint=str(source))


def test_a_damaged_state_is_refused(trained, tmp_path):
    _, source = trained
    copied = shutil.copytree(source, tmp_path / "checkpoint-4")
    (copied / "parp.pt").write_bytes((copied / "parp.pt").read_bytes()[:1000])
    run = trainer(tmp_path, tiny_bert(), PruningCallback("parp_p", 0.6, interval=2, **RAMP))
    with pytest.raises(UserError, match="not a readable pruning state"):
        run.train(resume_from_checkpoint=str(copied))


def test_the_best_is_the_best_at_the_target(tmp_path):
    model = tiny_bert()
    callback = PruningCallback("parp_p", 0.9, interval=1, initial_sparsity=0.0, rise=0.5)
    options = {
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "save_steps": 1,
        "eval_steps": 1,
        "load_best_model_at_end": True,
        "learning_rate": 1e-4,
    }
    run = trainer(tmp_path, model, callback, **options)
    run.train()
    logged = [entry for entry in run.state.log_history if "loss" in entry]
    assert [entry["sparsity"] for entry in logged] == pytest.approx(
        [0.225, 0.45, 0.675, *[0.9] * 5]
    )
    assert all(0 <= entry["mask_iou"] <= 1 and entry["threshold"] > 0 for entry in logged)
    assert all(0 <= entry["revived"] <= 1 for entry in logged)
    losses = {e["step"]: e["eval_loss"] for e in run.state.log_history if "eval_loss" in e}
    best = min((loss, step) for step, loss in losses.items() if step >= 4)
    assert run.state.best_metric == best[0]
    assert run.state.best_model_checkpoint.endswith(f"checkpoint-{best[1]}")
    weights = scope_of(model)
    assert zeros(weights) == round(0.9 * entries(weights))
    assert iou(callback.mask, magnitude_mask(weights, 0.9)) == 1.0


def test_an_early_end_leaves_the_subnetwork_and_says_what_it_lacks(tmp_path, caplog):
    model = tiny_bert()
    trainer(tmp_path, model, PruningCallback("parp", 0.6, interval=100), stop_after(2)).train()
    weights = scope_of(model)
    assert zeros(weights) == round(0.6 * entries(weights))
    model = tiny_bert()
    callback = PruningCallback("parp_p", 0.6, interval=1, initial_sparsity=0.0, rise=1.0)
    trainer(tmp_path, model, callback, stop_after(2)).train()
    assert zeros(scope_of(model)) == round(0.15 * entries(weights))
    assert "before the sparsity reached 0.6" in caplog.text


VIT = ["layers.*.attention.*_proj.weight", "layers.*.mlp.fc?.weight"]


# ViT's parameters are saved under other names.
@pytest.mark.parametrize(
    ("make", "data", "include"), [(tiny_bert, None, ()), (tiny_vit, pictures(), VIT)]
)
def test_masks_from_files_and_folders(tmp_path, make, data, include):
    dense = make()
    run = trainer(tmp_path / "dense", dense, data=data)
    run.train()
    run.save_model(str(tmp_path / "tuned"))
    one_shot = make()
    omp = PruningCallback("omp", 0.6, mask=tmp_path / "tuned", include=include)
    run = trainer(tmp_path / "omp", one_shot, omp, data=data)
    run.train()
    assert iou(omp.mask, mask_of(dense, include)[1]) == 1.0
    run.save_model(str(tmp_path / "sparse"))
    save_mask(omp.mask, tmp_path / "mask.safetensors")
    for mask in ("mask.safetensors", "sparse"):
        model = make()
        callback = PruningCallback("mask", 0.6, mask=tmp_path / mask, include=include)
        trainer(tmp_path / "m", model, callback, data=data).train()
        same(one_shot, model)
    given = str(tmp_path / "mask.safetensors")
    callback = PruningCallback("parp", 0.6, initial=given, include=include)
    trainer(tmp_path / "p", make(), callback, data=data).train()


def test_what_the_trainer_cannot_load_again_is_refused(tmp_path):
    def run_of(**options):
        callback = PruningCallback("parp", 0.6, interval=4, include=VIT)
        return trainer(tmp_path, tiny_vit(), callback, data=pictures(), **{**OFTEN, **options})

    with pytest.raises(UserError, match=r"saves vit\.layers\..* under another name"):
        run_of(load_best_model_at_end=True)
    run_of().train()
    with pytest.raises(UserError, match="under another name"):
        run_of(max_steps=12).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("sparsity", "layers", "method", "mask", "reason"),
    [
        (0.5, 2, "mask", "mask.safetensors", r"sparsity 0\.6.*begins at 0\.5.*set sparsity"),
        (0.6, 3, "mask", "mask.safetensors", "does not fit the model's prunable weights"),
        (0.6, 2, "omp", "nowhere", r"^mask is '.*nowhere': no such file"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, sparsity, layers, method, mask, reason):
    save_mask(magnitude_mask(scope_of(tiny_bert()), 0.6), tmp_path / "mask.safetensors")
    callback = PruningCallback(method, sparsity, mask=tmp_path / mask)
    with pytest.raises(UserError, match=reason):
        trainer(tmp_path / "run", tiny_bert(layers=layers), callback).train()


def test_one_pattern_and_biases_in_bf16(tmp_path):
    model = tiny_bert()
    pattern = "encoder.layer.*.output.dense"
    callback = PruningCallback("parp", 0.6, interval=3, include=pattern, biases=True)
    trainer(tmp_path, model, callback, bf16=True).train()
    names = list(callback.mask)
    assert len(names) == 2 * 4  # attention.output too ends so
    weights = {name: model.get_parameter(name) for name in names}
    assert zeros(weights) == round(0.6 * entries(weights))


def test_the_default_prunes_and_prunes_again_after_25_updates(tmp_path):
    model, callback = tiny_bert(), PruningCallback()
    seen, regrown = [], []

    def see(*_):
        seen.append((callback.pruner.events, zeros(scope_of(model))))
        regrown.append(callback.pruner.revived)

    watch = Watch(see)
    trainer(tmp_path, model, callback, watch, max_steps=60).train()
    half = round(0.5 * entries(scope_of(model)))
    assert [events for events, _ in seen] == [0] * 24 + [1] * 25 + [2] * 10 + [3]
    assert [seen[step - 1][1] for step in (25, 50, 60)] == [half] * 3
    assert zeros(scope_of(model)) == half and max(regrown) > 0


def test_interrupted_and_begun_again_in_one_process(tmp_path):
    model = tiny_bert()
    callback = PruningCallback("parp", 0.6, interval=4)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, model, callback, InterruptAfter(2)).train()
    model.save_pretrained(tmp_path / "stopped")
    names = scope_of(model)
    assert zeros_in(tmp_path / "stopped", names) == round(0.6 * entries(names)) / entries(names)
    trainer(tmp_path, model, PruningCallback("mpi", 0.5)).train()
    assert zeros(scope_of(model)) == round(0.5 * entries(names))


@pytest.mark.parametrize(
    "options",
    [{"gradient_checkpointing": True}, {"torch_compile": True, "torch_compile_backend": "eager"}],
)
def test_other_ways_to_the_same_weights(tmp_path, options):
    models = [tiny_wav2vec2(), tiny_wav2vec2()]
    for number, model in enumerate(models):
        callback = PruningCallback("parp", 0.6, interval=3)
        more = {**OFTEN, **(options if number else {})}
        trainer(tmp_path / str(number), model, callback, data=sounds(), **more).train()
    same(*models)


def test_wrong_options_are_refused_at_once():
    with pytest.raises(UserError, match=r"^method is 'prap'; did you mean parp"):
        PruningCallback("prap")
    with pytest.raises(TypeError, match="intervall"):
        PruningCallback(intervall=3)


ARGUMENTS = {"fsdp": "", "deepspeed": None, "n_gpu": 1, "optim": "adamw_torch"}


@pytest.mark.parametrize(
    ("arguments", "attributes", "reason"),
    [
        ({"fsdp": ["full_shard"]}, {}, "FSDP"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, {}, "DeepSpeed"),
        ({"n_gpu": 2}, {}, "DataParallel"),
        ({"optim": "schedule_free_adamw"}, {}, "schedule-free"),
        ({}, {"_orig_mod": None}, "torch_compile"),
        ({}, {"peft_config": {"default": None}}, "PEFT"),
        ({}, {"is_quantized": True}, "quantised"),
    ],
)
def test_trainings_that_cannot_be_right(arguments, attributes, reason):
    model = tiny_bert()
    check_training(SimpleNamespace(**ARGUMENTS), model)
    for name, value in attributes.items():
        object.__setattr__(model, name, value)
    with pytest.raises(UserError, match=reason):
        check_training(SimpleNamespace(**{**ARGUMENTS, **arguments}), model)


def test_two_callbacks_are_refused(tmp_path):
    two = (PruningCallback("parp", 0.6), PruningCallback("mpi", 0.6))
    with pytest.raises(UserError, match="two PruningCallbacks"):
        trainer(tmp_path, tiny_bert(), *two)
    run = trainer(tmp_path, tiny_bert(), two[0])
    run.add_callback(two[1])
    with pytest.raises(UserError, match="two PruningCallbacks"):
        run.train()


def test_meters_are_logged_before_others_read_the_log(tmp_path):
    logged = []

    class Board(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logged.append(set(logs))

    run = trainer(tmp_path, tiny_bert(), Board())
    run.add_callback(PruningCallback("parp", 0.6))
    run.train()
    assert all({"sparsity", "threshold"} <= keys for keys in logged if "loss" in keys)


@pytest.mark.parametrize(
    ("options", "interval", "trained", "line"),
    [
        ({"interval": 4}, "4 updates", {}, "some can regrow"),
        ({"interval": 4}, "4 updates", {"learning_rate": 1e-6}, "the initial mask stays"),
        (
            {"interval": 1, "interval_unit": "epoch"},
            "3 updates",
            {"learning_rate": 1e-6, "gradient_accumulation_steps": 2},
            "none can regrow",
        ),
        ({"interval": 4}, "", {"optim": "sgd"}, "no known bound"),
    ],
)
def test_a_training_says_whether_weights_can_regrow(
    tmp_path, caplog, options, interval, trained, line
):
    def run_of(folder, *callbacks):
        caplog.clear()
        callback = PruningCallback("parp", 0.6, **options)
        return trainer(folder, tiny_bert(), callback, *callbacks, **{**OFTEN, **trained}), callback

    caplog.set_level("INFO")
    run, callback = run_of(tmp_path, InterruptAfter(2))
    with pytest.raises(KeyboardInterrupt):
        run.train()
    run, callback = run_of(tmp_path)
    run.train(resume_from_checkpoint=True)
    assert line in caplog.text and interval in caplog.text
    reaches = [entry["reach"] for entry in run.state.log_history if "reach" in entry]
    if "no known" in line:
        assert not reaches
    else:
        kept = callback.mask.equal(callback.pruner.initial_mask)
        assert (reaches[0] < 1) == ("some can" not in line) == kept


def _cast(model):
    model.double().float()


def _exchange(model):
    linear = model.bert.encoder.layer[1].output.dense
    linear.weight = torch.nn.Parameter(linear.weight.detach().clone())


def _draw(model):
    model.bert.encoder.layer[1].output.dense.weight.data.normal_()


@pytest.mark.parametrize(
    ("change", "reason"),
    [(_cast, "other memory"), (_exchange, "other memory"), (_draw, "besides the optimizer")],
)
@pytest.mark.parametrize("options", [{}, {"save_strategy": "steps", "save_steps": 3}])
def test_weights_that_others_change_are_noticed(tmp_path, change, reason, options):
    def see(state, model, control):
        if state.global_step == 3:
            change(model)

    options = options or {"eval_strategy": "steps", "eval_steps": 3}
    run = trainer(tmp_path, tiny_bert(), PruningCallback("parp", 0.6), Watch(see), **options)
    with pytest.raises(UserError, match=reason):
        run.train()
