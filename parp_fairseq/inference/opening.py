"""A subnetwork in any form, opened in plain torch.

A sparse file and a folder of `transformers` hold all that is needed. So does a checkpoint with a
dictionary of this package's; another one's dictionary may need fairseq to be read.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS, SYMBOLS_KEY, read_dictionary
from parp_fairseq.checkpoints.finetuned import check_finetuned, check_finite
from parp_fairseq.checkpoints.forms import check_form, read_state
from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE, WEIGHTS_FILE, read_hf_weights
from parp_fairseq.checkpoints.kinds import MASK_FILE
from parp_fairseq.checkpoints.settings import plain_settings
from parp_fairseq.checkpoints.shipped import named_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.inference.symbols import Symbols, joining

if TYPE_CHECKING:
    from parp_fairseq.inference.network import Wav2Vec2Ctc

VOCABULARY_FILE = "vocab.json"
AUDIO_FILE = "preprocessor_config.json"
_TOKENS_FILE, _ADDED_FILE = "tokenizer_config.json", "added_tokens.json"
_FOLDER = (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE, AUDIO_FILE)

SAMPLE_RATE = 16_000

# What is added to a waveform's variance: by fairseq's layer_norm, and by transformers.
_FAIRSEQ_EPS, _TRANSFORMERS_EPS = 1e-5, 1e-7
_OURS = "parp-fairseq"


@dataclass(frozen=True)
class Subnetwork:
    """A fine-tuned CTC model, dense or sparse, ready to transcribe.

    Attributes:
        path: the file or folder.
        model: its network, in evaluation mode.
        symbols: what the rows of its head stand for.
        normalize: whether a waveform is brought to mean 0 and variance 1.
        eps: what is added to the variance then.
    """

    path: Path
    model: Wav2Vec2Ctc = field(repr=False)
    symbols: Symbols = field(repr=False)
    normalize: bool
    eps: float = _FAIRSEQ_EPS


def check_model(path: PathLike) -> Path:
    """Check, without torch, that `path` looks like a model, and return it.

    Raises:
        UserError: it is missing, cut off, of another kind, or a folder that lacks a file.
    """
    path = named_checkpoint(path)
    if not path.is_dir():
        if path.is_file() and MASK_FILE.matches(path) and path.stat().st_size:
            raise UserError(f"{path} is a mask file, which holds no weights; give the model")
        check_form(path)
        return path
    for name in _FOLDER:
        if not Path(path, name).is_file():
            raise UserError(
                f"{path} lacks {name}; give a folder that `parp export --format hf` or "
                "transformers wrote, or a model's file"
            )
    return path


def open_subnetwork(path: PathLike) -> Subnetwork:
    """Read a fine-tuned CTC model.

    Args:
        path: a fairseq checkpoint, a sparse file, or a folder of `transformers`.

    Raises:
        UserError: it cannot be read, is pre-trained only, has weights that are no numbers, lacks
            its dictionary, or is a network that `inference.network` has no counterpart of.
    """
    path = check_model(path)
    return _of_folder(path) if path.is_dir() else _of_file(path)


def _of_file(path: Path) -> Subnetwork:
    state = read_state(path)
    info = check_finetuned(state, path)

    from parp_fairseq.inference.network import Wav2Vec2Ctc

    with warnings.catch_warnings():
        # Hydra's remarks to developers, where fairseq turns a flat namespace into sections.
        warnings.simplefilter("ignore")
        settings = plain_settings(state)
    model = Wav2Vec2Ctc.from_finetuned(settings["model"], state["model"], path)
    symbols = _symbols(state, settings, info.labels, path)
    _check_rows(symbols, model, path)
    return Subnetwork(path, model, symbols, bool(info.normalize))


def _symbols(
    state: Mapping[str, Any], settings: Mapping[str, Any], labels: str | None, path: Path
) -> Symbols:
    """The dictionary, without fairseq where it is kept as lists or text."""
    saved = state.get("task_state") or {}
    if saved.get("target_dictionary") is not None:
        return Symbols.of_dictionary(
            saved["target_dictionary"].symbols[len(SPECIAL_SYMBOLS) :],
        )
    if SYMBOLS_KEY in saved:
        return Symbols.of_dictionary(saved[SYMBOLS_KEY]["symbols"])
    file = path.parent / f"dict.{labels}.txt"
    if not file.is_file():
        file = Path(str((settings.get("task") or {}).get("data") or ""), file.name)
    if not file.is_file():
        raise UserError(
            f"{path} holds no dictionary and {file} is not there; put the dictionary that the "
            "model was trained with in that place"
        )
    return Symbols.of_dictionary(read_dictionary(file))


def _check_rows(symbols: Symbols, model: Wav2Vec2Ctc, path: Path) -> None:
    rows = model.architecture.symbols
    if len(symbols.names) != rows:
        raise UserError(
            f"{path}: its dictionary has {len(symbols.names)} symbols ({len(SPECIAL_SYMBOLS)} "
            f"special ones included) but its head has {rows}; use the dictionary that the model "
            "was trained with"
        )


def _of_folder(folder: Path) -> Subnetwork:
    config = _json(folder / CONFIG_FILE)
    audio = _json(folder / AUDIO_FILE)
    rate = audio.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UserError(f"{folder}: its audio has {rate} samples a second, expected {SAMPLE_RATE}")
    weights = read_hf_weights(folder)
    check_finite(weights, folder)

    from parp_fairseq.inference.architecture import of_transformers
    from parp_fairseq.inference.network import Wav2Vec2Ctc

    made = of_transformers(config, weights, folder)
    model = Wav2Vec2Ctc.with_weights(made, weights, folder)
    ours = config.get("written_by") == _OURS
    return Subnetwork(
        folder,
        model,
        _symbols_of_folder(folder, config, made.symbols, ours),
        bool(audio.get("do_normalize", True)),
        _FAIRSEQ_EPS if ours else _TRANSFORMERS_EPS,
    )


def _symbols_of_folder(folder: Path, config: Mapping[str, Any], rows: int, ours: bool) -> Symbols:
    """What transformers' tokenizer says; in our folders, in fairseq's own terms."""
    about = _json(folder / _TOKENS_FILE, needed=False)
    vocabulary = {**_json(folder / VOCABULARY_FILE), **_json(folder / _ADDED_FILE, needed=False)}
    names = [""] * rows
    for symbol, number in vocabulary.items():
        if not isinstance(number, int) or number < 0:
            raise UserError(
                f"{folder / VOCABULARY_FILE}: {symbol!r} stands for {str(number)[:40]}, which is "
                "no number of a symbol; give a model of one language"
            )
        if number < rows:
            names[number] = symbol
    if not vocabulary:
        raise UserError(f"{folder / VOCABULARY_FILE} is empty; copy the folder again")
    delimiter = about.get("word_delimiter_token", "|")
    if delimiter == " ":
        # What our export makes of the mark in pieces.
        names = [name.replace(" ", "\u2581") for name in names]
    elif delimiter:
        names = ["|" if name == delimiter else name for name in names]
    if ours:
        return Symbols.of_dictionary(names[len(SPECIAL_SYMBOLS) :])
    blank = config.get("pad_token_id", 0)
    if not isinstance(blank, int) or not 0 <= blank < rows:
        raise UserError(f"{folder / CONFIG_FILE}: its pad_token_id, CTC's blank, is {blank}")
    special = {_content(about.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")}
    special |= {*SPECIAL_SYMBOLS, ""}
    silent = frozenset(number for number, name in enumerate(names) if name in special)
    return Symbols(tuple(names), blank, silent, joining(names))


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _json(path: Path, needed: bool = True) -> dict[str, Any]:
    if not needed and not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON; copy it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping; copy it again")
    return content
