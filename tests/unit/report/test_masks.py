from pathlib import Path

import pytest
import torch

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask, random_mask
from parp_fairseq.report.mask_overlap import NamedMask, compare, read_masks, short_names

SHAPES = {
    "encoder.layers.0.fc1.weight": (8, 5),
    "encoder.layers.10.fc1.weight": (3, 4),
    "encoder.layers.2.fc1.weight": (3, 4),
    "post_extract_proj.weight": (4, 4),
}


def a_mask(seed, sparsity=0.5):
    """A random mask over SHAPES."""
    return random_mask({name: torch.empty(shape) for name, shape in SHAPES.items()}, sparsity, seed)


def named(*masks):
    """Masks with names."""
    return [NamedMask(f"m{n}", Path(f"{n}.safetensors"), mask, {}) for n, mask in enumerate(masks)]


def exact(a, b, names):
    """IOU by bool tensors."""
    both = sum(int((a[name] & b[name]).sum()) for name in names)
    return both / sum(int((a[name] | b[name]).sum()) for name in names)


def test_matrices_equal_those_of_bool_tensors():
    masks = [a_mask(1), a_mask(2, 0.2), a_mask(3, 0.8)]
    found = compare(named(*masks))
    for row, one in enumerate(masks):
        for column, other in enumerate(masks):
            assert found.matrix[row][column] == exact(one, other, SHAPES)
            for layer in (0, 2, 10):
                name = f"encoder.layers.{layer}.fc1.weight"
                assert found.layers[layer][row][column] == exact(one, other, [name])
    assert list(found.layers) == [0, 2, 10]
    text = found.render(per_layer=True)
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["0", "2", "10"]
    assert "layers" not in found.to_json() and "layers" in found.to_json(per_layer=True)


def test_nearly_equal_masks_are_not_shown_as_equal():
    one = Mask({"encoder.layers.0.fc1.weight": torch.ones(4_000_000, dtype=torch.bool)})
    bits = one["encoder.layers.0.fc1.weight"].clone()
    bits[7] = False
    other = Mask({"encoder.layers.0.fc1.weight": bits})
    lines = compare(named(one, other)).render().splitlines()
    assert lines[1].split()[-2:] == ["1.000000", "0.999999"]


@pytest.mark.parametrize("count", [2, 14])
def test_drawing(tmp_path, count):
    compare(named(*(a_mask(seed) for seed in range(count)))).draw(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_short_names_distinguish_files(tmp_path):
    assert short_names(["a/x.pt", "b/y.safetensors"]) == ["x", "y"]
    assert short_names(["r/es/checkpoints/m.pt", "r/fr/checkpoints/m.pt"]) == ["es", "fr"]
    assert short_names(["r/es/1/m.pt", "r/fr/2/m.pt"]) == ["es/1", "fr/2"]
    assert short_names(["m.pt", "m.pt"]) == ["m", "m"]
    (tmp_path / "parp_0.9_seed1").mkdir()
    assert short_names([tmp_path / "parp_0.9_seed1"]) == ["parp_0.9_seed1"]


def save_checkpoint(path, update, mask, stored=True):
    """A checkpoint whose zeros are the mask's, with or without pruning state."""
    weights = {
        f"w2v_encoder.w2v_model.{name}": torch.rand(shape).add(1) * mask[name]
        for name, shape in SHAPES.items()
    }
    pruning = {
        "settings": {},
        "shapes": {f"w2v_encoder.w2v_model.{n}": list(s) for n, s in SHAPES.items()},
        "masks": {"last": {f"w2v_encoder.w2v_model.{n}": b for n, b in mask.packed.items()}},
    }
    state = {
        "cfg": {"model": {"_name": "wav2vec_ctc"}, "task": {}},
        "model": weights,
        "optimizer_history": [{"num_updates": update}],
    }
    if stored:
        state["last_optimizer_state"] = {"parp": pruning}
    torch.save(state, path)


def test_a_run_over_time(tmp_path):
    masks = [a_mask(seed) for seed in range(4)]
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    save_mask(masks[0], folder / "mask_first.safetensors")
    for update, mask in ((9, masks[1]), (100, masks[2]), (20, masks[3])):
        save_checkpoint(folder / f"checkpoint_1_{update}.pt", update, mask)
    save_checkpoint(folder / "checkpoint_last.pt", 100, masks[2])
    for given in (tmp_path / "run", folder):
        found = read_masks([given])
        assert [one.label for one in found] == ["first", "update 9", "update 20", "update 100"]
        assert [one.mask.equal(masks[n]) for one, n in zip(found, (0, 1, 3, 2))] == [True] * 4
    labels = [one.label for one in read_masks([tmp_path / "run", folder / "checkpoint_last.pt"])]
    assert labels[0] == "run first" and labels[-1] == "checkpoint_last"


def test_zeros_are_looked_for_where_another_mask_says(tmp_path):
    mask = a_mask(1)
    save_checkpoint(tmp_path / "exported.pt", 5, mask, stored=False)
    save_mask(mask, tmp_path / "m.safetensors")
    found = read_masks([tmp_path / "exported.pt", tmp_path / "m.safetensors"])
    assert found[0].mask.equal(mask)
    # Alone, the paper's scope decides: it knows no post_extract_proj, and all six kinds.
    with pytest.raises(UserError, match=r"exported.pt: include 'wav2vec2' matches no weight"):
        read_masks([tmp_path / "exported.pt"])
