"""`parp inspect --lr`: thresholds against the reach, by brute force."""

import json

import pytest
import torch
from test_inspect import save, weights_of

from parp_fairseq.errors import UserError
from parp_fairseq.report.reach_curve import reach_curve


def test_thresholds_reach_and_the_interval_needed(tmp_path):
    tensors = weights_of()
    checkpoint = save(tmp_path / "c.pt", tensors, finetuned=False)
    found = reach_curve(checkpoint, 1e-3, 25).to_json()
    magnitudes = torch.cat([t.view(-1).abs() for t in tensors.values()]).sort().values
    assert found["reach"] == pytest.approx(0.0425, abs=1e-4)
    for row in found["sparsities"]:
        threshold = float(magnitudes[round(row["sparsity"] * len(magnitudes)) - 1])
        assert row["threshold"] == threshold
        if threshold:
            assert row["relative_reach"] == pytest.approx(2 * found["reach"] / threshold)
            assert row["interval_to_reach"] == pytest.approx(25 / row["relative_reach"], abs=1)
    assert len(found["sparsities"]) == 19


def test_one_sparsity_and_arguments_out_of_range(tmp_path):
    checkpoint = save(tmp_path / "c.pt", weights_of(), finetuned=False)
    (row,) = reach_curve(checkpoint, 5e-5, 50, 0.5).to_json()["sparsities"]
    assert row["sparsity"] == 0.5
    for arguments, message in (
        ((0.0, 50), "--lr must be above 0"),
        ((float("nan"), 50), "--lr must be above 0"),
        ((1e-3, 0), "--interval must be at least 1"),
        ((1e-3, 5, 1.5), "--sparsity is 1.5"),
    ):
        with pytest.raises(UserError, match=message):
            reach_curve(checkpoint, *arguments)


def test_the_command(tmp_path, parp):
    checkpoint = save(tmp_path / "c.pt", weights_of(), finetuned=False)
    code, said, _ = parp("inspect", checkpoint, "--lr", "1e-3")[:3]
    assert code == 0 and "n needed" in said
    code, said, _ = parp("inspect", checkpoint, "--lr", "1e-3", "--sparsity", "0.5", "--json")[:3]
    assert len(json.loads(said)["sparsities"]) == 1
    picture = tmp_path / "reach.png"
    assert parp("inspect", checkpoint, "--lr", "1e-3", "--png", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert parp("inspect", checkpoint, "--lr", "1e-3", "--png", picture)[0] == 2
    for wrong in (
        ("--sparsity", "0.5"),
        ("--png", "x.png"),
    ):
        assert parp("inspect", checkpoint, *wrong)[0] == 2
