"""`parp inspect` against plain torch on small checkpoints."""

import argparse
import json

import pytest
import torch

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import magnitude_mask
from parp_fairseq.report.inspection import Magnitudes, inspect_checkpoint

KINDS = [f"self_attn.{kind}_proj" for kind in ("k", "v", "q", "out")] + ["fc1", "fc2"]


def weights_of(seed=0, layers=2):
    """Prunable weights, some of them zero, and one of another kind."""
    random = torch.Generator().manual_seed(seed)
    names = [f"encoder.layers.{n}.{kind}.weight" for n in range(layers) for kind in KINDS]
    tensors = {name: torch.randn(6, 4, generator=random) for name in names}
    for number, name in enumerate(names):
        tensors[name].view(-1)[:number] = 0
    return tensors


def save(path, tensors, *, finetuned=True, args=False, **more):
    """A checkpoint of ours, of stock fairseq, or of an older version with `args`."""
    prefix = "w2v_encoder.w2v_model." if finetuned else ""
    model = {prefix + name: tensor for name, tensor in tensors.items()}
    model["w2v_encoder.proj.weight" if finetuned else "mask_emb"] = torch.zeros(5, 4)
    state = {"model": model, "optimizer_history": [{"num_updates": 77}], **more}
    name = "wav2vec_ctc" if finetuned else "wav2vec2"
    if args:
        state["args"] = argparse.Namespace(arch=name, labels="ltr", normalize=False, task="audio")
    else:
        state.setdefault(
            "cfg",
            {
                "model": {"_name": name, "w2v_path": "wav2vec_small.pt"},
                "task": {"_name": "audio_finetuning", "labels": "ltr", "normalize": True},
            },
        )
    torch.save(state, path)
    return path


@pytest.mark.legacy
@pytest.mark.parametrize("args", [False, True])
@pytest.mark.parametrize("finetuned", [False, True])
def test_counts_and_magnitudes(tmp_path, finetuned, args):
    tensors = weights_of()
    path = save(tmp_path / "c.pt", tensors, finetuned=finetuned, args=args)
    found = inspect_checkpoint(path)
    assert set(found.tensors) == set(tensors)
    everything = torch.cat([tensor.view(-1) for tensor in tensors.values()])
    kept = everything[everything != 0].abs()
    whole = found.whole
    assert (whole.entries, whole.zeros) == (everything.numel(), int((everything == 0).sum()))
    assert whole.mean == pytest.approx(float(kept.mean()))
    assert (whole.smallest, whole.largest) == (float(kept.min()), float(kept.max()))
    assert found.sizes["file bytes"] == path.stat().st_size
    assert found.sizes["parameters"] == everything.numel() + 20
    assert found.origin["updates"] == 77
    assert ("fine-tuned" if finetuned else "pre-trained") in found.origin["model"]
    assert ("settings as `args`" in found.origin["model"]) == args
    content = json.loads(json.dumps(found.to_json()))
    fc1 = torch.stack([tensors[f"encoder.layers.{n}.fc1.weight"] for n in (0, 1)])
    assert content["kinds"]["fc1"]["zeros"] == int((fc1 == 0).sum())
    assert content["layers"]["1"]["entries"] == 6 * 24
    assert content["threshold"] is None
    text = found.render()
    assert "zeros, %" in text and f"sparsity {whole.sparsity:.6f}" in text


def test_half_precision_and_empty_tensors():
    tensor = torch.tensor([0.0, -0.5, 2.0], dtype=torch.bfloat16)
    assert Magnitudes.of(tensor) == Magnitudes(3, 1, 2.5, 0.5, 2.0)
    zero = Magnitudes.of(torch.zeros(4, dtype=torch.float16))
    assert zero == Magnitudes(4, 4, 0.0, 0.0, 0.0) and zero.mean == 0.0
    together = Magnitudes.over([zero, Magnitudes.of(tensor)])
    assert together == Magnitudes(7, 5, 2.5, 0.5, 2.0)
    assert Magnitudes.over([]).sparsity == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, bad):
    tensors = weights_of()
    names = sorted(tensors)
    for name in names[-5:]:
        tensors[name][0, 0] = bad
    best = {"best": float("nan")}
    path = save(tmp_path / "c.pt", tensors, extra_state=best)
    found = inspect_checkpoint(path)
    assert found.not_finite == names[-5:]
    assert f"NaN or infinity in {', '.join(names[-5:])}\n" in found.render()
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["not_finite"] == names[-5:]
    assert content["mean_kept"] is None and content["largest"] is None
    assert content["tensors"][names[-1]]["mean_kept"] is None
    assert content["tensors"][names[0]]["mean_kept"] == found.tensors[names[0]].mean
    assert content["origin"]["best_score"] is None
    # Whatever stands first: the smallest of numbers with NaN among them is none.
    assert (content["smallest_kept"] is None) == (bad != bad)
    sound = inspect_checkpoint(save(tmp_path / "sound.pt", weights_of()))
    assert sound.not_finite == [] and "finite" not in sound.render()


def test_what_its_own_run_says(tmp_path):
    prune = {"method": "parp", "sparsity": 0.5, "include": ["fc1"], "exclude": [], "biases": True}
    cfg = {
        "model": {"_name": "wav2vec_ctc"},
        "task": {"_name": "parp", "labels": "phn", "prune": prune},
        "checkpoint": {"best_checkpoint_metric": "wer"},
    }
    tensors = weights_of()
    tensors["encoder.layers.1.fc1.bias"] = torch.zeros(6)
    path = save(
        tmp_path / "c.pt",
        tensors,
        cfg=cfg,
        extra_state={"best": 12.5},
        last_optimizer_state={"parp": {"threshold": 0.25}},
    )
    (tmp_path / "run.json").write_text(
        json.dumps({"command": ["/bin/fairseq-hydra-train", "a=b"], "versions": {"torch": "2"}})
    )
    found = inspect_checkpoint(path)
    assert sorted(found.tensors) == [
        "encoder.layers.0.fc1.weight",
        "encoder.layers.1.fc1.bias",
        "encoder.layers.1.fc1.weight",
    ]
    assert found.threshold == 0.25
    assert found.origin["best wer"] == 12.5
    assert found.origin["command"] == "fairseq-hydra-train a=b"
    assert found.origin["pruning"] == "method parp, sparsity 0.5"


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("none.pt", "no such checkpoint"),
        ("small.safetensors", "is a mask file, which holds no weights"),
        ("lm.pt", "lm.pt: include 'wav2vec2' matches no weight"),
        ("damaged/c.pt", "run.json is damaged"),
    ],
)
def test_bad_input(tmp_path, checkpoint, message):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("[]")
    for name in ("c.pt", "damaged/c.pt"):
        save(tmp_path / name, weights_of())
    save_mask(magnitude_mask(weights_of(layers=1), 0.5), tmp_path / "small.safetensors")
    torch.save({"model": {"decoder.weight": torch.ones(2)}, "cfg": {}}, tmp_path / "lm.pt")
    with pytest.raises(UserError, match=message):
        inspect_checkpoint(tmp_path / checkpoint)
