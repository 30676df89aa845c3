"""A small fine-tuned subnetwork as the task `parp` saves it, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SYMBOLS = ["|", *"ETAONIHSRDLU"]


def random_state(sparsity: float = 0.9, width: int = 32, **changes: Any) -> dict[str, Any]:
    """What `torch.load` gives for a wav2vec 2.0 of two layers; its transformer is pruned."""
    from fairseq import tasks
    from fairseq.data import Dictionary
    from omegaconf import OmegaConf

    from parp_fairseq.pruning import Scope, magnitude_mask

    torch.manual_seed(3)
    network = {
        "_name": "wav2vec2",
        "extractor_mode": "default",
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "encoder_layers": 2,
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": 2 * width,
        "encoder_attention_heads": 4,
        "final_dim": 16,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        **changes,
    }
    pretraining = {"_name": "audio_pretraining", "data": "", "normalize": False}
    model = {
        "_name": "wav2vec_ctc",
        "w2v_path": "/gone/parp_fairseq/pretrained.pt",
        "data": "/gone",
        "normalize": False,
        "apply_mask": True,
        "ddp_backend": "legacy_ddp",
        "w2v_args": {"model": network, "task": pretraining, "common": {"fp16": False}},
    }
    cfg = {
        "common": {"tpu": False, "seed": 1, "user_dir": "parp_fairseq"},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "job_logging_cfg": {"filename": "/gone/parp.log"},
        "task": {
            "_name": "audio_finetuning",
            "data": "/gone",
            "labels": "ltr",
            "normalize": False,
            "eval_wer": False,
        },
        "model": model,
        "criterion": {"_name": "parp_ctc", "zero_infinity": True},
        "optimizer": {"_name": "parp", "base": {"_name": "adam", "adam_eps": 1e-8}},
        "lr_scheduler": {"_name": "fixed"},
    }
    root = OmegaConf.create(cfg)
    task = tasks.setup_task(root.task)
    dictionary = Dictionary()
    for number, symbol in enumerate(SYMBOLS):
        dictionary.add_symbol(symbol, n=100 - number)
    task.load_state_dict({"target_dictionary": dictionary})
    built = task.build_model(root.model)
    weights = dict(built.named_parameters())
    mask = magnitude_mask({name: weights[name] for name in Scope().select(weights)}, sparsity)
    with torch.no_grad():
        for name, kept in mask.items():
            weights[name].masked_fill_(~kept, 0.0)
    cfg["task"] = {**cfg["task"], "_name": "parp", "prune": {"method": "parp"}, "folder": "/gone"}
    return {
        "args": None,
        "cfg": cfg,
        "model": dict(built.state_dict()),
        "criterion": None,
        "optimizer_history": [{"optimizer_name": "ParpOptimizer", "num_updates": 7}],
        "task_state": {
            "parp_symbols": {"symbols": SYMBOLS, "counts": list(range(100, 100 - len(SYMBOLS), -1))}
        },
        "extra_state": {"train_iterator": {"epoch": 2}},
        "last_optimizer_state": {"parp": {"version": 1}},
    }


PHONES = ["tʃ", "ɛ", "i", "m", "n", "oʊ", "s", "d", "a", "e", "k", "l", "r"]
PIECES = [
    *("\u2581THE", "\u2581A", "S", "ING", "\u2581", "E", "O", "\u2581I", "T", "N", "R", "L", "D")
]
KINDS_OF_SYMBOLS = {"ltr": SYMBOLS, "phn": PHONES, "spm": PIECES}
"""Ending of label files → as many symbols as SYMBOLS."""


def lively(labels: str = "ltr", **changes: Any) -> dict[str, Any]:
    """`random_state` of a subnetwork whose frames are of many symbols."""
    state = random_state(**changes)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in state["model"].items():
            # fairseq begins with zero biases, which would hide a swap.
            if weight.is_floating_point() and weight.dim() == 1 and "norm" not in name:
                weight.add_(0.2 * torch.randn_like(weight))
        head = state["model"]["w2v_encoder.proj.weight"]
        head.copy_(0.3 * torch.randn_like(head))
        # The rows 1 to 3 are of <pad>, </s> and <unk>; the second is never written.
        state["model"]["w2v_encoder.proj.bias"][[1, 3]] = -1e3
    state["task_state"]["parp_symbols"]["symbols"] = list(KINDS_OF_SYMBOLS[labels])
    normalize = changes.get("extractor_mode") == "layer_norm"
    state["cfg"]["task"].update(normalize=normalize, labels=labels)
    return state


def save(state: dict[str, Any], path: Path) -> Path:
    """Save a state, and give back where."""
    torch.save(state, path)
    return path


def bits(tensor: torch.Tensor) -> bytes:
    """A tensor's very bits."""
    return tensor.detach().contiguous().numpy().tobytes()
