"""The mask that a training begins with, from wherever its options say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.formats import CHECKPOINT, SPARSE_MODEL
from parp_fairseq.checkpoints.hf_folder import read_tensors
from parp_fairseq.checkpoints.prunable_weights import (
    random_weights,
    scoped_weights,
    weights_named,
)
from parp_fairseq.checkpoints.safe_load import check_readable, load_checkpoint
from parp_fairseq.errors import UserError, options_named
from parp_fairseq.files import PathLike, sha256
from parp_fairseq.pruning.methods import FINETUNED, INITIAL_MASKS, MAGNITUDE, RANDOM, RANDOM_INIT
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.pruning.spec import PruningSpec

if TYPE_CHECKING:
    from torch import Tensor

    from parp_fairseq.pruning import Mask

# A file's sparsity and the option may differ by rounding, not by more.
_TOLERANCE = 0.005
_FAIRSEQ = "w2v_encoder.w2v_model."


class InitialMask:
    """Reads and checks its sources at once, before training; `make` gives the mask."""

    def __init__(
        self,
        spec: PruningSpec,
        sparsity: float,
        weights: Mapping[str, Tensor],
        *,
        random_weights: Callable[[], Mapping[str, Tensor]],
        read_folder: Callable[[Path], dict[str, Tensor]] = read_tensors,
        prefix: str = "",
    ) -> None:
        """Read what a mask of this `sparsity` over `weights` (name → prunable tensor) is made from.

        `random_weights` returns these for the same network without any training, `read_folder` the
        tensors of a folder of transformers; options begin with `prefix` in errors. UserError where
        a mask file or model is unreadable, of another model or of another sparsity.
        """
        self.names = frozenset(weights)
        self._spec, self._sparsity, self._read_folder = spec, sparsity, read_folder
        self._ranked: Mapping[str, Tensor] | None = None
        self._mask: Mask | None = None
        kind = spec.initial_mask_kind
        if kind == RANDOM_INIT:
            self._ranked = random_weights()
        elif kind not in INITIAL_MASKS:
            path, option = str(spec.mask), f"{prefix}mask"
            if spec.initial is not None:
                path, option = spec.initial, f"{prefix}initial"
            if not Path(path).exists():
                named = f"{', '.join(INITIAL_MASKS)} or a mask file"
                wanted = spec.behaviour.mask_kind or named
                raise UserError(f"{option} is {path!r}: no such file; give {wanted}")
            if kind == FINETUNED:
                self._ranked = self._finetuned(path, weights, option)
            else:
                self._mask = self._read(path, weights, prefix)

    def make(self, weights: Mapping[str, Tensor]) -> tuple[Mask, float]:
        """Return the mask for θ0, on its devices, and the magnitude below which it prunes.

        Raises PruningError: a weight is NaN or infinite.
        """
        from parp_fairseq.pruning import random_mask
        from parp_fairseq.pruning.magnitude import select_smallest

        if self._mask is not None:
            return self._mask.to(weights), 0.0
        if self._spec.initial_mask_kind == RANDOM:
            return random_mask(weights, self._sparsity, self._spec.seed), 0.0
        ranked = weights if self._ranked is None else self._ranked
        selection = select_smallest(ranked, self._sparsity, self._spec.granularity)
        return selection.mask(ranked).to(weights), selection.threshold

    def _finetuned(
        self, path: str, weights: Mapping[str, Tensor], option: str
    ) -> dict[str, Tensor]:
        """The weights of a fine-tuned model, for OMP (paper, section 2.3)."""
        folder = Path(path).is_dir()
        tensors = self._read_folder(Path(path)) if folder else load_checkpoint(path)["model"]
        todo = f"give a model of the same architecture as {option}"
        return weights_named(tensors, weights, path, todo)

    def _read(self, path: str, weights: Mapping[str, Tensor], prefix: str) -> Mask:
        mask = mask_in(path, weights, self._read_folder)
        with options_named(prefix):
            mask = mask.renamed({name: tuple(w.shape) for name, w in weights.items()}, path)
        if abs(mask.sparsity - self._sparsity) > _TOLERANCE:
            raise UserError(
                f"{path}: this mask has sparsity {mask.sparsity:.4f} and the run begins at "
                f"{self._sparsity:.4f}; set {prefix}sparsity (where it ramps: "
                f"{prefix}initial_sparsity) to it"
            )
        return mask


def mask_in(
    path: PathLike,
    names: Iterable[str],
    read_folder: Callable[[Path], dict[str, Tensor]] = read_tensors,
) -> Mask:
    """Read the mask that a file holds, whatever kind of file it is.

    Of a mask file that mask, of a checkpoint of a pruning run the one that it keeps, of an export
    (a fairseq checkpoint, a sparse file, a folder of transformers) what is not zero among `names`,
    the model's prunable parameters; where these are transformers' a mask of fairseq's wav2vec 2.0
    gets such names. UserError where the file is unreadable, or a dense checkpoint.
    """
    from parp_fairseq.checkpoints.formats import read_state
    from parp_fairseq.checkpoints.mask_files import load_mask, nonzero_mask, stored_mask
    from parp_fairseq.checkpoints.vocabulary import to_transformers

    path, scope = Path(path), {canonical_name(name) for name in names}
    if path.is_dir() or CHECKPOINT.matches(path) or SPARSE_MODEL.matches(path):
        state = _folder(path, scope, read_folder) if path.is_dir() else read_state(path)
        mask = stored_mask(state)
        if mask is None:
            model = state["model"].items()
            mask = nonzero_mask({name: t for name, t in model if canonical_name(name) in scope})
            if mask.sparsity < _TOLERANCE:
                raise UserError(
                    f"{path} keeps no mask and has no zeros; for the mask of its magnitudes use "
                    "method=omp, or make a mask file with parp mask make"
                )
    else:
        mask = load_mask(path)[0]
    theirs = {name: to_transformers(_FAIRSEQ + name) or name for name in mask}
    return mask.under(theirs) if scope & set(theirs.values()) and not scope & set(mask) else mask


def _folder(
    path: Path, scope: set[str], read_folder: Callable[[Path], dict[str, Tensor]]
) -> dict[str, Any]:
    """The tensors of a folder of transformers: under its own names, or fairseq's if these fit."""
    from parp_fairseq.checkpoints.hf_folder import read_hf_weights

    tensors = read_folder(path)
    return {"model": tensors if scope & set(tensors) else read_hf_weights(path)}


def make_mask(checkpoint: PathLike, spec: PruningSpec) -> tuple[Mask, dict[str, Any]]:
    """Make the initial mask of a run that starts from a fairseq checkpoint, without the run.

    "magnitude" is MPI's (of a fine-tuned checkpoint: OMP's), "random" RP's; for "random_init"
    fairseq is imported and builds the network. Returns the mask, under canonical names, and the
    info to save with it. UserError where an option is wrong, the checkpoint unreadable, the scope
    does not fit it, or weights cannot be ranked.
    """
    with options_named("--"):
        spec.check()
    check_readable(checkpoint)

    path, kind = Path(checkpoint), spec.initial_mask_kind
    state = load_checkpoint(path)
    weights = scoped_weights(state, spec.scope, path, "--")
    initial = InitialMask(
        spec,
        spec.sparsity,
        weights,
        random_weights=lambda: random_weights(state, path, weights, spec.seed),
        prefix="--",
    )
    with options_named("--", f"{path}: "):
        mask, _ = initial.make(weights)
    return mask.canonical(), {
        "method": kind,
        "sparsity": mask.sparsity,
        "granularity": None if kind == RANDOM else spec.granularity,
        "seed": None if kind == MAGNITUDE else spec.seed,
        "scope": {"include": spec.include, "exclude": spec.exclude, "biases": spec.biases},
        "source": {"file": path.name, "sha256": sha256(path)},
    }
