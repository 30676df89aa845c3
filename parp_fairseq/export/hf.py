"""A folder for `transformers`: Wav2Vec2ForCTC, its processor and its vocabulary.

Written without transformers. Both libraries then compute the same from the same input: fairseq
hands its padding mask to every wav2vec 2.0, so the feature extractor here asks for an attention
mask, for models with group norm too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.convolutions import convolutions
from parp_fairseq.checkpoints.finetuned import FineTuned, open_finetuned
from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE, WEIGHTS_FILE, to_transformers
from parp_fairseq.checkpoints.writing import output
from parp_fairseq.errors import UserError
from parp_fairseq.export.export_folder import RECORD_FILE, check_folder, write_record
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

FILES = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "vocab.json",
    RECORD_FILE,
)

FORM, MODEL_TYPE = "hf", "wav2vec2"

# fairseq's defaults, for keys that a checkpoint leaves out.
_DEFAULTS: dict[str, Any] = {
    "extractor_mode": "default",
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
    "conv_bias": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
}
# What Wav2Vec2ForCTC has no counterpart for, unless it is set to this.
_ONLY = {
    "layer_type": "transformer",
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
    "crop_seq_to_multiple": 1,
    "quantize_input": False,
}
_NORMS = {"default": "group", "layer_norm": "layer"}
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}

# fairseq's CTC blank is <s>, at 0; transformers calls the blank <pad>.
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
_PIECE = "\u2581"


def export_hf(checkpoint: PathLike, out: PathLike, *, force: bool = False) -> dict[str, Any]:
    """Write a fine-tuned wav2vec 2.0 as a folder that `transformers` opens.

    Args:
        checkpoint: a fine-tuned CTC checkpoint, or a sparse file.
        out: the folder to write.
        force: replace what an export of this program wrote into `out`; other files there stay.

    Returns:
        {"format", "out", "files", "bytes"}.

    Raises:
        UserError: the checkpoint cannot be exported (another kind of model, a layer that
            Wav2Vec2ForCTC lacks), or the folder is there (without
            `force`), holds something else or cannot be written.
    """
    out = check_folder(out, FILES, FORM, inputs=[checkpoint], force=force)
    source = open_finetuned(checkpoint)

    from safetensors.torch import save

    settings = source.complete_settings()
    network = _network(source, settings)
    texts = {
        CONFIG_FILE: _config(source, settings, network),
        "preprocessor_config.json": _feature_extractor(source),
        **_tokenizer(source),
    }
    tensors = _tensors(source, network)
    with output(out / WEIGHTS_FILE) as stage:
        # Its own save_file makes files that only their owner can read.
        (stage / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt"}))
        for name, content in texts.items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (stage / name).write_text(text, encoding="utf-8")
        # safetensors lets nobody else read what it writes.
        shutil.copymode(stage / CONFIG_FILE, stage / WEIGHTS_FILE)
        write_record(stage, FORM)
    return {
        "format": FORM,
        "out": str(out),
        "files": list(FILES),
        "bytes": sum((out / name).stat().st_size for name in FILES),
    }


def _network(source: FineTuned, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the network, where transformers has one like it."""
    if source.info.kind != "wav2vec2":
        raise UserError(
            f"{source.path} is a {source.info.kind}; only wav2vec 2.0 (and XLSR) is exported to "
            "Wav2Vec2ForCTC"
        )
    network = {**_DEFAULTS, **_ONLY, **settings["model"]["w2v_args"]["model"]}
    supported: list[tuple[str, Sequence[Any]]] = [
        *((key, (value,)) for key, value in _ONLY.items()),
        ("extractor_mode", tuple(_NORMS)),
        ("activation_fn", tuple(_ACTIVATIONS)),
    ]
    for key, values in supported:
        if network[key] not in values:
            raise UserError(
                f"{source.path}: its network has {key}={network[key]}, which Wav2Vec2ForCTC lacks"
            )
    if settings["model"].get("blank_weight"):
        raise UserError(f"{source.path}: model.blank_weight has no counterpart in Wav2Vec2ForCTC")
    return network


def _config(
    source: FineTuned, settings: Mapping[str, Any], network: Mapping[str, Any]
) -> dict[str, Any]:
    layers = convolutions(str(network["conv_feature_layers"]), source.path)
    tuned = settings["model"]
    criterion = settings.get("criterion") or {}
    return {
        "architectures": ["Wav2Vec2ForCTC"],
        "model_type": MODEL_TYPE,
        "dtype": "float32",
        "torch_dtype": "float32",  # The same, for transformers 4.
        "vocab_size": len(source.dictionary),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_size": network["encoder_embed_dim"],
        "num_hidden_layers": network["encoder_layers"],
        "num_attention_heads": network["encoder_attention_heads"],
        "intermediate_size": network["encoder_ffn_embed_dim"],
        "hidden_act": _ACTIVATIONS[network["activation_fn"]],
        "layer_norm_eps": 1e-5,
        "do_stable_layer_norm": bool(network["layer_norm_first"]),
        "feat_extract_norm": _NORMS[network["extractor_mode"]],
        "feat_extract_activation": "gelu",
        "conv_dim": [layer[0] for layer in layers],
        "conv_kernel": [layer[1] for layer in layers],
        "conv_stride": [layer[2] for layer in layers],
        "conv_bias": bool(network["conv_bias"]),
        "num_feat_extract_layers": len(layers),
        "num_conv_pos_embeddings": network["conv_pos"],
        "num_conv_pos_embedding_groups": network["conv_pos_groups"],
        # What follows counts in training alone.
        "hidden_dropout": tuned.get("dropout", 0.0),
        "attention_dropout": tuned.get("attention_dropout", 0.0),
        "activation_dropout": tuned.get("activation_dropout", 0.0),
        "feat_proj_dropout": tuned.get("dropout_input", 0.0),
        "final_dropout": tuned.get("final_dropout", 0.0),
        "layerdrop": tuned.get("layerdrop", 0.0),
        "apply_spec_augment": bool(tuned.get("apply_mask", False)),
        "mask_time_prob": tuned.get("mask_prob", 0.0),
        "mask_time_length": tuned.get("mask_length", 10),
        "mask_feature_prob": tuned.get("mask_channel_prob", 0.0),
        "mask_feature_length": tuned.get("mask_channel_length", 10),
        "ctc_loss_reduction": "sum",
        "ctc_zero_infinity": bool(criterion.get("zero_infinity", False)),
    }


def _feature_extractor(source: FineTuned) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "processor_class": "Wav2Vec2Processor",
        "feature_size": 1,
        "sampling_rate": 16000,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": bool(source.info.normalize),
        "return_attention_mask": True,
    }


def _tokenizer(source: FineTuned) -> dict[str, dict[str, Any]]:
    symbols = [*_SPECIAL, *source.dictionary.symbols[len(_SPECIAL) :]]
    special = {
        "pad_token": _SPECIAL[0],
        "bos_token": _SPECIAL[1],
        "eos_token": _SPECIAL[2],
        "unk_token": _SPECIAL[3],
    }
    about: dict[str, Any] = {**special, "processor_class": "Wav2Vec2Processor"}
    if any(_PIECE in symbol for symbol in symbols):
        # Joined, the pieces give the words: transformers knows no word mark inside of a token.
        symbols = [symbol.replace(_PIECE, " ") for symbol in symbols]
        about |= {"tokenizer_class": "Wav2Vec2CTCTokenizer", "word_delimiter_token": " "}
    elif source.labels == "ltr" or ("|" in symbols and source.labels != "phn"):
        about |= {"tokenizer_class": "Wav2Vec2CTCTokenizer", "word_delimiter_token": "|"}
    else:
        about |= {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": False}
    return {
        "vocab.json": {symbol: number for number, symbol in enumerate(symbols)},
        "tokenizer_config.json": about,
        "special_tokens_map.json": special,
    }


def _tensors(source: FineTuned, network: Mapping[str, Any]) -> dict[str, Tensor]:
    import torch

    tensors: dict[str, Tensor] = {}
    for name, tensor in source.weights.items():
        # Half-precision runs save half-precision weights; fairseq decodes in fp32 by default.
        renamed = to_transformers(name)
        if renamed is None:
            raise UserError(f"{source.path} holds {name}, which Wav2Vec2ForCTC lacks")
        tensors[renamed] = tensor.detach().float().contiguous()
    width = network["encoder_embed_dim"]
    if "wav2vec2.feature_projection.projection.weight" not in tensors:
        # fairseq leaves the projection out where the sizes agree; transformers always has one.
        tensors["wav2vec2.feature_projection.projection.weight"] = torch.eye(width)
        tensors["wav2vec2.feature_projection.projection.bias"] = torch.zeros(width)
    return tensors
