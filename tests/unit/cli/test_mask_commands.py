"""`parp mask` on small checkpoints: what is written, what is said, what is refused."""

import argparse
import hashlib
import json

import pytest
import torch
from small_model import random_state
from small_model import save as save_state

from parp_fairseq.checkpoints.mask_files import load_mask
from parp_fairseq.pruning import iou

KINDS = ("self_attn.k_proj", "self_attn.out_proj", "fc1", "fc2", "self_attn.v_proj")
KINDS += ("self_attn.q_proj",)


def network(seed=0):
    """Weights of two layers, with biases, a norm and the heads of pre-training."""
    random = torch.Generator().manual_seed(seed)
    tensors = {
        f"encoder.layers.{layer}.{kind}.{part}": torch.randn(*shape, generator=random)
        for layer in (0, 1)
        for kind in KINDS
        for part, shape in (("weight", (6, 4)), ("bias", (6,)))
    }
    tensors["encoder.layers.0.final_layer_norm.weight"] = torch.ones(4)
    tensors["final_proj.weight"] = torch.zeros(4, 4)
    return tensors


def save(path, tensors, *, args=False, **more):
    """Save them as fairseq does: with `cfg`, or as older versions did with `args`."""
    settings = {"model": {"_name": "wav2vec2"}, "task": {"_name": "audio_pretraining"}}
    state = {"args": None, "cfg": settings, "model": tensors, **more}
    if args:
        state = {"args": argparse.Namespace(arch="wav2vec2"), "model": tensors, **more}
    torch.save(state, path, _use_new_zipfile_serialization=not args)
    return path


@pytest.fixture
def make(parp, tmp_path):
    """Make a mask file; return its path."""

    def run(checkpoint, sparsity, *options, name="m.safetensors"):
        out = tmp_path / name
        arguments = ("-o", out, "--sparsity", sparsity, "--force", *options)
        code, said, error = parp("mask", "make", checkpoint, *arguments)
        assert code == 0, error
        assert f"{out}: " in said and "entries pruned" in said
        return out

    return run


def pruned(mask):
    """Names and positions of what a mask prunes."""
    return {(name, int(i)) for name, kept in mask.items() for i in (~kept).reshape(-1).nonzero()}


def smallest(tensors, count):
    """The oracle: names and positions of the smallest magnitudes, by a stable sort."""
    entries = [
        (abs(float(value)), name, position)
        for name in sorted(tensors)
        for position, value in enumerate(tensors[name].reshape(-1))
    ]
    return {(name, position) for _, name, position in sorted(entries)[:count]}


@pytest.mark.legacy
@pytest.mark.parametrize("args", [False, True])
@pytest.mark.parametrize("prefix", ["", "w2v_encoder.w2v_model."])
def test_magnitude_masks_of_every_form_of_checkpoint(tmp_path, make, args, prefix):
    tensors = network()
    prefixed = {prefix + name: tensor for name, tensor in tensors.items()}
    checkpoint = save(tmp_path / "c.pt", prefixed, args=args)
    mask, info = load_mask(make(checkpoint, 0.3))
    weights = {n: t for n, t in tensors.items() if ".layers." in n and t.ndim == 2}
    count = round(0.3 * 12 * 24)
    assert pruned(mask) == smallest(weights, count)
    assert info == {
        "method": "magnitude",
        "sparsity": pytest.approx(count / 288),
        "granularity": "global",
        "seed": None,
        "scope": {"include": ["wav2vec2"], "exclude": [], "biases": False},
        "source": {"file": "c.pt", "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()},
    }


def test_scope_granularity_and_seed(tmp_path, make):
    checkpoint = save(tmp_path / "c.pt", network())
    options = ("--include", "fc1,fc2", "--exclude", "encoder.layers.1.*", "--biases")
    mask, info = load_mask(make(checkpoint, 0.5, *options, "--granularity", "tensor"))
    assert set(mask) == {
        f"encoder.layers.0.{kind}.{part}" for kind in ("fc1", "fc2") for part in ("weight", "bias")
    }
    assert all(int((~kept).sum()) == kept.numel() // 2 for kept in mask.values())
    assert info["scope"]["exclude"] == ["encoder.layers.1.*"] and info["scope"]["biases"]
    random = ("--method", "random", "--seed")
    masks = [load_mask(make(checkpoint, 0.5, *random, seed)) for seed in (1, 2, 1)]
    assert masks[0][0].equal(masks[2][0]) and not masks[0][0].equal(masks[1][0])
    assert [info["seed"] for _, info in masks] == [1, 2, 1]


def test_info(tmp_path, make, parp):
    checkpoint = save(tmp_path / "c.pt", network())
    out = make(checkpoint, 0.5)
    code, said, _ = parp("mask", "info", out, checkpoint)
    assert code == 0
    assert "144 of 288 entries pruned in 12 tensors" in said
    assert "method: magnitude" in said and "file c.pt" in said
    head = next(line for line in said.splitlines() if line.startswith("layer"))
    assert head.split() == ["layer", "k", "q", "v", "out", "fc1", "fc2", "all"]
    row = next(line for line in said.splitlines() if line.startswith("0 ")).split()
    fc1 = load_mask(out)[0]["encoder.layers.0.fc1.weight"]
    assert float(row[5]) == pytest.approx(100 * float((~fc1).float().mean()), abs=0.005)
    assert said.splitlines().count("pruned, %") == 2
    (found,) = json.loads(parp("mask", "info", out, "--json")[1])
    assert found["info"]["method"] == "magnitude"
    assert sum(counts["pruned"] for counts in found["tensors"].values()) == 144


def test_iou_of_masks_and_checkpoints(tmp_path, make, parp):
    checkpoint = save(tmp_path / "c.pt", network())
    files = [make(checkpoint, s, name=f"at_{s}.safetensors") for s in (0.3, 0.6)]
    one, other = (load_mask(file)[0] for file in files)
    zeroed = {n: t * one[n] if n in one else t for n, t in network(seed=4).items()}
    wrapped = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in zeroed.items()}
    files.append(save(tmp_path / "zeroed.pt", wrapped))
    picture = tmp_path / "iou.png"
    code, said, error = parp("mask", "iou", *files, "--per-layer", "--png", picture)
    assert code == 0, error
    assert picture.read_bytes().startswith(b"\x89PNG")
    expected = f"{iou(one, other):.6f}"
    lines = said.splitlines()
    assert lines[1].split() == ["1", "at_0.3", "0.2986", "1.000000", expected, "1.000000"]
    found = json.loads(parp("mask", "iou", *files, "--json")[1])
    assert found["iou"][0][1] == found["iou"][1][0] == iou(one, other)
    assert [named["label"] for named in found["masks"]] == ["at_0.3", "at_0.6", "zeroed"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_state(random_state(sparsity=0.6), tmp_path_factory.mktemp("forms") / "c.pt")


FORMS = {"fairseq": "stock.pt", "sparse": "small.safetensors", "hf": "folder"}


@pytest.mark.parametrize("form", FORMS)
def test_an_export_has_the_mask_of_its_checkpoint(checkpoint, tmp_path, make, parp, form):
    out = tmp_path / FORMS[form]
    assert parp("export", checkpoint, "--format", form, "-o", out)[0] == 0
    mask = make(checkpoint, 0.6)
    for sources in ([checkpoint, out], [out, checkpoint], [mask, out], [out, mask]):
        code, said, error = parp("mask", "iou", *sources, "--json")
        assert code == 0, error
        answer = json.loads(said)
        assert answer["iou"] == [[1.0, 1.0], [1.0, 1.0]]
        assert all(abs(one["sparsity"] - 0.6) < 1e-4 for one in answer["masks"])
    code, said, _ = parp("mask", "info", out)
    assert code == 0 and "9,830 of 16,384 entries pruned in 12 tensors" in said


def test_tiny_is_the_model_that_ships(parp, make):
    code, said, _ = parp("mask", "iou", make("tiny", 0.5), "tiny", "--json")
    assert code == 0 and json.loads(said)["iou"][0][1] == pytest.approx(0.5, abs=1e-5)
    code, said, _ = parp("inspect", "tiny")
    assert code == 0 and "pre-trained wav2vec2" in said


def test_bad_input_ends_in_one_line(tmp_path, make, parp):
    """What needs files that tests/integration/test_bad_commands.py does not have."""
    model = save(tmp_path / "c.pt", network())
    mask = make(model, 0.5)
    other = {n: t for n, t in network().items() if ".layers.1." not in n}
    smaller = make(save(tmp_path / "small.pt", other), 0.5, name="small.safetensors")
    tuned = save(tmp_path / "t.pt", {f"w2v_encoder.{n}": t for n, t in network().items()})
    unknown = save(tmp_path / "unknown.pt", network(), cfg={"model": {"_name": "x"}, "task": {}})
    out = tmp_path / "out.safetensors"
    fresh = ("-o", out, "--sparsity", "0.5", "--method", "random_init")
    for arguments, message in (
        (("make", model, *fresh, "--include", ","), "--include is empty; name a preset"),
        (("make", model, *fresh), "has shape (3072, 768) there and has shape (6, 4) here"),
        (("make", unknown, *fresh), "fairseq cannot build this network"),
        (("make", tuned, *fresh), "does not hold the architecture"),
        (("iou", mask, smaller), "small.safetensors has no mask for encoder.layers.1.fc1.weight"),
        (("iou", smaller, mask), "also masks encoder.layers.1"),
    ):
        code, said, error = parp("mask", *arguments)
        assert (code, said) == (2, ""), arguments
        assert message in error and error.count("\n") == 1, error
        assert not out.exists()
