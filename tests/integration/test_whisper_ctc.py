"""The main job on Whisper's encoder: convert, fine-tune and prune, score."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from parp_fairseq.checkpoints.safe_load import load_checkpoint

CONVERT = Path(__file__).parents[2] / "examples" / "whisper_ctc" / "convert_whisper.py"


def test_trains_prunes_and_is_scored(train, data, parp, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.WhisperConfig(
        d_model=64, encoder_layers=2, encoder_attention_heads=1, encoder_ffn_dim=64,
        decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=16, vocab_size=60,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    transformers.WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "whisper")
    command = [sys.executable, CONVERT, tmp_path / "whisper", tmp_path / "whisper.pt"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2 and "already exists" in again.stderr
    pretrained = f"model.w2v_path={tmp_path / 'whisper.pt'}"
    assert "set model.apply_mask=false" in train.refusal(pretrained, "model.apply_mask=true")
    state = load_checkpoint(tmp_path / "whisper.pt")
    # In place of 1500, which are 30 seconds.
    state["cfg"]["model"]["positions"] = 150
    torch.save(state, tmp_path / "short.pt")
    line = train.refusal(f"model.w2v_path={tmp_path / 'short.pt'}", "model.apply_mask=false")
    assert re.match(r"\S+train\.tsv row \d+: \S+ is \d\.\d s long, .* takes 3\.0 s; cut", line)
    run = train(
        pretrained,
        "model.apply_mask=false",
        "model.mask_prob=0",
        "task.prune.sparsity=0.75",
        "optimization.max_update=3",
    )
    checkpoint = run.folder / "checkpoints" / "checkpoint_last.pt"
    weights = {
        name: tensor
        for name, tensor in load_checkpoint(checkpoint)["model"].items()
        if ".layers." in name and name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))
    }
    entries = sum(tensor.numel() for tensor in weights.values())
    assert len(weights) == 12
    assert sum(int((tensor == 0).sum()) for tensor in weights.values()) == round(0.75 * entries)
    scores = tmp_path / "scores.json"
    status, _, errors = parp(
        "eval", str(checkpoint), "--data", str(data), "--split", "test-clean", "--json", str(scores)
    )[:3]
    assert status == 0, errors
    assert json.loads(scores.read_text())[0]["zeros"] == pytest.approx(0.75, abs=1e-4)
