"""A Wav2Vec2ForCTC in a folder of `transformers`, read as the fairseq checkpoint that it could be.

Weights get fairseq's names, the settings its sections. The head's rows are put in the order of a
fairseq dictionary: the blank first (transformers' <pad>), then <s>, </s> and <unk> in the places of
<pad>, </s> and <unk>, then all others. A special token that the tokenizer lacks gets a row that is
never chosen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
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
INDEX_FILE = "model.safetensors.index.json"
AUDIO_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
VOCABULARY_FILE = "vocab.json"
TOKENS_FILE, SPECIAL_FILE = "tokenizer_config.json", "special_tokens_map.json"
_ADDED_FILE = "added_tokens.json"
# In the places of fairseq's special symbols, after the blank; and transformers' defaults.
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_PIECE = "\u2581"
SAMPLE_RATE = 16_000

# Logit of a row without a symbol.
_NEVER = -1e4


def is_hf_folder(path: PathLike) -> bool:
    """Whether a folder holds a model of `transformers`."""
    return all(Path(path, name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE))


def check_hf_folder(folder: PathLike) -> dict[str, Any]:
    """Check, without torch, that a folder holds a Wav2Vec2ForCTC; return its config.json.

    Raises UserError: it lacks a file, holds another model, or does not say how audio is read.
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
    """Read a folder of `transformers` into the form that `load_checkpoint` gives, in fp32.

    Raises UserError: a file is missing or damaged, or it is a model of another kind, with other
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
    symbols, rows, labels = read_symbols(folder, config, len(weights[f"{HEAD}weight"]))
    _order_head(weights, rows)
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
            "task": {"_name": "audio_finetuning", "labels": labels, **audio},
            "criterion": {
                "_name": "ctc",
                "zero_infinity": bool(config.get("ctc_zero_infinity", False)),
            },
        },
        "model": weights,
        "task_state": {SYMBOLS_KEY: {"symbols": symbols, "counts": [1] * len(symbols)}},
        "optimizer_history": [{"num_updates": 0}],
    }


def read_hf_weights(folder: PathLike, *, strict: bool = False) -> dict[str, Tensor]:
    """Read a Wav2Vec2ForCTC's weights under fairseq's names; others are left out, or refused.

    Raises UserError: a file is damaged, or holds another model.
    """
    layer_norm = read_object(Path(folder, CONFIG_FILE)).get("feat_extract_norm") == "layer"
    weights = {}
    for name, tensor in read_tensors(folder).items():
        ours = from_transformers(name, layer_norm)
        if ours is not None:
            weights[ours] = tensor
        elif strict:
            raise UserError(f"{folder} holds {name}, which fairseq's wav2vec 2.0 lacks")
    if not weights:
        raise UserError(f"{folder} holds no Wav2Vec2ForCTC; give an export of --format hf")
    return weights


def read_tensors(folder: PathLike) -> dict[str, Tensor]:
    """Read all tensors that `save_pretrained` wrote, in one or several files, onto the CPU.

    Raises UserError: there is no such folder, it holds no safetensors weights, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    path, names = folder / INDEX_FILE, [WEIGHTS_FILE]
    tensors: dict[str, Tensor] = {}
    try:
        if not (folder / WEIGHTS_FILE).is_file() and path.is_file():
            weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            names = sorted({Path(name).name for name in weight_map.values()})
        for name in names:
            path = folder / name
            tensors.update(load_file(str(path)))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; give a folder that save_pretrained wrote, whole"
        ) from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a readable model; copy it again") from error
    return tensors


def read_normalize(folder: PathLike) -> bool:
    """Whether a folder's waveforms are normalised, from either file that a processor writes."""
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


def read_symbols(
    folder: Path, config: Mapping[str, Any], rows: int
) -> tuple[list[str], list[int | None], str]:
    """Read the vocabulary of a folder of `transformers` whose head has so many rows.

    Returns the dictionary's own symbols, its special ones left out; for each symbol, special ones
    first, its row in transformers' head (None: it has none); the ending of label files of such
    symbols. UserError where a file is missing, damaged, or does not name the head's rows, each
    once.
    """
    about = _json(folder / TOKENS_FILE)
    special = {**_json(folder / SPECIAL_FILE), **about}
    names = _names(folder, about, rows)
    blank = config.get("pad_token_id", 0)
    if type(blank) is not int or not 0 <= blank < rows:
        raise UserError(
            f"{folder}: its pad_token_id, the CTC blank, is {str(blank)[:40]}, and its head has "
            f"{rows} rows; set it in config.json"
        )
    first: list[int | None] = [blank]
    for key, default in _SPECIAL.items():
        token = _content(special.get(key, default))
        row = names.index(token) if token in names else None
        first.append(None if row in first else row)
    others = [row for row in range(rows) if row not in first]
    delimiter = _content(about.get("word_delimiter_token", "|"))
    lower = about.get("do_lower_case") is True
    own = []
    for row in others:
        name = names[row].lower() if lower else names[row]
        if delimiter == " ":
            name = name.replace(" ", _PIECE)
        elif delimiter and names[row] == delimiter:
            name = "|"
        own.append(name)
    phones = about.get("tokenizer_class") == "Wav2Vec2PhonemeCTCTokenizer"
    labels = "phn" if phones else "spm" if delimiter == " " else "ltr"
    return own, [*first, *others], labels


def _names(folder: Path, about: Mapping[str, Any], rows: int) -> list[str]:
    """A symbol for each row."""
    file = folder / VOCABULARY_FILE
    added = about.get("added_tokens_decoder")
    numbered = {**_json(file), **_json(folder / _ADDED_FILE)}
    names: dict[int, str] = {}
    for symbol, row in numbered.items():
        if type(row) is not int or row < 0 or not symbol:
            raise UserError(
                f"{file}: {symbol[:40]!r} has the number {str(row)[:40]}, which is no row of a "
                "head; give a model of one language"
            )
        if names.setdefault(row, symbol) != symbol:
            raise UserError(f"{file}: {symbol[:40]!r} and {names[row][:40]!r} share the row {row}")
    for row, token in (added if isinstance(added, dict) else {}).items():
        if str(row).isdigit() and _content(token):
            names.setdefault(int(row), _content(token))
    missing = [row for row in range(rows) if row not in names]
    if missing:
        raise UserError(
            f"{file} names no symbol for row {missing[0]} of a head of {rows}; save the tokenizer "
            "that the model was trained with"
        )
    return [names[row] for row in range(rows)]


def _content(token: Any) -> str:
    """A token's text; transformers saves some as objects."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""


def _json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
