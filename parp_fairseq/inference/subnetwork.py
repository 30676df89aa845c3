"""A subnetwork in any form, opened in plain torch.

A sparse file and a folder of `transformers` hold all that is needed. So does a checkpoint with a
dictionary of this package's; another one's dictionary may need fairseq to be read.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import (
    SPECIAL_SYMBOLS,
    SYMBOLS_KEY,
    dictionary_file,
    read_dictionary,
)
from parp_fairseq.checkpoints.fairseq_settings import plain_settings
from parp_fairseq.checkpoints.file_types import MASK_FILE
from parp_fairseq.checkpoints.finetuned import check_finetuned
from parp_fairseq.checkpoints.formats import check_form, read_state
from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE, WEIGHTS_FILE
from parp_fairseq.checkpoints.hf_model import read_normalize
from parp_fairseq.checkpoints.hf_symbols import VOCABULARY_FILE
from parp_fairseq.checkpoints.shipped import named_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.inference.symbols import Symbols

if TYPE_CHECKING:
    from parp_fairseq.inference.network import Wav2Vec2Ctc

_FOLDER = (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE)


@dataclass(frozen=True)
class Subnetwork:
    """A fine-tuned CTC model, dense or sparse, ready to transcribe.

    Attributes:
        path: the file or folder.
        model: its network, in evaluation mode.
        symbols: what the rows of its head stand for.
        normalize: whether a waveform is brought to mean 0 and variance 1, as fairseq does it.
        dictionary: the text file that names the symbols, where the model does not hold them.
    """

    path: Path
    model: Wav2Vec2Ctc = field(repr=False)
    symbols: Symbols = field(repr=False)
    normalize: bool
    dictionary: Path | None = None


def check_model(path: PathLike) -> Path:
    """Check, without torch, that `path` looks like a model, and return it.

    Raises:
        UserError: it is missing, cut off, of another kind, or a folder that lacks a file or does
            not say how audio is read.
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
    read_normalize(path)
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
    state = read_state(path)
    info = check_finetuned(state, path)

    from parp_fairseq.inference.network import Wav2Vec2Ctc

    with warnings.catch_warnings():
        # Hydra's remarks to developers, where fairseq turns a flat namespace into sections.
        warnings.simplefilter("ignore")
        settings = plain_settings(state)
    model = Wav2Vec2Ctc.from_finetuned(settings["model"], state["model"], path)
    symbols, dictionary = _symbols(state, settings, info.labels, path)
    _check_rows(symbols, model, path)
    return Subnetwork(path, model, symbols, bool(info.normalize), dictionary)


def _symbols(
    state: Mapping[str, Any], settings: Mapping[str, Any], labels: str | None, path: Path
) -> tuple[Symbols, Path | None]:
    """The dictionary, without fairseq where it is kept as lists or text, and its file if any."""
    saved = state.get("task_state") or {}
    if saved.get("target_dictionary") is not None:
        own = saved["target_dictionary"].symbols[len(SPECIAL_SYMBOLS) :]
        return Symbols.of_dictionary(own), None
    if SYMBOLS_KEY in saved:
        return Symbols.of_dictionary(saved[SYMBOLS_KEY]["symbols"]), None
    trained = str((settings.get("task") or {}).get("data") or "")
    file = dictionary_file(state, path, labels, trained)
    return Symbols.of_dictionary(read_dictionary(file)), file


def _check_rows(symbols: Symbols, model: Wav2Vec2Ctc, path: Path) -> None:
    rows = model.architecture.symbols
    if len(symbols.names) != rows:
        raise UserError(
            f"{path}: its dictionary has {len(symbols.names)} symbols ({len(SPECIAL_SYMBOLS)} "
            f"special ones included) but its head has {rows}; use the dictionary that the model "
            "was trained with"
        )
