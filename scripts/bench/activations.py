#!/usr/bin/env python3
"""What training keeps for the backward pass, in MB a second of audio: for estimates of GPU memory.

    .venv/bin/python scripts/bench/activations.py

A CTC model of the full size with random weights goes forward once in training mode, in fp32, over
utterances of 12 seconds; autograd tells which tensors it keeps, and each piece of memory counts
once. Parameters do not count. Attention's share grows with the length of an utterance.
"""

from __future__ import annotations

import argparse

import torch
from measuring import machine

from parp_fairseq.config import shipped
from parp_fairseq.table import aligned

RATE = 16_000
SIZES = {
    "base": ("parp_10h", {}),
    "large": (
        "parp_csr",
        {
            "encoder_layers": 24,
            "encoder_embed_dim": 1024,
            "encoder_ffn_embed_dim": 4096,
            "encoder_attention_heads": 16,
            "extractor_mode": "layer_norm",
            "layer_norm_first": True,
            "conv_bias": True,
        },
    ),
}


def model_of(config: str, architecture: dict) -> torch.nn.Module:
    """wav2vec 2.0 with the dropouts and masks of a config that ships."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    given = shipped.read(config)["model"]
    known = {key: given[key] for key in given if hasattr(Wav2Vec2Config, key)}
    values = {**known, "encoder_layerdrop": 0.0, **architecture}
    model = Wav2Vec2Model(OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), values))
    # As for fine-tuning: without what pre-training alone needs.
    model.remove_pretraining_modules()
    for parameter in model.feature_extractor.parameters():
        parameter.requires_grad_(False)
    return model.train()


def kept(model: torch.nn.Module, utterances: int, seconds: int) -> int:
    """Bytes that autograd keeps of one forward pass, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found: dict[int, int] = {}

    def seen(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    source = torch.randn(utterances, seconds * RATE)
    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        out = model(source, mask=True, features_only=True)["x"]
        out.float().pow(2).mean()
    return sum(found.values())


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=sorted(SIZES), default=list(SIZES))
    parser.add_argument("--utterances", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=12)
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        torch.manual_seed(0)
        model = model_of(*SIZES[size])
        parameters = sum(p.numel() for p in model.parameters())
        bytes_kept = kept(model, options.utterances, options.seconds)
        a_second = bytes_kept / (options.utterances * options.seconds)
        rows.append([size, f"{parameters / 1e6:.1f}", f"{a_second / 1e6:.0f}"])
        del model
    print(f"{machine()}; {options.utterances} utterances of {options.seconds} s\n")
    print(aligned(["size", "million parameters", "MB kept a second"], rows))


if __name__ == "__main__":
    main()
