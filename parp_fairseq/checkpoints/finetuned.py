"""A fine-tuned checkpoint as read: weights, settings and dictionary, before a model is built.

The task that trained it need not be known (ours or fairseq's own `audio_finetuning`), nor need
the pre-trained file exist any more: fairseq saves the architecture as `model.w2v_args`. A sparse
file (`parp export --format sparse`) is read as the checkpoint that it was made from, and a folder
of `transformers` (Wav2Vec2ForCTC) as the one that it could be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.describe import PretrainedInfo, describe_state
from parp_fairseq.checkpoints.dictionary import (
    SPECIAL_SYMBOLS,
    dictionary_file,
    load_dictionary,
    saved_dictionary,
)
from parp_fairseq.checkpoints.fairseq_settings import plain_settings
from parp_fairseq.checkpoints.formats import read_state
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = "w2v_encoder.proj.weight"
_SPEECH = ("wav2vec2", "hubert", "data2vec")


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned CTC model in a file.

    Attributes:
        path: the file.
        info: what it says about itself.
        state: what `read_state` returned; its tensors may lie in the mapped file.
        labels: ending of the label files that it was trained on, or that were asked for.
        dictionary: fairseq's `Dictionary` that numbers its head.
    """

    path: Path
    info: PretrainedInfo
    state: Mapping[str, Any] = field(repr=False)
    labels: str
    dictionary: Any = field(repr=False)

    @property
    def symbols(self) -> list[str]:
        """The dictionary's symbols, fairseq's four special ones left out."""
        return list(self.dictionary.symbols[len(SPECIAL_SYMBOLS) :])

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Name → parameter or buffer."""
        weights: Mapping[str, Tensor] = self.state["model"]
        return weights

    @property
    def updates(self) -> int:
        """Updates of its training; 0 where it does not say."""
        history = self.state.get("optimizer_history") or [{}]
        return int(history[-1].get("num_updates") or 0)

    def settings(self) -> dict[str, Any]:
        """A copy of its settings as nested dictionaries: `model`, `task` and others."""
        return plain_settings(self.state)

    def complete_settings(self) -> dict[str, Any]:
        """`settings`, with the architecture of its network among them.

        Raises:
            UserError: the checkpoint does not hold its architecture.
        """
        settings = self.settings()
        w2v_args = settings["model"].get("w2v_args")
        if not isinstance(w2v_args, dict) or not {"model", "task"} <= set(w2v_args):
            raise UserError(
                f"{self.path} does not hold its architecture (cfg.model.w2v_args); save it once "
                "with fairseq where its pre-trained file is"
            )
        return settings


def open_finetuned(
    checkpoint: PathLike, data: PathLike | None = None, labels: str | None = None
) -> FineTuned:
    """Read a fine-tuned CTC model, and the dictionary that numbers its head.

    Args:
        checkpoint: a fairseq checkpoint, a sparse file, or a folder of `transformers`.
        data: folder with `dict.{labels}.txt`, for a checkpoint that holds no dictionary and has
            none beside it, where `parp export` leaves it (default: the folder of data that it was
            trained on).
        labels: ending of the label files (default: what it was trained on).

    Raises:
        UserError: it is missing, damaged, of another kind, pre-trained only, has weights that are
            no numbers, or no dictionary or one that is not its own, as far as that can be told.
    """
    path = Path(checkpoint)
    state = read_state(path)
    info = check_finetuned(state, path)
    labels = labels or info.labels
    if not labels:
        raise UserError(
            f"{path} does not say its labels (cfg.task.labels), so its dictionary has no name; "
            "parp eval takes it with --labels ltr"
        )
    dictionary, name = saved_dictionary(state), "its dictionary"
    if dictionary is None:
        trained = ""
        if data is None:
            trained = str((plain_settings(state).get("task") or {}).get("data") or "")
        file = dictionary_file(state, path, labels, trained, data)
        dictionary, name = load_dictionary(file), f"the dictionary {file}"
    rows = info.shapes[_HEAD][0]
    if len(dictionary) != rows:
        raise UserError(
            f"{path}: {name} has {len(dictionary)} symbols ({len(SPECIAL_SYMBOLS)} special ones "
            f"included) but its head has {rows}; use the dictionary that the model was trained with"
        )
    return FineTuned(path, info, state, labels, dictionary)


def check_finetuned(state: Mapping[str, Any], path: PathLike) -> PretrainedInfo:
    """Say what a fine-tuned CTC model is that `read_state` read from `path`.

    Raises:
        UserError: it is of another kind, pre-trained only, or has weights that are no numbers.
    """
    info = describe_state(state, path)
    if not info.finetuned:
        if info.kind not in _SPEECH:
            raise UserError(
                f"{path} holds a model of another kind ({info.kind}); give a fine-tuned one of "
                f"{', '.join(_SPEECH)}"
            )
        raise UserError(
            f"{path} is a pre-trained {info.kind} without a CTC head; fine-tune it first, or give "
            "the checkpoint_best.pt of a fine-tuning"
        )
    if _HEAD not in info.shapes:
        raise UserError(
            f"{path} is a {info.arch} without a CTC head; give a model fine-tuned with CTC"
        )
    check_finite(state["model"], path)
    return info


def check_finite(weights: Mapping[str, Tensor], path: PathLike) -> None:
    """Raise UserError where a weight is NaN or infinite, naming the first such tensor."""
    from torch import Tensor

    for name, tensor in weights.items():
        # The sum alone costs less; it may overflow where every value is finite.
        if (
            isinstance(tensor, Tensor)
            and tensor.is_floating_point()
            and not tensor.sum().isfinite()
            and not tensor.isfinite().all()
        ):
            what = "NaN" if tensor.isnan().any() else "infinite values"
            raise UserError(
                f"{path}: {name} holds {what}: its training went wrong; give an earlier checkpoint"
            )
