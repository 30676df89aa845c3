"""A Wav2Vec2ForCTC in a folder of `transformers`, read as the fairseq checkpoint that it could be.

Weights get fairseq's names, the settings its sections. The head's rows are put in the order of a
fairseq dictionary: the blank first (transformers' <pad>), then <s>, </s> and <unk> in the places of
<pad>, </s> and <unk>, then all others. A special token that the tokenizer lacks gets a row that is
never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.hf_symbols import VOCABULARY_FILE, read_symbols
from parp_fairseq.checkpoints.strict_json import read_object
from parp_fairseq.checkpoints.vocabulary import (
    HEAD,
    NETWORK,
    TRAINING_KEYS,
    Architecture,
    from_transformers,
)
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
AUDIO_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
SAMPLE_RATE = 16_000

# Logit of a row that stands for nothing.
_NEVER = -1e4


def is_hf_folder(path: PathLike) -> bool:
    """Whether a folder holds a model of `transformers`."""
    return all(Path(path, name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE))


def check_hf_folder(folder: PathLike) -> dict[str, Any]:
    """Check, without torch, that a folder holds the files of a Wav2Vec2ForCTC.

    Returns:
        The content of its config.json.

    Raises:
        UserError: it lacks one, holds another model, or does not say how audio is read.
    """
    _check_files(folder, CONFIG_FILE, WEIGHTS_FILE)
    config = read_object(Path(folder, CONFIG_FILE))
    classes = config.get("architectures") or ["Wav2Vec2ForCTC"]
    if config.get("model_type") != "wav2vec2" or classes != ["Wav2Vec2ForCTC"]:
        raise UserError(
            f"{folder} holds a {str(config.get('model_type'))[:40]!r} of transformers "
            f"({str(classes)[:60]}); only a Wav2Vec2ForCTC is read, fine-tuned with CTC"
        )
    _check_files(folder, VOCABULARY_FILE)
    read_normalize(folder)
    return config


def _check_files(folder: PathLike, *names: str) -> None:
    for name in names:
        if not Path(folder, name).is_file():
            raise UserError(
                f"{folder} is a folder and lacks {name}; give a checkpoint file, or a folder that "
                "`parp export --format hf` or save_pretrained of transformers wrote in one piece"
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
    config = check_hf_folder(folder)
    architecture = Architecture.from_transformers(config, folder)
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in read_hf_weights(folder, strict=True).items()
    }
    if f"{HEAD}weight" not in weights or f"{HEAD}bias" not in weights:
        raise UserError(f"{folder} has no CTC head (lm_head); give a Wav2Vec2ForCTC")
    symbols = read_symbols(folder, config, int(weights[f"{HEAD}weight"].shape[0]))
    _order_head(weights, symbols.rows)
    _complete(weights, architecture.width, folder)
    audio = {"data": "", "normalize": read_normalize(folder)}
    training = {ours: config[theirs] for ours, theirs, _ in TRAINING_KEYS if theirs in config}
    return {
        "args": None,
        "cfg": {
            "model": {
                "_name": "wav2vec_ctc",
                "w2v_path": "",
                **audio,
                "apply_mask": True,
                **training,
                "ddp_backend": "legacy_ddp",
                "w2v_args": {
                    "model": architecture.to_fairseq(),
                    "task": {"_name": "audio_pretraining", **audio},
                },
            },
            "task": {"_name": "audio_finetuning", "labels": symbols.labels, **audio},
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


def read_hf_weights(folder: PathLike, *, strict: bool = False) -> dict[str, Tensor]:
    """Read the weights of a Wav2Vec2ForCTC under fairseq's names; other tensors are left out.

    Args:
        folder: the folder.
        strict: refuse other tensors.

    Raises:
        UserError: a file is damaged, or holds another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    layer_norm = read_object(Path(folder, CONFIG_FILE)).get("feat_extract_norm") == "layer"
    file = Path(folder, WEIGHTS_FILE)
    try:
        tensors = load_file(str(file))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: not a readable model; copy it again") from error
    weights = {}
    for name, tensor in tensors.items():
        ours = from_transformers(name, layer_norm)
        if ours is not None:
            weights[ours] = tensor
        elif strict:
            raise UserError(f"{file} holds {name}, which fairseq's wav2vec 2.0 lacks")
    if not weights:
        raise UserError(f"{folder} holds no Wav2Vec2ForCTC; give an export of --format hf")
    return weights


def read_normalize(folder: PathLike) -> bool:
    """Say whether a folder's waveforms are normalised, from either file that a processor writes.

    Raises:
        UserError: neither exists, or it is damaged, does not say, or is of another rate.
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

    chosen = torch.tensor([0 if row is None else row for row in rows])
    dead = torch.tensor([row is None for row in rows])
    weight, bias = weights[f"{HEAD}weight"], weights[f"{HEAD}bias"]
    weights[f"{HEAD}weight"] = weight[chosen].masked_fill(dead[:, None], 0.0)
    weights[f"{HEAD}bias"] = bias[chosen].masked_fill(dead, _NEVER)


def _complete(weights: dict[str, Tensor], width: int, folder: Path) -> None:
    """Add and drop what one of the two libraries always has and the other may leave out."""
    import torch

    # For training; transformers leaves it out where it masks nothing.
    weights.setdefault(f"{NETWORK}mask_emb", torch.zeros(width))
    names = [f"{NETWORK}post_extract_proj.{part}" for part in ("weight", "bias")]
    weight, bias = map(weights.get, names)
    if weight is not None and bias is not None and weight.shape[0] == weight.shape[1]:
        # fairseq has no projection between equal widths.
        if not torch.equal(weight, torch.eye(width)) or bool(bias.any()):
            raise UserError(
                f"{folder}: its feature projection leads from {width} to {width} channels, where "
                "fairseq's wav2vec 2.0 has none"
            )
        for name in names:
            del weights[name]
