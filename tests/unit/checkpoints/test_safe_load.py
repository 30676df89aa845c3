import argparse
import collections
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from parp_fairseq.checkpoints.fairseq_settings import describe_state
from parp_fairseq.checkpoints.safe_load import load_checkpoint
from parp_fairseq.errors import UserError

CONV = "[(16, 10, 5)] + [(16, 3, 2)] * 4"
WEIGHTS = {
    "encoder.layers.0.fc1.weight": torch.arange(6.0).reshape(2, 3),
    "encoder.layers.1.fc1.weight": torch.ones(2, 3),
    "encoder.pos_conv.0.bias": torch.zeros(3),
}
MODEL = {"_name": "wav2vec2", "conv_feature_layers": CONV}
CFG = {"model": MODEL, "task": {"_name": "audio_pretraining", "normalize": True}}

marker = os.path.join(os.path.dirname(__file__), "must_not_appear")


class RunsCode:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def saved(path, zipped=True, **state):
    torch.save({"model": WEIGHTS, **state}, path, _use_new_zipfile_serialization=zipped)
    return path


def old_args(**changes):
    settings = {"arch": "wav2vec2", "normalize": False, "conv_feature_layers": CONV, **changes}
    return argparse.Namespace(**settings)


def refused(path, pattern):
    with pytest.raises(UserError, match=pattern) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {"args": None, "cfg": CFG},
        {"args": None, "cfg": OmegaConf.create({**CFG, "x": ["${model._name}", {"y": 1}]})},
        {"args": old_args(), "cfg": None},
        {"args": old_args()},
    ],
    ids=["cfg", "DictConfig", "args", "args alone"],
)
def test_every_form_is_read(tmp_path, zipped, settings):
    state = load_checkpoint(saved(tmp_path / "m.pt", zipped, **settings))
    assert state["model"].keys() == WEIGHTS.keys()
    assert all(torch.equal(state["model"][name], WEIGHTS[name]) for name in WEIGHTS)
    for key, value in settings.items():
        assert state[key] == value and type(state[key]) is type(value)


def test_plain_extras_are_read(tmp_path):
    extras = {
        "extra_state": {
            "val_loss": np.float64(3.5),
            "epoch": np.int64(4),
            "done": np.bool_(True),
            "small": np.float32(0.25),
            "kinds": collections.defaultdict(list, {"a": [1]}),
            "order": collections.OrderedDict(b=2),
            "tuple": (1, None, "é", True),
        }
    }
    path = saved(tmp_path / "m.pt", cfg=CFG, **extras)
    assert load_checkpoint(path)["extra_state"] == extras["extra_state"]


@pytest.mark.legacy
def test_fairseqs_own_classes_are_read(tmp_path):
    from fairseq.data import Dictionary
    from fairseq.logging.meters import AverageMeter

    dictionary = Dictionary()
    dictionary.add_symbol("E", 5)
    meter = AverageMeter()
    meter.update(3.0)
    path = tmp_path / "m.pt"
    saved(path, cfg=CFG, task_state={"target_dictionary": dictionary}, extra_state={"wer": meter})
    state = load_checkpoint(path)
    assert state["task_state"]["target_dictionary"].symbols == dictionary.symbols
    assert state["extra_state"]["wer"].avg == 3.0


@pytest.mark.legacy
def test_fairseqs_own_loader_opens_old_checkpoints_once_allowed(tmp_path):
    from fairseq.data import Dictionary

    state = {"task_state": {"target_dictionary": Dictionary()}, "extra_state": {"n": np.int64(1)}}
    history = [{"optimizer_name": "x", "lr_scheduler_state": {}, "num_updates": 1}]
    args = old_args(task="audio_pretraining", data="x", criterion="wav2vec", lr=[0.1])
    code = RunsCode(os.system, f"touch {marker}")
    files = []
    for zipped in (True, False):
        good, bad = tmp_path / f"good{zipped}.pt", tmp_path / f"bad{zipped}.pt"
        files.append(saved(good, zipped, args=args, optimizer_history=history, **state))
        files.append(saved(bad, zipped, args=args, extra=code))
    program = (
        "import sys\n"
        "from parp_fairseq.checkpoints.safe_load import allow_fairseq_classes\n"
        "from fairseq import checkpoint_utils\n"
        "allow_fairseq_classes(); allow_fairseq_classes()\n"
        "for file in sys.argv[1:]:\n"
        "    try:\n"
        "        print(checkpoint_utils.load_checkpoint_to_cpu(file)['cfg'].model._name)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["wav2vec2", "UnpicklingError"] * 2
    assert not os.path.exists(marker)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("name", "function"),
    [("system", os.system), ("eval", eval), ("getattr", getattr), ("Popen", subprocess.Popen)],
)
def test_code_is_never_run(tmp_path, zipped, name, function):
    argument = f"open({marker!r}, 'w').close()" if name == "eval" else f"touch {marker}"
    path = saved(tmp_path / "bad.pt", zipped, cfg=CFG, extra=RunsCode(function, argument))
    refused(path, rf"bad\.pt holds \S*{name}, which is code and not data")
    assert not os.path.exists(marker)


def test_a_bare_pickle_is_never_run(tmp_path):
    path = tmp_path / "bad.pt"
    path.write_bytes(pickle.dumps(RunsCode(os.system, f"touch {marker}")))
    refused(path, r"bad\.pt")
    assert not os.path.exists(marker)


@pytest.mark.parametrize(
    "holding",
    [
        lambda code: {"cfg": {"model": {**MODEL, "conv_feature_layers": code}}},
        lambda code: {"cfg": {"model": {"w2v_args": {"model": {"conv_feature_layers": code}}}}},
        lambda code: {"cfg": {"model": {"modalities": [{"feature_encoder_spec": code}]}}},
        lambda code: {"cfg": {"criterion": {"wer_args": code}}},
        lambda code: {"args": old_args(conv_feature_layers=code)},
        lambda code: {"args": old_args(w2v_args=old_args(conv_aggregator_layers=code))},
        lambda code: {"cfg": OmegaConf.create({"model": {"conv_feature_layers": code}})},
    ],
)
@pytest.mark.parametrize(
    "code", ["__import__('os').system('true')", "[x for x in (1,)]", "a.b", "[(1,2)", "f'{1}'"]
)
def test_strings_that_fairseq_evaluates_must_be_literals(tmp_path, holding, code):
    refused(saved(tmp_path / "bad.pt", **holding(code)), r"its setting \w+ is .* which is code")


@pytest.mark.parametrize(
    "spec",
    [
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
        " [(512, 10, 5)]+[(512,2,2)] * 2 ",
        "${model.other}",
        "('/path/lexicon', None, -1.5)",
    ],
)
def test_literals_and_references_are_let_through(tmp_path, spec):
    cfg = {"model": {**MODEL, "conv_feature_layers": spec, "other": CONV}}
    load_checkpoint(saved(tmp_path / "m.pt", cfg=cfg))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_files(tmp_path, zipped, share):
    path = saved(tmp_path / "cut.pt", zipped, cfg=CFG, more=torch.zeros(50_000))
    os.truncate(path, int(path.stat().st_size * share))
    refused(path, r"cut\.pt is truncated|cut\.pt is not a")


@pytest.mark.parametrize("content", [b"fLaC\0\0\0\x22", b"\x80" + bytes(range(200))])
def test_other_files(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    refused(tmp_path / "other", "is not a")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    refused(tmp_path / "other.npz", "is not a")


def test_a_checkpoint_without_settings(tmp_path):
    refused(saved(tmp_path / "m.pt"), "neither 'cfg' nor 'args'")


INSIDE = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in WEIGHTS.items()}
INSIDE["w2v_encoder.proj.weight"] = torch.zeros(32, 3)


OLD_CTC = old_args(arch="wav2vec_ctc", normalize=True, labels="phn", w2v_args=old_args())


def cfg_of(name, inner=None, **task):
    args = {} if inner is None else {"w2v_args": {"model": {"_name": inner}}}
    return {"cfg": {"model": {"_name": name, **args}, "task": task}}


@pytest.mark.parametrize(
    ("settings", "weights", "expected"),
    [
        ({"cfg": CFG}, WEIGHTS, ("wav2vec2", False, True, None)),
        ({"args": old_args()}, WEIGHTS, ("wav2vec2", False, False, None)),
        (cfg_of("hubert"), WEIGHTS, ("hubert", False, None, None)),
        (cfg_of("transformer_lm"), WEIGHTS, ("transformer_lm", False, None, None)),
        (
            cfg_of("wav2vec_ctc", "hubert", normalize=False, labels="ltr"),
            INSIDE,
            ("hubert", True, False, "ltr"),
        ),
        # By its keys only, should its settings say little.
        (cfg_of("my_model"), INSIDE, ("wav2vec2", True, None, None)),
        ({"args": OLD_CTC}, INSIDE, ("wav2vec2", True, True, "phn")),
    ],
)
def test_what_a_checkpoint_says_about_itself(tmp_path, settings, weights, expected):
    path = saved(tmp_path / "m.pt", "args" not in settings, model=weights, **settings)
    info = describe_state(load_checkpoint(path))
    assert (info.kind, info.finetuned, info.normalize, info.labels) == expected
    assert info.encoder_layers == 2
    assert set(info.shapes) == set(weights)


def test_reading_needs_no_fairseq_where_the_file_holds_none_of_it(tmp_path):
    path = saved(tmp_path / "m.pt", args=old_args())
    code = (
        "import sys\n"
        "from parp_fairseq.checkpoints.fairseq_settings import describe_state\n"
        "from parp_fairseq.checkpoints.safe_load import load_checkpoint\n"
        "describe_state(load_checkpoint(sys.argv[1]))\n"
        "print([m for m in ('fairseq', 'omegaconf', 'hydra') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
