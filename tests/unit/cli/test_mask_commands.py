"""`parp mask` on small checkpoints: what is written, what is said, what is refused."""

from __future__ import annotations

import argparse
import hashlib
import json

import pytest
import torch

from parp_fairseq.checkpoints.mask_files import load_mask
from parp_fairseq.cli.mask import app
from parp_fairseq.errors import reported
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
def parp(capsys):
    """Run a command; return its exit code, what it printed, and its errors."""

    def run(*arguments):
        code = 0
        try:
            with reported():
                app([str(argument) for argument in arguments], standalone_mode=False)
        except SystemExit as stop:
            code = stop.code
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def smallest(tensors, count):
    """The oracle: names and positions of the smallest magnitudes, by a stable sort."""
    entries = [
        (abs(float(value)), name, position)
        for name in sorted(tensors)
        for position, value in enumerate(tensors[name].reshape(-1))
    ]
    return {(name, position) for _, name, position in sorted(entries)[:count]}


def pruned(mask):
    """Names and positions of what a mask prunes."""
    return {
        (name, int(position))
        for name, kept in mask.items()
        for position in (~kept).reshape(-1).nonzero()
    }


@pytest.mark.legacy
@pytest.mark.parametrize("args", [False, True])
@pytest.mark.parametrize("prefix", ["", "w2v_encoder.w2v_model."])
def test_magnitude_masks_of_every_form_of_checkpoint(tmp_path, parp, args, prefix):
    tensors = network()
    checkpoint = save(
        tmp_path / "c.pt", {prefix + name: tensor for name, tensor in tensors.items()}, args=args
    )
    out = tmp_path / "m.safetensors"
    code, said, _ = parp("make", checkpoint, "-o", out, "--sparsity", "0.3")
    assert code == 0
    weights = {n: t for n, t in tensors.items() if ".layers." in n and t.ndim == 2}
    count = round(0.3 * 12 * 24)
    assert f"{count} of 288 entries pruned" in said
    mask, info = load_mask(out)
    assert pruned(mask) == smallest(weights, count)
    assert info == {
        "method": "magnitude",
        "sparsity": pytest.approx(count / 288),
        "granularity": "global",
        "seed": None,
        "scope": {"include": ["wav2vec2"], "exclude": [], "biases": False},
        "source": {"file": "c.pt", "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()},
    }


def test_scope_granularity_and_seed(tmp_path, parp):
    checkpoint = save(tmp_path / "c.pt", network())
    out = tmp_path / "m.safetensors"
    options = ("--include", "fc1", "--include", "fc2", "--exclude", "encoder.layers.1.*")
    options += ("--biases", "--granularity", "tensor")
    code, _, error = parp("make", checkpoint, "-o", out, "--sparsity", "0.5", *options)
    assert code == 0, error
    mask, info = load_mask(out)
    assert set(mask) == {
        f"encoder.layers.0.{kind}.{part}" for kind in ("fc1", "fc2") for part in ("weight", "bias")
    }
    assert all(int((~kept).sum()) == kept.numel() // 2 for kept in mask.values())
    assert info["scope"]["exclude"] == ["encoder.layers.1.*"] and info["scope"]["biases"]
    masks = []
    for seed in (1, 2, 1):
        random = ("--method", "random", "--seed", seed)
        assert parp("make", checkpoint, "-o", out, "--sparsity", "0.5", *random, "--force")[0] == 0
        masks.append(load_mask(out)[0])
    assert masks[0].equal(masks[2]) and not masks[0].equal(masks[1])
    assert load_mask(out)[1]["seed"] == 1


def test_info(tmp_path, parp):
    checkpoint = save(tmp_path / "c.pt", network())
    out = tmp_path / "m.safetensors"
    parp("make", checkpoint, "-o", out, "--sparsity", "0.5")
    code, said, _ = parp("info", out, checkpoint)
    assert code == 0
    assert "144 of 288 entries pruned in 12 tensors" in said
    assert "method: magnitude" in said and "file c.pt" in said
    head = next(line for line in said.splitlines() if line.startswith("layer"))
    assert head.split() == ["layer", "k", "q", "v", "out", "fc1", "fc2", "all"]
    mask, _ = load_mask(out)
    row = next(line for line in said.splitlines() if line.startswith("0 ")).split()
    fc1 = mask["encoder.layers.0.fc1.weight"]
    assert float(row[5]) == pytest.approx(100 * float((~fc1).float().mean()), abs=0.005)
    assert said.splitlines().count("pruned, %") == 2
    code, said, _ = parp("info", out, "--json")
    (found,) = json.loads(said)
    assert found["info"]["method"] == "magnitude"
    assert found["kinds"]["fc1"]["entries"] == 48
    assert found["layers"]["1"]["pruned"] + found["layers"]["0"]["pruned"] == 144


def test_iou_of_masks_and_checkpoints(tmp_path, parp):
    checkpoint = save(tmp_path / "c.pt", network())
    files = []
    for sparsity in (0.3, 0.6):
        files.append(tmp_path / f"at_{sparsity}.safetensors")
        parp("make", checkpoint, "-o", files[-1], "--sparsity", sparsity)
    one, other = (load_mask(file)[0] for file in files)
    zeroed = {n: t * one[n] if n in one else t for n, t in network(seed=4).items()}
    wrapped = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in zeroed.items()}
    files.append(save(tmp_path / "zeroed.pt", wrapped))
    picture = tmp_path / "iou.png"
    code, said, error = parp("iou", *files, "--per-layer", "--png", picture)
    assert code == 0, error
    assert picture.read_bytes().startswith(b"\x89PNG")
    expected = f"{iou(one, other):.6f}"
    lines = said.splitlines()
    assert lines[1].split() == [
        "1",
        "at_0.3",
        "0.2986",
        "1.000000",
        expected,
        "1.000000",
    ]
    assert lines[3].split()[3:] == ["1.000000", expected, "1.000000"]
    code, said, _ = parp("iou", *files, "--per-layer", "--json")
    found = json.loads(said)
    assert found["iou"][0][1] == found["iou"][1][0] == iou(one, other)
    layer = {n: k for n, k in one.items() if ".0." in n}
    both = sum(int((kept & other[name]).sum()) for name, kept in layer.items())
    either = sum(int((kept | other[name]).sum()) for name, kept in layer.items())
    assert found["layers"]["0"][1][2] == both / either
    assert [named["label"] for named in found["masks"]] == ["at_0.3", "at_0.6", "zeroed"]


def test_bad_input_ends_in_one_line(tmp_path, parp):
    checkpoint = save(tmp_path / "c.pt", network())
    mask = tmp_path / "m.safetensors"
    parp("make", checkpoint, "-o", mask, "--sparsity", "0.5")
    other = {n: t for n, t in network().items() if ".layers.1." not in n}
    smaller = tmp_path / "small.safetensors"
    parp("make", save(tmp_path / "small.pt", other), "-o", smaller, "--sparsity", "0.5")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(mask.read_bytes()[:-5])
    tuned = save(tmp_path / "t.pt", {f"w2v_encoder.{n}": t for n, t in network().items()})
    nan = network()
    nan["encoder.layers.0.fc1.weight"][2, 2] = float("nan")
    save(tmp_path / "nan.pt", nan)
    out = tmp_path / "out.safetensors"
    make = ("make", checkpoint, "-o", out, "--sparsity")
    (tmp_path / "empty").mkdir()
    unknown = save(tmp_path / "unknown.pt", network(), cfg={"model": {"_name": "x"}, "task": {}})
    for arguments, message in (
        ((*make, "1.5"), "--sparsity is 1.5"),
        ((*make, "0.5", "--method", "omp"), "--method is 'omp'; use magnitude, random"),
        ((*make, "0.5", "--granularity", "row"), "--granularity is 'row'"),
        ((*make, "0.5", "--include", "fc9"), "c.pt: --include 'fc9' matches no weight"),
        ((*make, "0.5", "--include", "final_proj"), "matches no weight"),
        ((*make, "0.5", "--include", ","), "--include is empty; name a preset"),
        ((*make, "0.5", "--exclude", "*"), "leaves nothing of include to prune"),
        ((*make, "0.5", "--method", "random_init"), "is not in the network that this checkpoint"),
        (
            ("make", unknown, "-o", out, "--sparsity", "0.5", "--method", "random_init"),
            "fairseq cannot build this network anew",
        ),
        (
            ("make", tuned, "-o", out, "--sparsity", "0.5", "--method", "random_init"),
            "does not hold the architecture",
        ),
        (("make", tmp_path / "nan.pt", "-o", out, "--sparsity", "0.5"), "nan.pt: encoder.layers.0"),
        (("make", tmp_path / "no.pt", "-o", out, "--sparsity", "0.5"), "no such checkpoint"),
        (("make", mask, "-o", out, "--sparsity", "0.5"), "not a checkpoint that torch wrote"),
        (("make", checkpoint, "-o", cut / "m", "--sparsity", "0"), "is a file, not a folder"),
        (("info", tmp_path / "none"), "no such mask"),
        (("info", cut), "not a readable mask file"),
        (("iou", mask), "two masks or more"),
        (("iou", mask, smaller), "small.safetensors has no mask for encoder.layers.1.fc1.weight"),
        (("iou", smaller, mask), "also masks encoder.layers.1"),
        (("iou", mask, tmp_path / "small.pt"), "has no mask for encoder.layers.1.fc1.weight"),
        (("iou", mask, tmp_path / "empty"), "holds no masks"),
        (("iou", mask, mask, "--png", cut / "x.png"), "is a file, not a folder"),
    ):
        code, said, error = parp(*arguments)
        assert (code, said) == (2, ""), arguments
        assert message in error and error.count("\n") == 1, error
        assert not out.exists()
