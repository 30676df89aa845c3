"""wav2vec 2.0 base (with `quick`: two small layers) with random weights, for benches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from parp_fairseq.manifests.labels.labelling import ENGLISH_LETTERS
from parp_fairseq.pruning import Scope, magnitude_mask

QUICK = {"encoder_layers": 2, "encoder_embed_dim": 384}
READING = {"data": "", "normalize": False}
# Layers and width: every layer has four matrices of w by w and two of w by 4 w.
SIZES = {"base": (12, 768), "XLSR-53": (24, 1024), "quick": (2, 512)}


def matrices(size: str, device: str = "cpu") -> dict[str, torch.Tensor]:
    """The prunable matrices of a model of this size."""
    layers, width = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    shapes = {f"self_attn.{kind}_proj": (width, width) for kind in ("k", "v", "q", "out")}
    shapes.update(fc1=(4 * width, width), fc2=(width, 4 * width))
    return {
        f"encoder.layers.{layer}.{kind}.weight": (
            torch.randn(shape, generator=generator) * 0.05
        ).to(device)
        for layer in range(layers)
        for kind, shape in shapes.items()
    }


def pretrained(quick: bool) -> tuple[torch.nn.Module, dict[str, Any]]:
    """fairseq's `Wav2Vec2Model`, and its checkpoint as fairseq would write it."""
    from fairseq.models.wav2vec import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    config = Wav2Vec2Config(
        quantize_targets=True, final_dim=256, latent_vars=320, **(QUICK if quick else {})
    )
    model = Wav2Vec2Model(config)
    options = OmegaConf.to_container(OmegaConf.structured(config))
    options = {key: getattr(value, "name", value) for key, value in options.items()}
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
    return model, {
        "args": None,
        "cfg": {
            "model": {**options, "_name": "wav2vec2"},
            "task": {"_name": "audio_pretraining", **READING},
            "lr_scheduler": {"_name": "fixed"},
        },
        "model": model.state_dict(),
        "optimizer_history": [{**history, "num_updates": 0}],
        "extra_state": {"metrics": [], "train_iterator": {"epoch": 1}},
        "last_optimizer_state": {},
    }


def fine_tuned(sparsity: float, quick: bool) -> dict[str, Any]:
    """The checkpoint of a fine-tuned model of English letters, pruned to a sparsity."""
    from fairseq import tasks
    from fairseq.data import Dictionary
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    network = {"_name": "wav2vec2", "encoder_layers": 12, "encoder_embed_dim": 768}
    pretraining = {"_name": "audio_pretraining", **READING}
    arguments = {"model": {**network, **(QUICK if quick else {})}, "task": pretraining}
    model = {"_name": "wav2vec_ctc", "w2v_path": "pretrained.pt", **READING}
    cfg = {
        "common": {"tpu": False, "seed": 1},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "task": {"_name": "audio_finetuning", "labels": "ltr", **READING},
        "model": {**model, "w2v_args": arguments},
    }
    dictionary = Dictionary()
    for symbol, count in ENGLISH_LETTERS:
        dictionary.add_symbol(symbol, n=count)
    root = OmegaConf.create(cfg)
    task = tasks.setup_task(root.task)
    task.load_state_dict({"target_dictionary": dictionary})
    weights = task.build_model(root.model).state_dict()
    prunable = {name: weights[name] for name in Scope().select(weights)}
    for name, kept in magnitude_mask(prunable, sparsity).items():
        weights[name].masked_fill_(~kept, 0.0)
    symbols, counts = zip(*ENGLISH_LETTERS)
    saved = {"parp_symbols": {"symbols": list(symbols), "counts": list(counts)}}
    return {"args": None, "cfg": cfg, "model": dict(weights), "task_state": saved}


def linears(layer: Any) -> Iterator[tuple[Any, str]]:
    """The linears of one of fairseq's encoder layers: what holds each, and its name there."""
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield layer.self_attn, name
    yield layer, "fc1"
    yield layer, "fc2"
