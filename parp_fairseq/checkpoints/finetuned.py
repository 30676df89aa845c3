"""A fine-tuned CTC model as read: weights, settings and symbols, before a network is built.

The task that trained it need not be known (ours or fairseq's own `audio_finetuning`), nor need
the pre-trained file exist any more: fairseq saves the architecture as `model.w2v_args`. A sparse
file is read as the checkpoint that it was made from, and a folder of `transformers`
(Wav2Vec2ForCTC) as the one that it could be.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import (
    SPECIAL_SYMBOLS,
    SYMBOLS_KEY,
    dictionary_file,
    dictionary_from,
    joining_of,
    load_dictionary,
    read_dictionary,
)
from parp_fairseq.checkpoints.fairseq_settings import (
    PretrainedInfo,
    describe_state,
    network_settings,
    plain_settings,
)
from parp_fairseq.checkpoints.formats import read_state
from parp_fairseq.checkpoints.vocabulary import HEAD
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike
from parp_fairseq.pruning.arguments import GRANULARITIES, check_sparsity

if TYPE_CHECKING:
    from torch import Tensor

_SPEECH = ("wav2vec2", "hubert", "data2vec")


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned CTC model in a file."""

    path: Path  # the file
    info: PretrainedInfo  # what it says about itself
    # What `read_state` returned; its tensors may be in the mapped file.
    state: Mapping[str, Any] = field(repr=False)
    # Ending of the label files that were asked for; None: what it was trained on.
    given_labels: str | None
    # The symbols of the head's rows, fairseq's four special ones left out.
    symbols: list[str] = field(repr=False)
    # The text file that names them, where the model does not hold them.
    dictionary_path: Path | None = None

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Name → parameter or buffer."""
        weights: Mapping[str, Tensor] = self.state["model"]
        return weights

    @property
    def labels(self) -> str:
        """Ending of its label files. Raises UserError where it does not say."""
        return _labels(self.given_labels or self.info.labels, self.path)

    @cached_property
    def joining(self) -> str:
        """How its symbols are joined into words: `letter`, `sentencepiece` or `none`."""
        trained = (self.settings().get("criterion") or {}).get("post_process")
        return joining_of(self.symbols, self.given_labels or self.info.labels, trained)

    @property
    def updates(self) -> int:
        """Updates of its training; 0 where it does not say."""
        history = self.state.get("optimizer_history") or [{}]
        return int(history[-1].get("num_updates") or 0)

    @cached_property
    def dictionary(self) -> Any:
        """fairseq's `Dictionary` of these symbols."""
        saved = self.state.get("task_state") or {}
        if self.dictionary_path is not None:
            return load_dictionary(self.dictionary_path)
        if saved.get("target_dictionary") is not None:
            return saved["target_dictionary"]
        return dictionary_from(saved[SYMBOLS_KEY])

    @property
    def sparser(self) -> tuple[float, ...]:
        """Sparsities above its own that its training (method "nested") trained too, rising."""
        levels = _prune(self.state, self.path).get("sparsities") or ()
        zeros, entries = self._zeros if levels else (0, 0)
        return tuple(float(level) for level in levels if round(level * entries) > zeros)

    @property
    def sparsity(self) -> float:
        """Share of its prunable entries that are zero, in [0, 1]."""
        zeros, entries = self._zeros
        return 1.0 - (entries - zeros) / max(entries, 1)

    @cached_property
    def _zeros(self) -> tuple[int, int]:
        return _count_zeros(_prunable(self.state, self.path))

    def settings(self) -> dict[str, Any]:
        """A copy of its settings as nested dictionaries: `model`, `task` and others."""
        with warnings.catch_warnings():
            # Hydra's remarks to developers, where fairseq turns a flat namespace into sections.
            warnings.simplefilter("ignore")
            return plain_settings(self.state)

    def complete_settings(self) -> dict[str, Any]:
        """`settings`. Raises UserError where the architecture of its network is not in them."""
        settings = self.settings()
        network_settings(settings["model"], self.path)
        return settings


def open_finetuned(
    checkpoint: PathLike,
    data: PathLike | None = None,
    labels: str | None = None,
    sparsity: float | None = None,
) -> FineTuned:
    """Read a fine-tuned CTC model, and the symbols of its head.

    `checkpoint` is a fairseq checkpoint, a sparse file, or a folder of `transformers`. In the
    folder `data` is `dict.{labels}.txt`, for one that holds no dictionary and has none next to it
    (default: what it was trained on, as for `labels`). It is pruned by magnitude to the share
    `sparsity` of its prunable entries: a level of a run of method "nested" (default: as it is, of
    several levels the densest); of a sparse file no value is read that only denser levels have.

    UserError where it is missing, damaged, of another kind, pre-trained only, has weights that are
    no numbers, or no dictionary or one that is not its own, as far as that can be known.
    """
    path = Path(checkpoint)
    state = read_state(path, sparsity)
    info = _check_finetuned(state, path)
    saved, file, name = state.get("task_state") or {}, None, "its dictionary"
    if saved.get("target_dictionary") is not None:
        symbols = list(saved["target_dictionary"].symbols[len(SPECIAL_SYMBOLS) :])
    elif SYMBOLS_KEY in saved:
        symbols = list(saved[SYMBOLS_KEY]["symbols"])
    else:
        ending = _labels(labels or info.labels, path)
        trained_on = (plain_settings(state).get("task") or {}).get("data") or ""
        folder = trained_on if data is None else data
        file = dictionary_file(state, path, ending, folder, given=data is not None)
        symbols, name = read_dictionary(file), f"the dictionary {file}"
    rows, named = info.shapes[f"{HEAD}weight"][0], len(symbols) + len(SPECIAL_SYMBOLS)
    if named != rows:
        raise UserError(
            f"{path}: {name} has {named} symbols ({len(SPECIAL_SYMBOLS)} special ones included) "
            f"but its head has {rows}; use the dictionary that the model was trained with"
        )
    if sparsity is not None:
        state = {**state, "model": _pruned(state, path, sparsity)}
    return FineTuned(path, info, state, labels, symbols, file)


def _prune(state: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Its settings of pruning. Raises UserError where they are none."""
    prune = (plain_settings(state).get("task") or {}).get("prune") or {}
    sound = isinstance(prune, Mapping) and prune.get("granularity", "global") in GRANULARITIES
    for key, kind in (("include", str), ("exclude", str), ("sparsities", (int, float))):
        values = (prune.get(key) or []) if sound else ()
        sound = sound and isinstance(values, (list, tuple))
        sound = sound and all(isinstance(value, kind) for value in values)
    if not sound:
        raise UserError(f"{path}: its cfg.task.prune is damaged ({str(prune)[:60]}); copy it again")
    return prune


def _prunable(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights that its training prunes, or those of the default scope."""
    from parp_fairseq.checkpoints.prunable_weights import scoped_weights
    from parp_fairseq.pruning import Scope

    return scoped_weights(state, Scope.of_run(_prune(state, path)), path)


def _count_zeros(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many entries are zero, and of how many."""
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    return zeros, sum(weight.numel() for weight in weights.values())


def _pruned(state: Mapping[str, Any], path: Path, sparsity: float) -> dict[str, Tensor]:
    """The weights, those of smallest magnitude set to zero."""
    from parp_fairseq.pruning import magnitude_mask

    weights = {name: weight.clone() for name, weight in _prunable(state, path).items()}
    zeros, entries = _count_zeros(weights)
    with options_named("--", f"{path}: "):
        check_sparsity(sparsity)
    if zeros > round(sparsity * entries):
        levels = "".join(f", {level:g}" for level in _prune(state, path).get("sparsities") or ())
        raise UserError(
            f"{path}: --sparsity {sparsity:g} is below its own, {zeros / entries:.4g}{levels}; "
            "give no lower one"
        )
    granularity = _prune(state, path).get("granularity", "global")
    magnitude_mask(weights, sparsity, granularity).zero_(weights)
    return {**state["model"], **weights}


def _labels(labels: str | None, path: Path) -> str:
    if not labels:
        raise UserError(
            f"{path} does not say its labels (cfg.task.labels), so its label files and dictionary "
            "have no name; parp eval takes it with --labels ltr"
        )
    return labels


def _check_finetuned(state: Mapping[str, Any], path: Path) -> PretrainedInfo:
    """What the file says about itself; a UserError unless it is a sound CTC model."""
    info = describe_state(state)
    problem = None
    if not info.finetuned and info.kind not in _SPEECH:
        problem = f"holds a model of another kind ({info.kind}); give a fine-tuned one of " + (
            ", ".join(_SPEECH)
        )
    elif not info.finetuned:
        problem = (
            f"is a pre-trained {info.kind} without a CTC head; fine-tune it first, or give the "
            "checkpoint_best.pt of a fine-tuning"
        )
    elif f"{HEAD}weight" not in info.shapes:
        problem = f"is a {info.arch} without a CTC head; give a model fine-tuned with CTC"
    if problem:
        raise UserError(f"{path} {problem}")
    from torch import Tensor

    for name, tensor in state["model"].items():
        # Only the sum costs less; it may overflow where every value is finite.
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
    return info
