"""A Wav2Vec2ForCTC of `transformers` in a folder, as the fairseq checkpoint that it could be.

Weights get fairseq's names, the settings its sections. The head's rows are put in the order of a
fairseq dictionary: the blank first (transformers' <pad>), then <s>, </s> and <unk> in the places of
<pad>, </s> and <unk>, then all others. A special token that the tokenizer lacks gets a row that is
never chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE, WEIGHTS_FILE, read_hf_weights
from parp_fairseq.checkpoints.hf_symbols import read_symbols
from parp_fairseq.checkpoints.strict_json import read_object
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

AUDIO_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
SAMPLE_RATE = 16_000

_NETWORK = "w2v_encoder.w2v_model."
_HEAD = "w2v_encoder.proj."
# Logit of a row that stands for nothing.
_NEVER = -1e4

# fairseq's option → transformers', and its default there.
_SIZES = {
    "encoder_layers": ("num_hidden_layers", 12),
    "encoder_embed_dim": ("hidden_size", 768),
    "encoder_ffn_embed_dim": ("intermediate_size", 3072),
    "encoder_attention_heads": ("num_attention_heads", 12),
    "conv_pos": ("num_conv_pos_embeddings", 128),
    "conv_pos_groups": ("num_conv_pos_embedding_groups", 16),
}
_NORMS = {"group": "default", "layer": "layer_norm"}
# What fairseq's wav2vec 2.0 has one form of.
_ONLY: dict[str, tuple[Any, ...]] = {
    "model_type": ("wav2vec2",),
    "add_adapter": (False,),
    "adapter_attn_dim": (None,),
    "quantization_config": (None,),
    "feat_extract_activation": ("gelu",),
    "feat_extract_norm": tuple(_NORMS),
    "hidden_act": ("gelu", "relu"),
    "layer_norm_eps": (1e-5,),
    "do_stable_layer_norm": (False, True),
    "conv_bias": (False, True),
}
_DEFAULTS = {
    **{key: values[0] for key, values in _ONLY.items()},
    "model_type": None,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
}
# What counts in training alone: fairseq's option → transformers'.
_TRAINING = {
    "dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "dropout_input": "feat_proj_dropout",
    "final_dropout": "final_dropout",
    "layerdrop": "layerdrop",
    "mask_prob": "mask_time_prob",
    "mask_length": "mask_time_length",
    "mask_channel_prob": "mask_feature_prob",
    "mask_channel_length": "mask_feature_length",
}


def check_hf_folder(folder: PathLike) -> None:
    """Check, without torch, that a folder holds the files of a model.

    Raises:
        UserError: it lacks one.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not Path(folder, name).is_file():
            raise UserError(
                f"{folder} is a folder and lacks {name}; give a checkpoint file, or a folder that "
                "save_pretrained of transformers wrote in one piece"
            )


def read_hf_folder(folder: PathLike) -> dict[str, Any]:
    """Read a folder of `transformers` into the form that `load_checkpoint` gives.

    Args:
        folder: with config.json, model.safetensors, vocab.json, and preprocessor_config.json or
            processor_config.json.

    Returns:
        {"args": None, "cfg", "model": name → fp32 tensor under fairseq's names, "task_state": the
        dictionary as the task `parp` saves it, "optimizer_history"}.

    Raises:
        UserError: a file is missing or damaged, or it is a model of another kind, with other
            symbols, or with a setting or a tensor that fairseq's wav2vec 2.0 lacks.
    """
    folder = Path(folder)
    check_hf_folder(folder)
    config = {**_DEFAULTS, **read_object(folder / CONFIG_FILE)}
    _check_kind(config, folder)
    network = _network(config, folder)
    normalize = read_normalize(folder)
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in read_hf_weights(folder, strict=True).items()
    }
    if f"{_HEAD}weight" not in weights or f"{_HEAD}bias" not in weights:
        raise UserError(f"{folder} has no CTC head (lm_head); give a Wav2Vec2ForCTC")
    symbols = read_symbols(folder, config, int(weights[f"{_HEAD}weight"].shape[0]))
    _order_head(weights, symbols.rows)
    _complete(weights, network, folder)
    reading = {"data": "", "normalize": normalize}
    return {
        "args": None,
        "cfg": {
            "model": {
                "_name": "wav2vec_ctc",
                "w2v_path": "",
                **reading,
                "apply_mask": bool(config.get("apply_spec_augment", True)),
                **{ours: config[theirs] for ours, theirs in _TRAINING.items() if theirs in config},
                "ddp_backend": "legacy_ddp",
                "w2v_args": {
                    "model": network,
                    "task": {"_name": "audio_pretraining", **reading},
                },
            },
            "task": {"_name": "audio_finetuning", "labels": symbols.labels, **reading},
            "criterion": {
                "_name": "ctc",
                "zero_infinity": bool(config.get("ctc_zero_infinity", False)),
            },
        },
        "model": weights,
        "task_state": {
            SYMBOLS_KEY: {"symbols": list(symbols.names), "counts": [1] * len(symbols.names)}
        },
        "optimizer_history": [{"num_updates": 0}],
    }


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    if config["model_type"] != "wav2vec2":
        raise UserError(
            f"{folder} holds a {str(config['model_type'])[:40]!r} of transformers; only a "
            "Wav2Vec2ForCTC is read"
        )
    names = config.get("architectures") or ["Wav2Vec2ForCTC"]
    if names != ["Wav2Vec2ForCTC"]:
        raise UserError(
            f"{folder} holds a {str(names)[:60]}; only a Wav2Vec2ForCTC is read, fine-tuned with "
            "CTC"
        )
    for key, values in _ONLY.items():
        # 1 == True in Python.
        if not any(config[key] == value and type(config[key]) is type(value) for value in values):
            raise UserError(
                f"{folder}: its {CONFIG_FILE} has {key}={str(config[key])[:40]}, which fairseq's "
                "wav2vec 2.0 lacks"
            )


def _network(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Options of fairseq's network."""
    sizes = {ours: config.get(theirs, default) for ours, (theirs, default) in _SIZES.items()}
    shapes = [config[f"conv_{part}"] for part in ("dim", "kernel", "stride")]
    if not all(_is_size(size) for size in sizes.values()):
        wrong = next(ours for ours, size in sizes.items() if not _is_size(size))
        theirs = _SIZES[wrong][0]
        raise UserError(
            f"{folder}: its {CONFIG_FILE} has {theirs}={str(sizes[wrong])[:40]}, which is no size"
        )
    if (
        not all(isinstance(shape, list) and all(map(_is_size, shape)) for shape in shapes)
        or len({len(shape) for shape in shapes}) != 1
        or not 1 <= len(shapes[0]) <= 64
    ):
        raise UserError(f"{folder}: the conv_dim, conv_kernel and conv_stride are no layers")
    return {
        "_name": "wav2vec2",
        **sizes,
        "extractor_mode": _NORMS[config["feat_extract_norm"]],
        "conv_feature_layers": str([tuple(layer) for layer in zip(*shapes)]),
        "conv_bias": config["conv_bias"],
        "layer_norm_first": config["do_stable_layer_norm"],
        "activation_fn": config["hidden_act"],
        "final_dim": 0,
    }


def read_normalize(folder: PathLike) -> bool:
    """Say whether a folder's waveforms are normalised, from either file that a processor writes.

    Raises:
        UserError: neither is there, or it is damaged, does not say, or is of another rate.
    """
    folder = Path(folder)
    if (folder / AUDIO_FILE).is_file():
        name, about = AUDIO_FILE, read_object(folder / AUDIO_FILE)
    elif (folder / PROCESSOR_FILE).is_file():
        name, about = PROCESSOR_FILE, read_object(folder / PROCESSOR_FILE)
        about = about.get("feature_extractor") or {}
    else:
        raise UserError(
            f"{folder} lacks {AUDIO_FILE}, which says whether audio is normalised; save the "
            "processor there too"
        )
    if not isinstance(about, dict) or not isinstance(about.get("do_normalize"), bool):
        raise UserError(f"{folder / name} does not say do_normalize; save the processor again")
    if about.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise UserError(
            f"{folder / name}: {str(about['sampling_rate'])[:20]} samples a second; only models of "
            f"{SAMPLE_RATE} are read"
        )
    return bool(about["do_normalize"])


def _order_head(weights: dict[str, Tensor], rows: Sequence[int | None]) -> None:
    """Put the head's rows in this order; None is a row that is never chosen."""
    import torch

    weight, bias = weights[f"{_HEAD}weight"], weights[f"{_HEAD}bias"]
    chosen = torch.tensor([0 if row is None else row for row in rows])
    dead = torch.tensor([row is None for row in rows])
    weights[f"{_HEAD}weight"] = weight[chosen].masked_fill(dead[:, None], 0.0)
    weights[f"{_HEAD}bias"] = bias[chosen].masked_fill(dead, _NEVER)


def _complete(weights: dict[str, Tensor], network: Mapping[str, Any], folder: Path) -> None:
    """What one of the two libraries always has and the other may leave out."""
    import torch

    width = network["encoder_embed_dim"]
    # For training; transformers leaves it out where it masks nothing.
    weights.setdefault(f"{_NETWORK}mask_emb", torch.zeros(width))
    weight, bias = (
        weights.get(f"{_NETWORK}post_extract_proj.{part}") for part in ("weight", "bias")
    )
    if weight is not None and bias is not None and weight.shape[0] == weight.shape[1]:
        # fairseq has no projection between equal widths.
        if not torch.equal(weight, torch.eye(width)) or bool(bias.any()):
            raise UserError(
                f"{folder}: its feature projection leads from {width} to {width} channels, where "
                "fairseq's wav2vec 2.0 has none"
            )
        for part in ("weight", "bias"):
            del weights[f"{_NETWORK}post_extract_proj.{part}"]


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**20
