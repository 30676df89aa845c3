"""Masks compared and kept as JSON, against sets of entries."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from experiments import overlaps
from experiments.commands import mask_file
from experiments.masks import mask_settings
from experiments.overlap import _relation, chance, label
from experiments.plan import FineTuning
from experiments.results import report
from made_scores import CONTENT, made_plan, write_score

from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask

WORLD = CONTENT["worlds"]["w"]
CURVE = CONTENT["results"]["curve"]
MASKS = {
    "worlds": {"w": WORLD, "v": {**WORLD, "speech": {"seed": 2}}},
    "results": {
        "curve": CURVE,
        "pairs": {
            "title": "Pairs",
            "kind": "overlap",
            "worlds": ["w", "v"],
            "seeds": [1, 2],
            "cells": [
                {"method": "omp", "sparsity": [0.5]},
                {"method": "mpi", "sparsity": [0.5]},
                {"method": "rp", "sparsity": [0.5], "seeds": [1]},
            ],
            "claims": [
                {"says": "worlds", "of": "omp 0.5", "and_of": "omp 0.5", "above": 0.0,
                 "worlds_differ": True, "paper": "holds"},
                {"says": "random", "of": "omp 0.5", "and_of": "rp 0.5", "above": 0.99,
                 "why": "so."},
            ],
        },
        "first": {
            "title": "First",
            "kind": "initial_mask",
            "world": "w",
            "seeds": [1, 2],
            "cells": [
                {"method": "mpi", "sparsity": [0.5, 0.9]},
                {"method": "parp", "sparsity": [0.5, 0.9]},
            ],
            "claims": [
                {"says": "stays", "of": "parp 0.5", "and_of": "mpi 0.5", "above": 0.9},
                {"says": "high", "of": "parp 0.9", "and_of": "mpi 0.9", "above": 0.9},
            ],
        },
    },
}  # fmt: skip


@pytest.fixture
def plan(tmp_path):
    return made_plan(tmp_path, MASKS)


def write_masks(plan, name: str) -> dict[str, set[tuple[str, int]]]:
    """Random masks of two tensors as the files of a comparison; what each keeps."""
    torch.manual_seed(0)
    kept = {}
    for ft in overlaps.all_comparisons(plan)[name].masks:
        tensors = {name: torch.rand(size) < 0.5 for name, size in (("a", 30), ("b", 41))}
        file = plan.work / mask_file(ft)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_mask(Mask(tensors), file, {"settings": mask_settings(ft)})
        kept[ft.name] = {
            (name, int(place)) for name, one in tensors.items() for place in one.nonzero()
        }
    return kept


def test_mpi_is_compared_once_and_rp_once_a_seed(plan):
    pairs, low, high = overlaps.all_comparisons(plan).values()
    assert (pairs.name, low.name) == ("masks_pairs_tiny_0.5", "masks_first_tiny_0.5")
    assert [ft.name for ft in pairs.masks] == [
        "w_omp_0.5_seed1",
        "w_omp_0.5_seed2",
        "v_omp_0.5_seed1",
        "v_omp_0.5_seed2",
        "w_mpi_0.5_seed1",
        "w_rp_0.5_seed1",
    ]
    labels = [label(ft, pairs) for ft in pairs.masks]
    assert labels == ["w seed 1", "w seed 2", "v seed 1", "v seed 2", "MPI", "RP"]
    assert [label(ft, high) for ft in high.masks] == ["MPI", "PARP seed 1", "PARP seed 2"]
    # OMP's masks take dense fine-tunings alone, none of them scored here but those of `curve`.
    needed = {ft.name for ft in overlaps.missing_masks(plan, pairs)}
    assert needed == {f"{world}_dense_seed{seed}" for world in "wv" for seed in (1, 2)}
    assert needed <= set(plan.trained)
    assert set(plan.trained) & {ft.name for ft in pairs.masks} == set()
    assert "w_parp_0.9_seed2" in plan.trained and "w_parp_0.9_seed2" not in plan.scored


def test_the_matrix_is_that_of_sets(plan):
    kept = write_masks(plan, "masks_pairs_tiny_0.5")
    assert (
        overlaps.missing_masks(plan, overlaps.all_comparisons(plan)["masks_pairs_tiny_0.5"]) == []
    )
    overlaps.make(plan, "masks_pairs_tiny_0.5")
    content = json.loads(plan.scores_file("masks_pairs_tiny_0.5").read_text(encoding="utf-8"))
    names = [one["name"] for one in content["masks"]]
    assert names == list(kept) and content["entries"] == 71
    for row, line in zip(names, content["iou"]):
        for column, value in zip(names, line):
            both, either = kept[row] & kept[column], kept[row] | kept[column]
            assert value == pytest.approx(len(both) / len(either), abs=1e-6)
    assert str(plan.home) not in json.dumps(content)


def test_pairs_are_told_apart_by_world_and_seed(plan):
    worlds = [plan.worlds[name] for name in "wv"]
    masks = [FineTuning(world, "omp", 0.5, seed) for world in worlds for seed in (1, 2)]
    found = [_relation(masks[0], other) for other in masks[1:]]
    assert found == ["OMP, another seed", "OMP, another world", "OMP, another world and seed"]
    parp = FineTuning(worlds[0], "parp", 0.5, 1)
    assert _relation(masks[0], parp) == "OMP and PARP, the same seed"
    assert _relation(masks[1], parp) == "OMP and PARP, another seed"


def test_tables_figures_and_claims(plan):
    write_score(plan, "w_dense_seed1", 40.0)
    kept = write_masks(plan, "masks_pairs_tiny_0.5")
    write_masks(plan, "masks_first_tiny_0.5")
    for name in ("masks_pairs_tiny_0.5", "masks_first_tiny_0.5"):
        overlaps.make(plan, name)
    report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    lowest = 1.0
    for where, seeds in (("world", ((1, 1), (2, 2))), ("world and seed", ((1, 2), (2, 1)))):
        across = []
        for one, other in seeds:
            a, b = kept[f"w_omp_0.5_seed{one}"], kept[f"v_omp_0.5_seed{other}"]
            across.append(len(a & b) / len(a | b))
        lowest = min(lowest, *across)
        shown = f"{np.mean(across):.4f} | {min(across):.4f}"
        assert f"| tiny | 50% | OMP, another {where} | 2 | {shown} |" in text
    assert "| tiny | 50% | independent random masks | - | 0.3333 | - |" in text
    assert f"| worlds | holds | *held* | {lowest:.4f} | 4 |" in text
    assert "| random | - | *not held* |" in text and "- random: so." in text
    assert "| stays | - | *not held* |" in text and "| high | - | *not run* | not run | 0 |" in text
    assert "1 of 1 comparisons of masks were made" in text
    assert "1 of 2 comparisons of masks were made" in text
    assert "| w | PARP | 90% | not run | not run | 0.0526 | 0 of 2 |" in text
    for result in ("pairs", "first"):
        assert (plan.home / result / "small.png").is_file()


def test_of_masks_that_are_all_alike(plan):
    write_masks(plan, "masks_first_tiny_0.9")
    for ft in overlaps.all_comparisons(plan)["masks_first_tiny_0.9"].masks:
        same = Mask({"a": torch.arange(10) < 3})
        save_mask(same, plan.work / mask_file(ft), {"settings": mask_settings(ft)})
    overlaps.make(plan, "masks_first_tiny_0.9")
    write_score(plan, "w_dense_seed1", 40.0)
    report(plan.home)
    text = (plan.home / "RESULTS.md").read_text(encoding="utf-8")
    assert "| w | PARP | 90% | 1 | 1 | 0.0526 | 2 of 2 |" in text
    assert "| high | - | *held* | 1 | 2 |" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["masks"].pop(), "does not fit its masks"),
        (lambda c: c.pop("iou"), "is damaged"),
        (
            lambda c: c["masks"][0]["settings"].update(config="parp_1h"),
            "config of w_omp_0.5_seed1 was parp_1h when it was made and is parp_demo in small.yaml",
        ),
        (
            lambda c: c["masks"][5].update(name="w_rp_0.5_seed7"),
            "w_rp_0.5_seed7 was compared when it was made and is not in small.yaml",
        ),
    ],
)
def test_stale_and_damaged_files_are_named(plan, change, told):
    write_masks(plan, "masks_pairs_tiny_0.5")
    overlaps.make(plan, "masks_pairs_tiny_0.5")
    file = plan.scores_file("masks_pairs_tiny_0.5")
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError) as error:
        overlaps.read(plan, overlaps.all_comparisons(plan)["masks_pairs_tiny_0.5"])
    assert told in str(error.value) and file.name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mask_of_other_settings_and_a_missing_checkpoint_are_named(plan):
    write_masks(plan, "masks_pairs_tiny_0.5")
    ft = overlaps.all_comparisons(plan)["masks_pairs_tiny_0.5"].masks[2]
    file = plan.work / mask_file(ft)
    save_mask(Mask({"a": torch.arange(3) < 1}), file, {"settings": {}})
    with pytest.raises(UserError, match=r"v_omp_0\.5_seed1\.safetensors was made with other"):
        overlaps.make(plan, "masks_pairs_tiny_0.5")
    file.unlink()
    with pytest.raises(UserError, match=r"checkpoint_last\.pt is missing; it gives the mask of v_"):
        overlaps.make(plan, "masks_pairs_tiny_0.5")
    assert not plan.scores_file("masks_pairs_tiny_0.5").exists()


def test_chance_is_that_of_random_masks():
    drawn = np.random.default_rng(0).random((2, 1_000_000)) < 0.3
    assert chance(0.7) == pytest.approx((drawn[0] & drawn[1]).sum() / drawn.any(0).sum(), abs=2e-3)
